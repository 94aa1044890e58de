"""Read a network's weights from the user's own file. In: a path. Out: tensors by name, checked.

A `.safetensors` file is preferred; any other is read by torch with `weights_only`, so that nothing
in it is executed. Nothing is ever downloaded.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reid_ray.errors import WeightsError

_NESTS = ("state_dict", "model", "extractor")
"""Names under which published files keep their tensors, where those are not at the top."""


def read_weights(path: str, *, of: str) -> dict[str, Tensor]:
    """All tensors of the file, by name, also where they lie under one of `_NESTS`.

    Args:
        of: whose weights are looked for and where they are published, for the error.

    Raises:
        WeightsError: missing or unreadable.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{path}: no such weights file; give the path of the weights of {of}")
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as weights ({reason}); download it again or convert it to safetensors"
        ) from None
    for nest in _NESTS:
        if isinstance(found, dict) and isinstance(found.get(nest), dict):
            found = found[nest]
    found = found if isinstance(found, dict) else {}
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def checked(found: Mapping[str, Tensor], name: str, shape: tuple[int, ...], *, path: str, of: str) -> Tensor:
    """One tensor as float32.

    Raises:
        WeightsError: not there, of another shape, or with values that are not finite.
    """
    if name not in found:
        some = ", ".join(sorted(found)[:4]) or "nothing"
        raise WeightsError(f"{path}: no tensor '{name}' (found {some}, ...); expected {of}")
    value = found[name].float()
    if tuple(value.shape) != shape:
        raise WeightsError(
            f"{path}: '{name}' is {tuple(value.shape)}, here {shape} is needed; "
            f"these are the weights of another network, expected {of}"
        )
    if not bool(torch.isfinite(value).all()):
        raise WeightsError(f"{path}: '{name}' has values that are not finite; the file is damaged")
    return value


def fill(
    net: nn.Module, found: Mapping[str, Tensor], *, path: str, of: str, computed: tuple[str, ...]
) -> nn.Module:
    """Give `net` all its weights and running statistics from `found`, and make it ready to use.

    Args:
        computed: ends of the names of buffers that the network computes itself.

    Raises:
        WeightsError: a tensor is missing or does not fit, or most of the file belongs elsewhere.
    """
    state = net.state_dict()
    needed = [name for name in state if not name.endswith(computed)]
    for name in needed:
        state[name] = checked(found, name, tuple(state[name].shape), path=path, of=of)
    if unknown := sorted(set(found) - set(state)):
        raise WeightsError(
            f"{path}: {len(unknown)} tensors belong to no part of this network "
            f"({', '.join(unknown[:4])}, ...); expected {of}"
        )
    net.load_state_dict(state)
    return net.eval()
