"""Keep blocks of scores on disk, so that methods which build on the same scores make them once."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_ray.errors import StorageError
from reid_ray.runs import files, seals

Scores = NDArray[np.float32]


def kept_scores(folder: Path | None, name: str, shape: tuple[int, ...], make: Callable[[], Scores]) -> Scores:
    """Scores of this shape from `folder`/`name`.npy; made and kept where they are not there or damaged.

    Args:
        folder: known by all that decides the scores; None keeps nothing.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.npy"
    try:
        data = seals.unseal_bytes(files.read_bytes(path), path)
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if found.shape == shape and found.dtype == np.float32:
            return np.asarray(found)
    except (OSError, ValueError, EOFError, StorageError):
        pass
    scores = make()
    buffer = io.BytesIO()
    np.save(buffer, scores)
    files.write_bytes(path, seals.seal_bytes(buffer.getvalue()))
    return scores
