"""Read a network's tensors from a file, and say which published file it is. In: a path. Out: tensors by name.

A `.safetensors` file is read as it is, any other by torch with `weights_only`, so that nothing in it is ever
executed. Nothing is downloaded.
"""

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from reid_ray.errors import WeightsError

_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model", "extractor")
"""Names under which published files keep their tensors, where those are not at the top."""
_PARALLEL = "module."
"""What DataParallel puts before every name."""


def read_tensors(path: Path, *, of: str) -> dict[str, Tensor]:
    """All tensors of a file, by name, also where they lie under one of `_NESTS`.

    Args:
        of: whose weights are looked for, for the error.

    Raises:
        WeightsError: missing, unreadable, or without a tensor.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give the path of {of}")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: cannot be read as weights, not a readable safetensors file ({_short(error)}); "
            "get it again"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path}: cannot be read as weights ({_short(error)}); get it again, or convert it to safetensors"
        ) from None
    for nest in _NESTS:
        if isinstance(found, dict) and isinstance(found.get(nest), dict):
            found = found[nest]
    named = found.items() if isinstance(found, dict) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: has no tensors; expected {of}")
    if all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): value for name, value in tensors.items()}
    return tensors


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits of all values, whatever their names are and however the file is written; single numbers
    (counters, unused parameters) do not count.
    """
    digests = sorted(_digest(value) for value in tensors.values() if value.ndim)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _digest(value: Tensor) -> str:
    numbers = value.detach().float().contiguous().numpy().astype("<f4", copy=False)
    return hashlib.sha256(np.array(numbers.shape, "<i8").tobytes() + numbers.tobytes()).hexdigest()


def some(names: Iterable[str], most: int = 3) -> str:
    """A few names, for an error."""
    listed = sorted(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
