"""Read SuperPoint weights in either published naming. In: a file. Out: our network's state.

Magic Leap's file names layers conv1a .. convDb. The re-training under the MIT licence names them
backbone.<stage>.<0|1>.conv, detector.<0|1>.conv, descriptor.<0|1>.conv, each with a batch
normalisation `bn` after the ReLU.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from reid_ray.matching.weights import checked, read_weights

SOURCE = "SuperPoint's weights as published by Magic Leap or in its MIT re-training"

LAYERS: Mapping[str, tuple[int, int, int]] = {
    "conv1a": (1, 64, 3),
    "conv1b": (64, 64, 3),
    "conv2a": (64, 64, 3),
    "conv2b": (64, 64, 3),
    "conv3a": (64, 128, 3),
    "conv3b": (128, 128, 3),
    "conv4a": (128, 128, 3),
    "conv4b": (128, 128, 3),
    "convPa": (128, 256, 3),
    "convPb": (256, 65, 1),
    "convDa": (128, 256, 3),
    "convDb": (256, 256, 1),
}
"""Input channels, output channels and kernel size of each convolution."""

_NORMALISATION_EPS = 1e-3
"""TensorFlow's default, with which the normalised variant was trained."""


def load_weights(path: str) -> dict[str, Tensor]:
    """State of `SuperPointNet` from `path`.

    Raises:
        WeightsError: missing, unreadable, or names and shapes of another network.
    """
    found = read_weights(path, of=SOURCE, name="superpoint")
    normalised = any(name.startswith("backbone.") for name in found)
    state: dict[str, Tensor] = {}
    for layer, (inputs, outputs, size) in LAYERS.items():
        source = f"{_normalised_name(layer)}.conv" if normalised else layer
        weight = _tensor(found, f"{source}.weight", (outputs, inputs, size, size), path)
        bias = _tensor(found, f"{source}.bias", (outputs,), path)
        state[f"convolutions.{layer}.weight"] = weight
        state[f"convolutions.{layer}.bias"] = bias
        scale, shift = torch.ones(outputs), torch.zeros(outputs)
        if normalised:
            scale, shift = _affine(found, f"{_normalised_name(layer)}.bn", outputs, path)
        state[f"{layer}_scale"], state[f"{layer}_shift"] = scale, shift
    return state


def _normalised_name(layer: str) -> str:
    """`conv3b` -> `backbone.2.1`, `convPa` -> `detector.0`, `convDb` -> `descriptor.1`."""
    stage, part = layer[4], "ab".index(layer[5])
    heads = {"P": "detector", "D": "descriptor"}
    return f"{heads[stage]}.{part}" if stage in heads else f"backbone.{int(stage) - 1}.{part}"


def _affine(found: dict[str, Tensor], name: str, size: int, path: str) -> tuple[Tensor, Tensor]:
    """Scale and shift that equal the batch normalisation in use."""
    gain, bias, mean, variance = (
        _tensor(found, f"{name}.{part}", (size,), path)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / torch.sqrt(variance + _NORMALISATION_EPS)
    return scale, bias - mean * scale


def _tensor(found: dict[str, Tensor], name: str, shape: tuple[int, ...], path: str) -> Tensor:
    return checked(found, name, shape, path=path, of=SOURCE)
