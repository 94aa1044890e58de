"""Find each column's best two in one row image with the VNNI kernel, by sketches where they help.

The rows of the two nearest sketches are compared whole, which bounds the second best from above;
the second nearest sketch bounds all other rows from below. A column whose ratio is thereby known,
or known to be above every limit, is settled; only the others are compared whole with all rows.
Where too few are settled (at high limits), a few images pass before it is tried again.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.packed import Packed
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
)

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


def rows_of(packed: Packed) -> Rows:
    descriptors, bounds = _fixed(packed.descriptors), packed.offsets.copy()
    codes, slack, step = _sketches(packed.sketches)
    keys = keyed(codes, bounds) if len(codes) else np.zeros(0, np.int32)
    most, filled = np.zeros(len(packed), np.float32), np.diff(bounds) > 0
    if len(codes):
        most[filled] = np.maximum.reduceat(slack, bounds[:-1][filled])
    return Rows(descriptors, constants_of(descriptors), bounds, codes, keys, most, step)


def columns_of(packed: Packed, part: slice) -> Columns:
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


def found_for(columns: Columns, pause: NDArray[np.int64]) -> Found:
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
def best_two(rows, columns, g, highest, indexed, found):  # type: ignore[no-untyped-def]
    """Write the best two of image g, of each column whose ratio can be below `highest`.

    Others get a ratio of 1. `nearest` is written where `indexed` or sketches are in use.
    """
    start, stop = rows.bounds[g], rows.bounds[g + 1]
    if sketches_help(rows, start, stop, found):
        open_columns = _settle(rows, columns, g, highest, found)
        compare_open(rows, columns, start, stop, open_columns, found)
        if open_columns > WORTH_IT * len(columns.norms):
            found.pause[0] = PAUSE
    else:
        fold_whole(rows, columns, start, stop, indexed, found)


@_compile
def fold_whole(rows, columns, start, stop, indexed, found):  # type: ignore[no-untyped-def]
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
def sketches_help(rows, start, stop, found):  # type: ignore[no-untyped-def]
    if len(rows.codes) == 0 or stop - start > 1 << INDEX_BITS:
        return False
    found.pause[0] -= 1
    return found.pause[0] < 0


@_compile
def fold_sketches(rows, columns, g, found):  # type: ignore[no-untyped-def]
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
    fold_sketches(rows, columns, g, found)
    for c in range(len(columns.norms)):
        row, other = start + (found.best[c] & mask), start + (found.second[c] & mask)
        near, far = distance(rows, columns, row, c), distance(rows, columns, other, c)
        if far < near:
            row, near, far = other, far, near
        others = bound(rows, columns, g, c, found.second[c])
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
def bound(rows, columns, g, c, key):  # type: ignore[no-untyped-def]
    """No row whose key is at least `key` is nearer than this (squared distance)."""
    steps = np.sqrt(np.float32((key >> INDEX_BITS) + columns.code_norms[c]))
    plain = rows.step * steps - rows.slack[g] - columns.slack[c]
    return max(plain, np.float32(0)) ** 2 * np.float32(0.9999)


@_compile
def distance(rows, columns, row, column):  # type: ignore[no-untyped-def]
    a, b = rows.descriptors[row], columns.descriptors[column]
    total = np.int32(0)
    for i in range(len(a)):
        difference = np.int32(a[i]) - np.int32(b[i])
        total += difference * difference
    return total


@_compile
def compare_open(rows, columns, start, stop, count, found):  # type: ignore[no-untyped-def]
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
