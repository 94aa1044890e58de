"""Count matches with the VNNI kernel, which folds products without ever writing them. In: packed
bytes. Out: counts.

A tile of columns, packed into panels, is matched with one row image after the other, so that both
stay in a core's level-2 cache. The best two are int32 and exact.

Where rows have sketches (`sketch.py`), those are compared first. The rows of the two nearest
sketches are compared whole, which bounds the second best from above; the second nearest sketch
bounds all other rows from below. A column whose ratio is thereby known, or known to be above every
limit, is settled; only the others are compared whole with all rows. Where too few are settled (at
high limits), a few images pass before it is tried again.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.packed import Packed, tiles
from reid_ray.matching.ratio import count_columns, insert_image
from reid_ray.matching.sketch import INDEX_BITS, Sketches
from reid_ray.matching.vnni import (
    LANES,
    aligned,
    constants_of,
    fold,
    fold_indexed,
    fold_keys,
    keyed,
    pack,
)  # fmt: skip

TILE_COLUMNS = 1024
"""Columns of SIFT's 128 bytes: 128 KB of panels."""
WORTH_IT = 0.55
"""With a larger share of unsettled columns, sketches cost more than they save."""
PAUSE = 32
"""Images until sketches are tried again."""

_compile = numba.njit(nogil=True, cache=True, error_model="numpy")


class Rows(NamedTuple):
    """The searched side as the passes take it; `codes` to `slack` are empty without sketches.

    `slack` [images] is the largest of each image, `step` the length of 1 in a sketch.
    """

    descriptors: NDArray[np.int8]
    constants: NDArray[np.int32]
    bounds: NDArray[np.int64]
    codes: NDArray[np.int8]
    keys: NDArray[np.int32]
    slack: NDArray[np.float32]
    step: np.float32


class Columns(NamedTuple):
    """A tile of the looking side; `owners` to `slack` are as long as `descriptors`."""

    descriptors: NDArray[np.int8]
    panels: NDArray[np.uint8]
    norms: NDArray[np.int32]
    code_panels: NDArray[np.uint8]
    code_norms: NDArray[np.int32]
    slack: NDArray[np.float32]


class Found(NamedTuple):
    """Of each column: best and second best of (row norm - 2 product), the best's row, and columns
    that are still to be compared; `pause` [1]: images until sketches are tried again.
    """

    best: NDArray[np.int32]
    second: NDArray[np.int32]
    nearest: NDArray[np.int32]
    open: NDArray[np.int64]
    pause: NDArray[np.int64]


def count(
    rows: Packed, columns: Packed, limits: NDArray[np.float32], *, mutual: bool
) -> NDArray[np.int32]:
    """Counts [row images, column images, limits] of the columns' descriptors."""
    counts = np.zeros((len(rows), len(columns), len(limits)), np.int32)
    searched = _rows(rows)
    pause = np.zeros(1, np.int64)
    highest = np.float32(limits.max(initial=0))
    for tile in tiles(columns.offsets, TILE_COLUMNS, whole=mutual):
        looking = _columns(columns, slice(tile.first, tile.last))
        found = _found(looking, pause)
        if mutual:
            _count_mutual_tile(
                searched, looking, constants_of(looking.descriptors), tile.bounds, limits, highest,
                counts, tile.images.start, mutual, found,
            )  # fmt: skip
        else:
            _count_tile(
                searched, looking, tile.bounds, limits, highest, counts, tile.images.start,
                mutual, found,
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
    searched = _rows(rows)
    for tile in tiles(columns.offsets, TILE_COLUMNS, whole=False):
        part = slice(tile.first, tile.last)
        looking = _columns(columns, part)
        found = _found(looking, np.zeros(1, np.int64))
        _nearest_images_tile(
            searched, looking, owners[part], left_out, distances[part], images[part], found
        )


def _rows(packed: Packed) -> Rows:
    descriptors, bounds = _fixed(packed.descriptors), packed.offsets.copy()
    codes, slack, step = _sketches(packed.sketches)
    keys = keyed(codes, bounds) if len(codes) else np.zeros(0, np.int32)
    most, filled = np.zeros(len(packed), np.float32), np.diff(bounds) > 0
    if len(codes):
        most[filled] = np.maximum.reduceat(slack, bounds[:-1][filled])
    return Rows(descriptors, constants_of(descriptors), bounds, codes, keys, most, step)


def _columns(packed: Packed, part: slice) -> Columns:
    descriptors = _fixed(packed.descriptors[part])
    sketches = packed.sketches.take(part) if packed.sketches else None
    codes, slack, _ = _sketches(sketches)
    return Columns(
        descriptors, _panels(descriptors), packed.norms[part].astype(np.int32),
        _panels(codes), np.einsum("kd,kd->k", codes, codes, dtype=np.int32), slack,
    )  # fmt: skip


def _sketches(
    sketches: Sketches | None,
) -> tuple[NDArray[np.int8], NDArray[np.float32], np.float32]:
    if sketches is None:
        return _fixed(np.zeros((0, 0), np.int8)), np.zeros(0, np.float32), np.float32(1)
    return _fixed(sketches.codes), sketches.slack.copy(), sketches.basis.step


def _fixed(descriptors: NDArray[np.int8]) -> NDArray[np.int8]:
    """Read-only, as in a shared store: numba would compile all for either kind (others: copied)."""
    view = descriptors.view()
    view.flags.writeable = False
    return view


def _found(columns: Columns, pause: NDArray[np.int64]) -> Found:
    width = len(columns.panels) * LANES
    best, second, nearest = np.zeros((3, width), np.int32)
    return Found(best, second, nearest, np.zeros(width, np.int64), pause)


def _panels(descriptors: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The descriptors in panels [panels, 16 d]."""
    count, length = descriptors.shape
    shape = -(-count // LANES), LANES * length
    panels = aligned(shape[0] * shape[1]).reshape(shape)
    _pack_all(descriptors, panels)
    return panels


@_compile
def _pack_all(descriptors, panels):  # type: ignore[no-untyped-def]
    numbers = np.arange(len(descriptors))
    for p in range(len(panels)):
        pack(descriptors, numbers[p * LANES : (p + 1) * LANES], panels[p])


@_compile
def _best_two(rows, columns, g, highest, indexed, found):  # type: ignore[no-untyped-def]
    """Write the best two of image g, of each column whose ratio can be below `highest`.

    Others get a ratio of 1. `nearest` is written where `indexed` or sketches are in use.
    """
    start, stop = rows.bounds[g], rows.bounds[g + 1]
    if _sketches_help(rows, start, stop, found):
        open_columns = _settle(rows, columns, g, highest, found)
        _compare_open(rows, columns, start, stop, open_columns, found)
        if open_columns > WORTH_IT * len(columns.norms):
            found.pause[0] = PAUSE
    else:
        _fold_whole(rows, columns, start, stop, indexed, found)


@_compile
def _fold_whole(rows, columns, start, stop, indexed, found):  # type: ignore[no-untyped-def]
    for p in range(len(columns.panels)):
        at = slice(p * LANES, (p + 1) * LANES)
        best, second, panel = found.best[at], found.second[at], columns.panels[p]
        if indexed:
            fold_indexed(
                rows.descriptors, rows.constants, start, stop, panel, best, second,
                found.nearest[at],
            )  # fmt: skip
        else:
            fold(rows.descriptors, rows.constants, start, stop, panel, best, second)


@_compile
def _sketches_help(rows, start, stop, found):  # type: ignore[no-untyped-def]
    if len(rows.codes) == 0 or stop - start > 1 << INDEX_BITS:
        return False
    found.pause[0] -= 1
    return found.pause[0] < 0


@_compile
def _fold_sketches(rows, columns, g, found):  # type: ignore[no-untyped-def]
    for p in range(len(columns.code_panels)):
        at = slice(p * LANES, (p + 1) * LANES)
        fold_keys(
            rows.codes, rows.keys, rows.bounds[g], rows.bounds[g + 1], columns.code_panels[p],
            found.best[at], found.second[at],
        )  # fmt: skip


@_compile
def _settle(rows, columns, g, highest, found):  # type: ignore[no-untyped-def]
    """Settle columns by sketches; those left, whose number it returns, are in `found.open`."""
    start = rows.bounds[g]
    mask = (1 << INDEX_BITS) - 1
    count = 0
    _fold_sketches(rows, columns, g, found)
    for c in range(len(columns.norms)):
        row, other = start + (found.best[c] & mask), start + (found.second[c] & mask)
        near, far = _distance(rows, columns, row, c), _distance(rows, columns, other, c)
        if far < near:
            row, near, far = other, far, near
        others = _bound(rows, columns, g, c, found.second[c])
        if others < far and not np.float32(min(near, others)) / np.float32(far) >= highest:
            found.open[count] = c
            count += 1
            continue
        # Where all others are as far as the second, the two are the best two. Otherwise the ratio
        # is too high for every limit, as it is at 1.
        best = near if others >= far else far
        found.best[c], found.second[c] = best - columns.norms[c], far - columns.norms[c]
        found.nearest[c] = row
    return count


@_compile
def _bound(rows, columns, g, c, key):  # type: ignore[no-untyped-def]
    """No row whose key is at least `key` is nearer than this (squared distance)."""
    steps = np.sqrt(np.float32((key >> INDEX_BITS) + columns.code_norms[c]))
    plain = rows.step * steps - rows.slack[g] - columns.slack[c]
    return max(plain, np.float32(0)) ** 2 * np.float32(0.9999)


@_compile
def _distance(rows, columns, row, column):  # type: ignore[no-untyped-def]
    a, b = rows.descriptors[row], columns.descriptors[column]
    total = np.int32(0)
    for i in range(len(a)):
        difference = np.int32(a[i]) - np.int32(b[i])
        total += difference * difference
    return total


@_compile
def _compare_open(rows, columns, start, stop, count, found):  # type: ignore[no-untyped-def]
    """Write the best two of the `count` columns in `found.open`, from their whole descriptors."""
    panel = np.zeros(columns.panels.shape[1], np.uint8)
    best, second, nearest = np.empty((3, LANES), np.int32)
    for at in range(0, count, LANES):
        numbers = found.open[at : min(at + LANES, count)]
        pack(columns.descriptors, numbers, panel)
        fold_indexed(rows.descriptors, rows.constants, start, stop, panel, best, second, nearest)
        for lane in range(len(numbers)):
            c = numbers[lane]
            found.best[c], found.second[c] = best[lane], second[lane]
            found.nearest[c] = nearest[lane]


@_compile
def _count_tile(  # type: ignore[no-untyped-def]
    rows, columns, bounds, limits, highest, counts, first_image, indexed, found
):
    """Add to counts [row images, column images, limits] the columns of one tile."""
    for g in range(len(rows.bounds) - 1):
        if rows.bounds[g + 1] - rows.bounds[g] >= 2:
            _best_two(rows, columns, g, highest, indexed, found)
            count_columns(
                found.best, found.second, columns.norms, bounds, limits, counts[g, first_image:]
            )


@_compile
def _count_mutual_tile(  # type: ignore[no-untyped-def]
    rows, columns, constants, bounds, limits, highest, counts, first_image, indexed, found
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
        _best_two(rows, columns, g, highest, indexed, found)
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
                        counts[g, first_image + s, t] += ratio < limits[t]


@_compile
def _ratio(columns, found, c):  # type: ignore[no-untyped-def]
    norm = columns.norms[c]
    return np.float32(found.best[c] + norm) / np.float32(found.second[c] + norm)


@_compile
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
        fold_indexed(columns.descriptors, constants, first, last, panel, best, second, found)
        back[at : at + len(some)] = found[: len(some)]


@_compile
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
        if _sketches_help(rows, start, stop, found):
            count = _settle_nearest(rows, columns, g, owners, out, distances, images, found)
            _compare_open(rows, columns, start, stop, count, found)
            if count > WORTH_IT * len(columns.norms):
                found.pause[0] = min(g, PAUSE)
        else:
            _fold_whole(rows, columns, start, stop, False, found)
            count = len(columns.norms)
            for c in range(count):
                found.open[c] = c
        for c in found.open[:count]:
            if not out[owners[c]]:
                distance = np.float32(found.best[c] + columns.norms[c])
                insert_image(distance, g, distances[c], images[c])


@_compile
def _settle_nearest(  # type: ignore[no-untyped-def]
    rows, columns, g, owners, out, distances, images, found
):
    """Insert image g where sketches settle its nearest row, or that it is not among the nearest;
    columns left, whose number it returns, are in `found.open`.
    """
    start = rows.bounds[g]
    mask = (1 << INDEX_BITS) - 1
    count = 0
    _fold_sketches(rows, columns, g, found)
    for c in range(len(columns.norms)):
        last = distances[c, -1]
        if out[owners[c]] or _bound(rows, columns, g, c, found.best[c]) >= last:
            continue
        near = np.float32(_distance(rows, columns, start + (found.best[c] & mask), c))
        others = _bound(rows, columns, g, c, found.second[c])
        if others < min(near, last) and rows.bounds[g + 1] - start > 1:
            other = _distance(rows, columns, start + (found.second[c] & mask), c)
            near = min(near, np.float32(other))
        if others < min(near, last):
            found.open[count] = c
            count += 1
        else:
            insert_image(near, g, distances[c], images[c])
    return count
