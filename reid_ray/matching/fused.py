"""Count matches with the VNNI kernel, which folds products without ever writing them. In: packed
bytes. Out: counts.

A tile of columns, packed into panels, is matched with one row image after the other, so that both
stay in a core's level-2 cache. The best two (`best_two.py`) are int32 and exact.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.best_two import (
    best_two,
    bound,
    columns_of,
    distance,
    fold_sketches,
    fold_whole,
    found_for,
    limit,
    look_closer,
    rows_of,
    sketches_help,
)
from reid_ray.matching.compiled import compiled
from reid_ray.matching.packed import Packed, tiles
from reid_ray.matching.ratio import count_columns, insert_image
from reid_ray.matching.sketch import INDEX_BITS
from reid_ray.matching.vnni import FAR, LANES, constants_of, fold, pack

_MASK = (1 << INDEX_BITS) - 1
TILE_COLUMNS = 1024
"""Columns of SIFT's 128 bytes: 128 KB of panels."""


def count(rows: Packed, columns: Packed, limits: NDArray[np.float32], *, mutual: bool) -> NDArray[Any]:
    """Counts [row images, column images, limits] of the columns' descriptors; see `Packed.no_counts`."""
    counts = columns.no_counts(len(rows), len(limits))
    searched = rows_of(rows)
    highest = np.float32(limits.max(initial=0))
    for tile in tiles(columns.offsets, TILE_COLUMNS, whole=mutual):
        part = slice(tile.first, tile.last)
        looking = columns_of(columns, part)
        weights = None if columns.weights is None else columns.weights[part]
        found = found_for(searched, looking)
        rest = (tile.bounds, limits, weights, highest, counts, tile.images.start, mutual, found)
        if mutual:
            _count_mutual_tile(searched, looking, constants_of(looking.descriptors), *rest)
        else:
            _count_tile(searched, looking, *rest)
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
    searched = rows_of(rows)
    for tile in tiles(columns.offsets, TILE_COLUMNS, whole=False):
        part = slice(tile.first, tile.last)
        looking = columns_of(columns, part)
        found = found_for(searched, looking)
        _nearest_images_tile(searched, looking, owners[part], left_out, distances[part], images[part], found)


@compiled()
def _count_tile(  # type: ignore[no-untyped-def]
    rows, columns, bounds, limits, weights, highest, counts, first_image, indexed, found
):
    """Add to counts [row images, column images, limits] the columns of one tile."""
    for g in range(len(rows.bounds) - 1):
        if rows.bounds[g + 1] - rows.bounds[g] >= 2:
            best_two(rows, columns, g, highest, indexed, found)
            into = counts[g, first_image:]
            count_columns(found.best, found.second, columns.norms, bounds, limits, weights, into)


@compiled()
def _count_mutual_tile(  # type: ignore[no-untyped-def]
    rows, columns, constants, bounds, limits, weights, highest, counts, first_image, indexed, found
):
    """As `_count_tile`, for columns that are in turn the nearest of their nearest row.

    Column images are whole. Among columns equally near to a row, the first is its nearest. Below
    a ratio of 1 the nearest row is the only one at its distance, so it needs no tie rule.
    """
    passing = np.empty(len(columns.norms), np.int64)
    back = np.empty(len(columns.norms), np.int32)
    for g in range(len(rows.bounds) - 1):
        if rows.bounds[g + 1] - rows.bounds[g] < 2:
            continue
        best_two(rows, columns, g, highest, indexed, found)
        for s in range(len(bounds) - 1):
            count = 0
            for c in range(bounds[s], bounds[s + 1]):
                if _ratio(columns, found, c) < highest:
                    passing[count] = c
                    count += 1
            own = passing[:count]
            _look_back(rows, columns, constants, bounds[s], bounds[s + 1], own, found.nearest, back)
            for at in range(count):
                if back[at] == own[at]:
                    ratio = _ratio(columns, found, own[at])
                    for t in range(len(limits)):
                        if weights is None:
                            counts[g, first_image + s, t] += ratio < limits[t]
                        elif ratio < limits[t]:
                            counts[g, first_image + s, t] += weights[own[at]]


@compiled()
def _ratio(columns, found, c):  # type: ignore[no-untyped-def]
    norm = columns.norms[c]
    return np.float32(found.best[c] + norm) / np.float32(found.second[c] + norm)


@compiled()
def _look_back(  # type: ignore[no-untyped-def]
    rows, columns, constants, first, last, passing, nearest, back
):
    """Write the column, of first:last, that is nearest to the nearest row of each passing one.

    The sides change places: the few rows that are asked for are packed, the columns stream past.
    """
    panel = np.zeros(columns.panels.shape[1], np.uint8)
    best, second, found = np.empty((3, LANES), np.int32)
    numbers = np.empty(LANES, np.int64)
    for at in range(0, len(passing), LANES):
        some = passing[at : at + LANES]
        for lane in range(len(some)):
            numbers[lane] = nearest[some[lane]]
        pack(rows.descriptors, numbers[: len(some)], panel)
        fold(columns.descriptors, constants, first, last, panel, best, second, found)
        back[at : at + len(some)] = found[: len(some)]


@compiled()
def _nearest_images_tile(  # type: ignore[no-untyped-def]
    rows, columns, owners, left_out, distances, images, found
):
    """Keep, per column, the nearest images, each by its nearest row.

    Columns of owner q pass over the images that `left_out` [q, g] marks.
    """
    for g in range(len(rows.bounds) - 1):
        start, stop = rows.bounds[g], rows.bounds[g + 1]
        if stop == start:
            continue
        out = left_out[:, g]
        if sketches_help(rows, g):
            for p in range(len(columns.panels)):
                fold_sketches(rows, columns, g, p, found)
                _settle_nearest(rows, columns, g, p, owners, out, distances, found)
                look_closer(rows, columns, g, p, found)
        else:
            fold_whole(rows, columns, g, False, found)
        for c in range(len(owners)):
            if not out[owners[c]]:
                nearest = np.float32(found.best[c] + columns.norms[c])
                insert_image(nearest, g, distances[c], images[c])


@compiled()
def _settle_nearest(  # type: ignore[no-untyped-def]
    rows, columns, g, p, owners, out, distances, found
):
    """Settle columns by their two lowest keys, or say which rows may be nearer than these and than
    the last of the columns' images.

    Where image g is left out, or not nearer than the last, any distance from there on will do.
    """
    for c in range(p * LANES, min((p + 1) * LANES, len(owners))):
        key, last = found.best[c], distances[c, -1]
        if out[owners[c]] or bound(rows, columns, g, c, key) >= last:
            found.best[c] = FAR
            continue
        near = distance(rows, columns, rows.bounds[g] + (key & _MASK), c)
        reach = min(np.float32(near), last)
        if bound(rows, columns, g, c, found.second[c]) < reach:
            found.limits[c % LANES] = limit(rows, columns, g, c, reach)
        found.best[c] = near - columns.norms[c]
