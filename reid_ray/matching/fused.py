"""Count matches with the VNNI kernel, which folds products without ever writing them. In: packed
bytes. Out: counts.

A tile of columns, packed into panels, is matched with one row image after the other, so that both
stay in a core's level-2 cache. The best two are int32 and exact.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.packed import Packed, tiles
from reid_ray.matching.ratio import count_columns, insert_image
from reid_ray.matching.vnni import LANES, aligned, constants_of, fold, fold_indexed, pack

TILE_COLUMNS = 1024
"""Columns of SIFT's 128 bytes: 128 KB of panels."""

_compile = numba.njit(nogil=True, cache=True, error_model="numpy")


def count(
    rows: Packed, columns: Packed, limits: NDArray[np.float32], *, mutual: bool
) -> NDArray[np.int32]:
    """Counts [row images, column images, limits] of the columns' descriptors."""
    counts = np.zeros((len(rows), len(columns), len(limits)), np.int32)
    searched, looking = _fixed(rows.descriptors), _fixed(columns.descriptors)
    constants, norms = constants_of(searched), columns.norms.astype(np.int32)
    bounds = rows.offsets.copy()
    for tile in tiles(columns.offsets, TILE_COLUMNS, whole=mutual):
        part = slice(tile.first, tile.last)
        panels = _panels(looking[part])
        best, second, nearest = np.zeros((3, len(panels) * LANES), np.int32)
        if mutual:
            _count_mutual_tile(
                searched, constants, bounds, panels, looking[part],
                constants_of(looking[part]), norms[part], tile.bounds, limits, counts,
                tile.images.start, best, second, nearest,
            )  # fmt: skip
        else:
            _count_tile(
                searched, constants, bounds, panels, norms[part], tile.bounds, limits,
                counts, tile.images.start, best, second,
            )  # fmt: skip
    return counts


def nearest_images(
    rows: Packed,
    columns: Packed,
    owners: NDArray[np.int64],
    left_out: NDArray[np.bool_],
    distances: NDArray[np.float32],
    images: NDArray[np.int64],
) -> None:
    """Write each column's nearest row images; see `ratio.insert_image`."""
    searched, looking = _fixed(rows.descriptors), _fixed(columns.descriptors)
    constants, norms = constants_of(searched), columns.norms.astype(np.int32)
    bounds = rows.offsets.copy()
    for tile in tiles(columns.offsets, TILE_COLUMNS, whole=False):
        part = slice(tile.first, tile.last)
        panels = _panels(looking[part])
        best, second = np.zeros((2, len(panels) * LANES), np.int32)
        _nearest_images_tile(
            searched, constants, bounds, panels, norms[part], owners[part], left_out,
            distances[part], images[part], best, second,
        )  # fmt: skip


def _fixed(descriptors: NDArray[np.int8]) -> NDArray[np.int8]:
    """Read-only, as in a shared store: numba would compile all for either kind (offsets: copied)."""
    view = descriptors.view()
    view.flags.writeable = False
    return view


def _panels(descriptors: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The descriptors in panels [panels, 16 d]."""
    count, length = descriptors.shape
    panels = aligned(-(-count // LANES) * LANES * length).reshape(-1, LANES * length)
    _pack_all(descriptors, panels)
    return panels


@_compile
def _pack_all(descriptors, panels):  # type: ignore[no-untyped-def]
    numbers = np.arange(len(descriptors))
    for p in range(len(panels)):
        pack(descriptors, numbers[p * LANES : (p + 1) * LANES], panels[p])


@_compile
def _fold_all(rows, constants, start, stop, panels, best, second):  # type: ignore[no-untyped-def]
    for p in range(len(panels)):
        lanes = slice(p * LANES, (p + 1) * LANES)
        fold(rows, constants, start, stop, panels[p], best[lanes], second[lanes])


@_compile
def _count_tile(  # type: ignore[no-untyped-def]
    rows, constants, row_bounds, panels, norms, bounds, limits, counts, first_image, best, second
):
    """Add to counts [row images, column images, limits] the columns of one tile."""
    for g in range(len(row_bounds) - 1):
        start, stop = row_bounds[g], row_bounds[g + 1]
        if stop - start >= 2:
            _fold_all(rows, constants, start, stop, panels, best, second)
            count_columns(best, second, norms, bounds, limits, counts[g, first_image:])


@_compile
def _count_mutual_tile(  # type: ignore[no-untyped-def]
    rows, constants, row_bounds, panels, columns, column_constants, norms, bounds, limits, counts,
    first_image, best, second, nearest,
):  # fmt: skip
    """As `_count_tile`, for columns that are in turn the nearest of their nearest row.

    Column images are whole. Among columns equally near to a row, the first is its nearest. Below
    a ratio of 1 the nearest row is the only one at its distance, so it needs no tie rule.
    """
    highest = limits.max()
    passing = np.empty(len(columns), np.int64)
    back = np.empty(len(columns), np.int32)
    for g in range(len(row_bounds) - 1):
        start, stop = row_bounds[g], row_bounds[g + 1]
        if stop - start < 2:
            continue
        for p in range(len(panels)):
            lanes = slice(p * LANES, (p + 1) * LANES)
            fold_indexed(
                rows, constants, start, stop, panels[p], best[lanes], second[lanes], nearest[lanes]
            )
        for s in range(len(bounds) - 1):
            first, last = bounds[s], bounds[s + 1]
            count = 0
            for c in range(first, last):
                if _ratio(best, second, norms, c) < highest:
                    passing[count] = c
                    count += 1
            own = passing[:count]
            _look_back(columns, column_constants, first, last, rows, nearest, own, back)
            for at in range(count):
                if back[at] == own[at]:
                    ratio = _ratio(best, second, norms, own[at])
                    for t in range(len(limits)):
                        counts[g, first_image + s, t] += ratio < limits[t]


@_compile
def _ratio(best, second, norms, c):  # type: ignore[no-untyped-def]
    return np.float32(best[c] + norms[c]) / np.float32(second[c] + norms[c])


@_compile
def _look_back(  # type: ignore[no-untyped-def]
    columns, constants, first, last, rows, nearest, passing, back
):
    """Write the column, of first:last, that is nearest to the nearest row of each passing one.

    The sides change places: the few rows that are asked for are packed, the columns stream past.
    """
    length = columns.shape[1]
    panel = np.zeros(length * LANES, np.uint8)
    best, second, found = np.empty((3, LANES), np.int32)
    for at in range(0, len(passing), LANES):
        some = passing[at : at + LANES]
        numbers = np.empty(len(some), np.int64)
        for lane in range(len(some)):
            numbers[lane] = nearest[some[lane]]
        pack(rows, numbers, panel)
        fold_indexed(columns, constants, first, last, panel, best, second, found)
        back[at : at + len(some)] = found[: len(some)]


@_compile
def _nearest_images_tile(  # type: ignore[no-untyped-def]
    rows, constants, row_bounds, panels, norms, owners, left_out, distances, images, best, second
):
    """Keep, per column, the nearest images, each by its nearest row.

    Columns of owner q pass over the images that `left_out` [q, g] marks.
    """
    for g in range(len(row_bounds) - 1):
        start, stop = row_bounds[g], row_bounds[g + 1]
        if stop == start:
            continue
        _fold_all(rows, constants, start, stop, panels, best, second)
        for c in range(len(norms)):
            if not left_out[owners[c], g]:
                insert_image(np.float32(best[c] + norms[c]), g, distances[c], images[c])
