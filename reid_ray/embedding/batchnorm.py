"""Give BatchNorm the statistics of the global batch, on CPUs as on GPUs.

In: a model. Out: the same model, whose BatchNorm layers normalise over all workers, so that w
workers x B photos train exactly like one worker with w x B. PyTorch's SyncBatchNorm refuses the
CPU.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_statistics(model: nn.Module) -> None:
    """Put BatchNorm layers of a model in training into evaluation mode; their weights still learn."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def globalise(model: nn.Module, device: torch.device) -> nn.Module:
    """Convert every BatchNorm layer; on GPUs to PyTorch's own, with timm's fused activations kept."""
    if device.type == "cuda":
        return cast(nn.Module, convert_sync_batchnorm(model))
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            # The layer stays what it is, parameters, name and fused activation; only `forward` differs.
            kind = type(module)
            module.__class__ = type(f"Global{kind.__name__}", (_Global, kind), {})
    return model


class _Global:
    """Mixed in before a BatchNorm class."""

    def forward(self, photos: Tensor) -> Tensor:
        layer = cast(_BatchNorm, self)
        if not layer.training:
            return cast(Tensor, super().forward(photos))  # type: ignore[misc]
        normalised = _normalise(layer, photos)
        for name in ("drop", "act"):  # timm fuses these into its BatchNorm layers
            if hasattr(layer, name):
                normalised = getattr(layer, name)(normalised)
        return normalised


def _normalise(layer: _BatchNorm, values: Tensor) -> Tensor:
    """Training-mode batch norm with mean and variance over all ranks (Ioffe and Szegedy 2015, alg. 1)."""
    kind = values.dtype
    values = values if kind == torch.float64 else values.float()  # sums of bf16 would lose digits
    others = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1] + [1] * (values.ndim - 2)
    count = values.numel() // values.shape[1] * dist.get_world_size()
    mean: Tensor = _Sum.apply(values.sum(others)) / count
    centred: Tensor = values - mean.view(shape)
    variance: Tensor = _Sum.apply(centred.square().sum(others)) / count
    _track(layer, mean.detach(), variance.detach() * count / max(1, count - 1))
    scaled: Tensor = centred * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.affine:
        scaled = scaled * layer.weight.view(shape) + layer.bias.view(shape)
    return scaled.to(kind)


def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Running statistics for evaluation, as PyTorch keeps them."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked.add_(1)
    share = layer.momentum if layer.momentum is not None else 1 / int(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """Sum over all ranks, whose gradient is summed over all ranks as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
