"""Estimate what a training needs before a machine is claimed, without weights or data.

In: a `Trial`. Out: bytes, from a forward pass on PyTorch's meta device, where tensors have shapes
only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from reid_ray.config.training import Trial
from reid_ray.embedding.backbones import build
from reid_ray.embedding.model import Encoder

_PROBE = 2


@dataclass(frozen=True)
class Need:
    """Bytes of one training process.

    Attributes:
        parameters: how many numbers the backbone has.
        state: weights, gradients and momentum in fp32.
        activations: kept for the backward pass of one worker's part of the batch, in fp32.
        flop: of one photo's forward pass, a multiplication and an addition counted as two; a training step
            takes three times that.
    """

    parameters: int
    state: int
    activations: int
    flop: int = 0


def estimate(trial: Trial, *, workers: int = 1) -> Need:
    """Bytes for `trial` on one of `workers`; libraries and the CUDA context come on top."""
    with torch.device("meta"):
        encoder = Encoder(build(trial.backbone, weights="random", input_px=trial.input_px)).train()
        photos = torch.empty(_PROBE, 3, trial.input_px, trial.input_px, dtype=torch.uint8)
    own = {parameter.untyped_storage()._cdata for parameter in encoder.parameters()}
    kept: dict[int, Tensor] = {}  # by storage, as views of one tensor are saved more than once

    def count(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    counter = FlopCounterMode(display=False)
    with saved_tensors_hooks(count, lambda tensor: tensor), counter:
        encoder(photos)
    activations = sum(
        tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in own
    )
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    part = trial.batch_size // (workers * trial.accumulation)
    flop = counter.get_total_flops() // _PROBE
    return Need(parameters, parameters * 4 * 3, activations // _PROBE * max(1, part), flop)
