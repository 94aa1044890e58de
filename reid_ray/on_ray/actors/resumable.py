"""Finish requests of a pool, each result written at once, so that a start after a crash goes on."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reid_ray.errors import StorageError
from reid_ray.methods.bench import Request
from reid_ray.methods.scorer import Arrays
from reid_ray.on_ray.actors.pool import Here, Pool
from reid_ray.runs import files, seals


def finish(
    pool: Pool | Here, requests: Mapping[str, Request], folder: Path, *shared: Any
) -> Iterator[tuple[str, Arrays, bool]]:
    """(name, arrays, made now) of each request: those in the folder first, then the others as they end."""
    left: dict[str, Request] = {}
    for name, request in requests.items():
        arrays = _read(folder / f"{name}.npz")
        if arrays is None:
            left[name] = request
        else:
            yield name, arrays, False
    for name, arrays in pool.run(left, *shared):
        _write(folder / f"{name}.npz", arrays)
        yield name, arrays, True


def _write(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(path, seals.seal_bytes(buffer.getvalue()))


def _read(path: Path) -> Arrays | None:
    """A finished chunk; None where there is none, or a damaged one, which is then made again."""
    try:
        data = seals.unseal_bytes(files.read_bytes(path), path)
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, StorageError):
        return None
