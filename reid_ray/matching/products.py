"""Count matches by torch's products of tiles: int8 where it has a fast one, else float32.

Each tile's products are folded while they are in cache; nothing larger than a tile and the counts
is held.
"""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.matching import ratio
from reid_ray.matching.packed import Packed, Tile, tiles

TILE_ROWS = 1024
TILE_COLUMNS = 192
"""A tile of int32 products is 0.8 MB: it stays in a core's level-2 cache until it is folded."""


def count(
    rows: Packed, columns: Packed, limits: NDArray[np.float32], *, mutual: bool, int8: bool
) -> NDArray[Any]:
    """Counts [row images, column images, limits] of the columns' descriptors; see `Packed.no_counts`."""
    counts = columns.no_counts(len(rows), len(limits))
    fold = ratio.count_tile_mutual if mutual else ratio.count_tile
    row_tiles = list(tiles(rows.offsets, TILE_ROWS, whole=True))
    column_tiles = list(tiles(columns.offsets, TILE_COLUMNS, whole=mutual))
    multiply = _Multiplier(rows, columns, row_tiles, column_tiles, int8)
    best, second = ratio.scratch(max((tile.width for tile in column_tiles), default=0))
    column_norms = [columns.norms[tile.first : tile.last] for tile in column_tiles]
    for r, row_tile in enumerate(row_tiles):
        row_norms = rows.norms[row_tile.first : row_tile.last]
        for c, tile in enumerate(column_tiles):
            fold(
                multiply(r, c),
                row_norms,
                column_norms[c],
                row_tile.bounds,
                tile.bounds,
                limits,
                None if columns.weights is None else columns.weights[tile.first : tile.last],
                counts[row_tile.images, tile.images],
                best,
                second,
            )
    return counts


def nearest_images(
    rows: Packed,
    columns: Packed,
    owners: NDArray[np.int64],
    left_out: NDArray[np.bool_],
    distances: NDArray[np.float32],
    images: NDArray[np.int64],
    *,
    int8: bool,
) -> None:
    """Write each column's nearest row images; see `ratio.insert_image`."""
    row_tiles = list(tiles(rows.offsets, TILE_ROWS, whole=True))
    column_tiles = list(tiles(columns.offsets, TILE_COLUMNS, whole=False))
    multiply = _Multiplier(rows, columns, row_tiles, column_tiles, int8)
    best, second = ratio.scratch(TILE_COLUMNS)
    for r, row_tile in enumerate(row_tiles):
        row_norms = rows.norms[row_tile.first : row_tile.last]
        for c, tile in enumerate(column_tiles):
            ratio.nearest_images_tile(
                multiply(r, c),
                row_norms,
                columns.norms[tile.first : tile.last],
                row_tile.bounds,
                row_tile.images.start,
                owners[tile.first : tile.last],
                left_out,
                distances[tile.first : tile.last],
                images[tile.first : tile.last],
                best,
                second,
            )


class _Multiplier:
    """Products of row and column tiles, written into one buffer that is used again and again."""

    def __init__(
        self, rows: Packed, columns: Packed, row_tiles: list[Tile], column_tiles: list[Tile], int8: bool
    ) -> None:
        self._int8 = int8
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
