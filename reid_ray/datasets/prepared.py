"""Hold the prepared photos of a study flat, so that processes share them without copies.

In: uint8 images of any size, in memory or in files. Out: `PreparedImages`, whose bytes live in shared
memory or in memory maps, of which the system keeps in memory what is used and fits.
"""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reid_ray.errors import StorageError
from reid_ray.runs import files
from reid_ray.runs.storage import address

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MappedFile:
    """A file of pixels, mapped where and when it is first looked at; it travels as its path.

    From object storage it is fetched once per node.
    """

    path: str

    @cached_property
    def bytes(self) -> Pixels:
        """uint8 [bytes], read-only; its pages are shared by all processes of a node.

        Raises:
            StorageError: the file is not there, as where a node does not share the storage.
        """
        try:
            # Not numpy's memmap: it keeps each file open, and a process may have but a thousand.
            with pa.memory_map(str(files.mapped(Path(self.path)))) as file:
                return np.frombuffer(file.read_buffer(), np.uint8)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise StorageError(
                    f"{address(Path(self.path))}: this process may map no more files or memory; raise the "
                    "limit (sysctl vm.max_map_count), or `ulimit -v` where one is set"
                ) from error
            raise StorageError(
                f"{address(Path(self.path))}: prepared photos cannot be read ({error}); the storage must be "
                "one that all nodes share, and stay there while a study runs"
            ) from error

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return MappedFile, (self.path,)


@dataclass(frozen=True)
class PreparedImages:
    """n RGB photos, packed.

    Attributes:
        parts: where the pixels are: each uint8 [bytes] or a file of such, photos one after another,
            each row by row as [H, W, 3].
        part: int32 [n], which of `parts` a photo is in.
        starts: int64 [n], where it begins there.
        sizes_hw: int32 [n, 2], height and width in pixels.
        keys: 32 hex digits [n] of what each photo was made from, equal only for equal pixels; None where that
            is not known.
    """

    parts: tuple[Pixels | MappedFile, ...]
    part: NDArray[np.int32]
    starts: NDArray[np.int64]
    sizes_hw: NDArray[np.int32]
    keys: NDArray[np.bytes_] | None = None

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def __getitem__(self, index: int) -> Pixels:
        """Photo `index` as a read-only uint8 [H, W, 3] view."""
        height, width = self.sizes_hw[index].tolist()
        start, part = self.starts[index], self.parts[self.part[index]]
        pixels = part.bytes if isinstance(part, MappedFile) else part
        view = pixels[start : start + height * width * 3].reshape(height, width, 3)
        view.flags.writeable = False
        return view

    @property
    def nbytes(self) -> int:
        """Of the pixels of all photos."""
        return int(self.sizes_hw.astype(np.int64).prod(axis=1).sum()) * 3

    @classmethod
    def pack(cls, images: Iterable[Pixels]) -> "PreparedImages":
        """Copy uint8 [H, W, 3] images into one buffer in memory."""
        kept = list(images)
        sizes_hw = np.array([image.shape[:2] for image in kept], np.int32).reshape(-1, 2)
        ends = np.cumsum([image.size for image in kept], dtype=np.int64)
        pixels = np.empty(ends[-1] if kept else 0, np.uint8)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(kept)]
        for image, start, end in zip(kept, starts, ends, strict=True):
            pixels[start:end] = image.reshape(-1)
        return cls((pixels,), np.zeros(len(kept), np.int32), starts, sizes_hw)


@dataclass(frozen=True)
class Materials:
    """What all methods of a study share; photos are read in place, from files or Ray's object store."""

    images: PreparedImages
    rows: pd.DataFrame
