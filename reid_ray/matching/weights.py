"""Give a network of local features its weights from the user's own file, all of them and no others.

In: tensors by name. Out: the network, ready to use. Nothing is ever downloaded.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from reid_ray.config.matching import Aliked, Disk, SuperPoint, XFeat
from reid_ray.errors import WeightsError
from reid_ray.weight_files.known import how_to_get, in_folder, refuse_other
from reid_ray.weight_files.reading import read_tensors


def read_weights(path: str, *, of: str, name: str = "") -> dict[str, Tensor]:
    """All tensors of the file, by name.

    Args:
        path: the file, or a folder that has it under the name it is published by.
        of: whose weights are looked for and where they are published, for the error.
        name: which of the known files it should be; another known one is refused.

    Raises:
        WeightsError: missing, unreadable, or known as the weights of something else.
    """
    file = in_folder(Path(path).expanduser(), name)
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file; give the path of {of}{how_to_get(name)}")
    found = read_tensors(file, of=of)
    refuse_other(file, found, name)
    return found


def weights_path(config: SuperPoint | Disk | Aliked | XFeat) -> Path:
    """The file of an extractor's weights; of a folder the one with a name that it is published by."""
    name = config.model if isinstance(config, Aliked) else config.kind
    return in_folder(Path(config.weights).expanduser(), name)


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
    net: nn.Module,
    found: Mapping[str, Tensor],
    *,
    path: str,
    of: str,
    computed: tuple[str, ...],
    unused: str = "",
) -> nn.Module:
    """Give `net` all its weights and running statistics from `found`, and make it ready to use.

    Args:
        computed: ends of the names of buffers that the network computes itself.
        unused: pattern of the names of tensors that published files have and nobody uses.

    Raises:
        WeightsError: a tensor is missing or does not fit, or some belong nowhere.
    """
    state = net.state_dict()
    needed = [name for name in state if not name.endswith(computed)]
    for name in needed:
        state[name] = checked(found, name, tuple(state[name].shape), path=path, of=of)
    unknown = sorted(set(found) - set(state))
    if unknown := [tensor for tensor in unknown if not (unused and re.fullmatch(unused, tensor))]:
        raise WeightsError(
            f"{path}: {len(unknown)} tensors belong to no part of this network "
            f"({', '.join(unknown[:4])}, ...); expected {of}"
        )
    net.load_state_dict(state)
    return net.eval()
