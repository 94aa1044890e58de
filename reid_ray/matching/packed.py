"""Pack descriptors of many images for the matching engine, and cut them into tiles.

SIFT descriptors are bytes and stay so: bytes minus 128, as distances do not change by that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching import sketch
from reid_ray.matching.features import Features
from reid_ray.matching.sketch import Basis, Sketches


@dataclass(frozen=True)
class Packed:
    """Descriptors of n images, ready to be multiplied; plain arrays, shared between processes as
    they are.

    Attributes:
        descriptors: [K, d], float32, or int8 (bytes minus 128; d is filled up to a multiple of 4).
        norms: float32 [K], squared lengths of `descriptors`.
        offsets: int64 [n + 1], image i owns rows offsets[i]:offsets[i + 1].
        sketches: of the descriptors, where `sketched` made them.
        weights: float32 [K], what a match of each descriptor counts; None: 1.
    """

    descriptors: NDArray[Any]
    norms: NDArray[np.float32]
    offsets: NDArray[np.int64]
    sketches: Sketches | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        own = self.descriptors.nbytes + self.norms.nbytes + self.offsets.nbytes
        own += 0 if self.weights is None else self.weights.nbytes
        return own + (self.sketches.nbytes if self.sketches else 0)

    @classmethod
    def of(cls, features: Features) -> "Packed":
        """Pack the descriptors of all images."""
        descriptors = features.descriptors
        if descriptors.dtype == np.uint8:
            descriptors = (descriptors ^ 0x80).view(np.int8)
            descriptors = np.pad(descriptors, ((0, 0), (0, -descriptors.shape[1] % 4)))
        norms = np.einsum("kd,kd->k", descriptors, descriptors, dtype=np.float32)
        return cls(np.ascontiguousarray(descriptors), norms, features.offsets)

    def sketched(self, basis: Basis | None = None) -> "Packed":
        """The same with sketches, which make searching it faster and change no result.

        Args:
            basis: None learns one from these descriptors; then float, short or few ones stay as
                they are.
        """
        if basis is None:
            count, length = self.descriptors.shape
            whole = self.descriptors.dtype == np.int8
            if not whole or length % 64 or count < sketch.LEAST_DESCRIPTORS:
                return self
            basis = Basis.learn(self.descriptors)
        return replace(self, sketches=Sketches.of(self.descriptors, basis))

    def part(self, start: int, stop: int) -> "Packed":
        """Images start:stop, without a copy of the descriptors."""
        first, last = self.offsets[start], self.offsets[stop]
        offsets = self.offsets[start : stop + 1] - first
        return self._rows(slice(first, last), offsets)

    def take(self, images: Sequence[int] | NDArray[np.int64]) -> "Packed":
        """Copy of the given images, in the given order."""
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in images]
        rows = np.concatenate([np.zeros(0, np.int64), *spans])
        offsets = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64)
        return self._rows(rows, offsets)

    def no_counts(self, others: int, limits: int) -> NDArray[Any]:
        """Zeros [other images, images, limits], to which its matches are added: whole numbers, float32
        where it has weights.
        """
        return np.zeros((others, len(self), limits), np.int32 if self.weights is None else np.float32)

    def by_part(self, parts: NDArray[np.int64], count: int) -> "Packed":
        """Each image cut into `count` images, by the part (0 .. count - 1) of each descriptor."""
        owners = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        number = owners * count + parts
        offsets = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(self) * count))])
        return self._rows(np.argsort(number, kind="stable"), offsets.astype(np.int64))

    def _rows(self, rows: slice | NDArray[np.int64], offsets: NDArray[np.int64]) -> "Packed":
        sketches = self.sketches.take(rows) if self.sketches else None
        weights = None if self.weights is None else self.weights[rows]
        return Packed(self.descriptors[rows], self.norms[rows], offsets, sketches, weights)


@dataclass(frozen=True)
class Tile:
    """Descriptors first:last of images `images`; `bounds` are the images' limits within it."""

    first: int
    last: int
    images: slice
    bounds: NDArray[np.int64]

    @property
    def width(self) -> int:
        return self.last - self.first


def tiles(offsets: NDArray[np.int64], size: int, *, whole: bool) -> Iterator[Tile]:
    """Cut descriptors into tiles of `size`; with `whole`, only between images (a larger one
    is alone).
    """
    first, end = int(offsets[0]), int(offsets[-1])
    while first < end:
        last = min(first + size, end)
        start = int(np.searchsorted(offsets, first, side="right")) - 1
        if whole:
            stop = max(int(np.searchsorted(offsets, last, side="right")) - 1, start + 1)
            last = int(offsets[stop])
        else:
            stop = int(np.searchsorted(offsets, last, side="left"))
        bounds = np.clip(offsets[start : stop + 1], first, last) - first
        yield Tile(first, last, slice(start, stop), bounds)
        first = last
