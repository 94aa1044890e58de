"""Count descriptor matches between many images, tile by tile. In: packed features. Out: counts.

SIFT descriptors are bytes and stay so: bytes minus 128 (distances do not change) are multiplied as
int8 into int32 on the processor's matrix unit, and one fused pass (`ratio.py`) reduces each tile
while it is in cache. Where the processor or torch has no correct, fast int8 product, float32 gives
the same whole numbers. Float descriptors take the float32 product. Nothing larger than a tile and
the counts is held.

Legend: q queries, g references, t thresholds; rows = the side that is searched, columns = the side
    that looks.
"""

import functools
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.matching import ratio
from reid_ray.matching.features import Features

Product = Literal["int8", "float32"]
Direction = Literal["reference_to_query", "query_to_reference"]

TILE_ROWS = 1024
TILE_COLUMNS = 192
"""A tile of int32 products is 0.8 MB: it stays in a core's level-2 cache until it is folded."""


def use_one_thread() -> None:
    """Keep torch and OpenCV to the calling process's one CPU; many processes do the rest."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@dataclass(frozen=True)
class Packed:
    """Descriptors of n images, ready to be multiplied; plain arrays, shared between processes as
    they are.

    Attributes:
        descriptors: [K, d], int8 (bytes minus 128) or float32.
        norms: float32 [K], squared lengths of `descriptors`.
        offsets: int64 [n + 1], image i owns rows offsets[i]:offsets[i + 1].
    """

    descriptors: NDArray[Any]
    norms: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        return self.descriptors.nbytes + self.norms.nbytes + self.offsets.nbytes

    @classmethod
    def of(cls, features: Features) -> "Packed":
        """Pack the descriptors of all images."""
        descriptors = features.descriptors
        if descriptors.dtype == np.uint8:
            descriptors = (descriptors ^ 0x80).view(np.int8)
        norms = np.einsum("kd,kd->k", descriptors, descriptors, dtype=np.float32)
        return cls(np.ascontiguousarray(descriptors), norms, features.offsets)

    def part(self, start: int, stop: int) -> "Packed":
        """Images start:stop, without a copy of the descriptors."""
        first, last = self.offsets[start], self.offsets[stop]
        offsets = self.offsets[start : stop + 1] - first
        return Packed(self.descriptors[first:last], self.norms[first:last], offsets)

    def take(self, images: Sequence[int] | NDArray[np.int64]) -> "Packed":
        """Copy of the given images, in the given order."""
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in images]
        rows = np.concatenate([np.zeros(0, np.int64), *spans])
        offsets = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64)
        return Packed(self.descriptors[rows], self.norms[rows], offsets)


def count_block(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    thresholds: Sequence[float],
    *,
    mutual: bool = False,
    direction: Direction = "reference_to_query",
    product: Product | None = None,
) -> NDArray[np.int32]:
    """Matches between queries start:stop and every reference, int32 [q, g, t].

    A descriptor of one image matches if the ratio of the squared distances to its nearest and
    second nearest descriptor in the other image is below the threshold (one float32 division; 0 /
    0 does not match). An image with fewer than two keypoints has no matches.

    Args:
        thresholds: all are counted in one pass.
        mutual: count only descriptors that are in turn the nearest of their nearest.
        direction: `reference_to_query`: descriptors of the reference look for their nearest in the
            query, as in wildlife-tools' MatchDescriptors; `query_to_reference`: the other way
            round.
        product: None takes what `fastest_product` found.
    """
    part = queries.part(start, stop)
    if direction == "reference_to_query":
        return _count(part, references, thresholds, mutual, product)
    return _count(references, part, thresholds, mutual, product).transpose(1, 0, 2)


def _count(
    rows: Packed,
    columns: Packed,
    thresholds: Sequence[float],
    mutual: bool,
    product: Product | None,
) -> NDArray[np.int32]:
    """Counts [row images, column images, t]."""
    limits = np.asarray(thresholds, np.float32)
    counts = np.zeros((len(rows), len(columns), len(limits)), np.int32)
    single = np.diff(columns.offsets) < 2
    fold = ratio.count_tile_mutual if mutual else ratio.count_tile
    row_tiles = list(_tiles(rows.offsets, TILE_ROWS, whole=True))
    column_tiles = list(_tiles(columns.offsets, TILE_COLUMNS, whole=mutual))
    multiply = _Multiplier(rows, columns, row_tiles, column_tiles, product)
    best, second = ratio.scratch(max((tile.width for tile in column_tiles), default=0))
    column_norms = [columns.norms[tile.first : tile.last] for tile in column_tiles]
    for r, row_tile in enumerate(row_tiles):
        row_norms = rows.norms[row_tile.first : row_tile.last]
        for c, tile in enumerate(column_tiles):
            fold(
                multiply(r, c), row_norms, column_norms[c], row_tile.bounds, tile.bounds, limits,
                counts[row_tile.images, tile.images], best, second,
            )  # fmt: skip
    counts[:, single] = 0
    return counts


def nearest_images(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    *,
    kept: int,
    left_out_qg: NDArray[np.bool_] | None = None,
    product: Product | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For each descriptor of queries start:stop the `kept` nearest references, each by its nearest
    descriptor.

    Args:
        left_out_qg: references that are as if they were not there, for each of these queries.

    Returns:
        Squared distances (ascending) and reference positions, both [descriptors, kept]; ties:
        lower position first; where there are fewer references, distance `ratio.FAR` and position
        -1.
    """
    part = queries.part(start, stop)
    total = len(part.descriptors)
    if left_out_qg is None:
        left_out_qg = np.zeros((len(part), len(references)), np.bool_)
    owners = np.repeat(np.arange(len(part)), np.diff(part.offsets))
    distances = np.full((total, kept), ratio.FAR, np.float32)
    images = np.full((total, kept), -1, np.int64)
    row_tiles = list(_tiles(references.offsets, TILE_ROWS, whole=True))
    column_tiles = list(_tiles(part.offsets, TILE_COLUMNS, whole=False))
    multiply = _Multiplier(references, part, row_tiles, column_tiles, product)
    best, second = ratio.scratch(TILE_COLUMNS)
    for r, row_tile in enumerate(row_tiles):
        row_norms = references.norms[row_tile.first : row_tile.last]
        for c, tile in enumerate(column_tiles):
            ratio.nearest_images_tile(
                multiply(r, c), row_norms, part.norms[tile.first : tile.last],
                row_tile.bounds, row_tile.images.start, owners[tile.first : tile.last], left_out_qg,
                distances[tile.first : tile.last], images[tile.first : tile.last], best, second,
            )  # fmt: skip
    return distances, images


@dataclass(frozen=True)
class _Tile:
    """Descriptors first:last of images `images`; `bounds` are the images' limits within it."""

    first: int
    last: int
    images: slice
    bounds: NDArray[np.int64]

    @property
    def width(self) -> int:
        return self.last - self.first


def _tiles(offsets: NDArray[np.int64], size: int, *, whole: bool) -> Iterator[_Tile]:
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
        yield _Tile(first, last, slice(start, stop), bounds)
        first = last


class _Multiplier:
    """Products of row and column tiles, written into one buffer that is used again and again."""

    def __init__(
        self,
        rows: Packed,
        columns: Packed,
        row_tiles: list[_Tile],
        column_tiles: list[_Tile],
        product: Product | None,
    ) -> None:
        whole = rows.descriptors.dtype == np.int8 and columns.descriptors.dtype == np.int8
        self._int8 = whole and (product or fastest_product()) == "int8"
        # Views are made once: a tile takes a tenth of a millisecond, so each call counts.
        left, right = _tensor(rows.descriptors), _tensor(columns.descriptors)
        self._rows = [left[tile.first : tile.last] for tile in row_tiles]
        # Transposed in memory, not only in view: the product is some per cent faster.
        self._columns = [right[tile.first : tile.last].t().contiguous() for tile in column_tiles]
        tallest = max((tile.width for tile in row_tiles), default=0)
        widest = max((tile.width for tile in column_tiles), default=0)
        dtype = torch.int32 if self._int8 else torch.float32
        self._buffer = torch.empty(tallest * widest, dtype=dtype)
        self._views: dict[tuple[int, int], tuple[torch.Tensor, NDArray[Any]]] = {}

    def __call__(self, row_tile: int, column_tile: int) -> NDArray[Any]:
        """Product of the tiles with these numbers; valid until the next call."""
        rows, columns = self._rows[row_tile], self._columns[column_tile]
        shape = (rows.shape[0], columns.shape[1])
        if shape not in self._views:
            out = self._buffer[: shape[0] * shape[1]].view(shape)
            self._views[shape] = out, out.numpy()
        out, array = self._views[shape]
        if self._int8:
            torch._int_mm(rows, columns, out=out)
        else:
            torch.mm(rows.float(), columns.float(), out=out)
        return array


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor on the array's memory, which may be read-only: it is only read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


@functools.cache
def fastest_product() -> Product:
    """`int8` if torch multiplies int8 correctly here (extremes, odd sizes) and no slower than
    float32.
    """
    rng = np.random.default_rng(0)
    for rows, columns in [(1, 1), (2, 7), (33, 65), (700, 384)]:
        left = rng.integers(-128, 128, (rows, 128), dtype=np.int8)
        right = rng.integers(-128, 128, (columns, 128), dtype=np.int8)
        left[0] = right[0] = -128
        expected = left.astype(np.int32) @ right.astype(np.int32).T
        try:
            found = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).t())
        except RuntimeError:
            return "float32"
        if not np.array_equal(found.numpy(), expected):
            return "float32"
    a, b = torch.from_numpy(left), torch.from_numpy(right).t()
    slow = _seconds(lambda: torch.mm(a.float(), b.float()))
    return "int8" if _seconds(lambda: torch._int_mm(a, b)) <= slow else "float32"


def _seconds(work: Any, repeats: int = 5) -> float:
    """Shortest of a few runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
