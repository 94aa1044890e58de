"""Find each column's best two in one row image with the VNNI kernel, by sketches where there are any.

The rows of the two nearest sketches are compared whole, which bounds the second best from above;
the second nearest sketch bounds all other rows from below. Often a column's ratio is thereby known,
or known to be above every limit. Otherwise those rows are compared whole whose sketch is near
enough to be among the best two.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.compiled import compiled
from reid_ray.matching.packed import Packed
from reid_ray.matching.sketch import INDEX_BITS, Sketches
from reid_ray.matching.vnni import (
    FAR,
    LANES,
    aligned,
    constants_of,
    fold,
    fold_keys,
    keyed,
    keys_below,
    pack,
    value_of,
)

_MASK = (1 << INDEX_BITS) - 1
_NONE = np.int32(-FAR - 1)
"""No key is below it."""
_HITS_PER_ROW = 1.3
"""With more near sketches in a panel, comparing it whole takes less time."""


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
    """A tile of the looking side; `bytes` are the descriptors plus 128; `code_panels` to `slack` are
    empty without sketches.
    """

    descriptors: NDArray[np.int8]
    bytes: NDArray[np.uint8]
    panels: NDArray[np.uint8]
    norms: NDArray[np.int32]
    code_panels: NDArray[np.uint8]
    code_norms: NDArray[np.int32]
    slack: NDArray[np.float32]


class Found(NamedTuple):
    """Of each column: best and second best value, and the best's row.

    `keys` [rows of the largest image, 16], `limits` [16] and `hits` are what `_look_closer` needs.
    """

    best: NDArray[np.int32]
    second: NDArray[np.int32]
    nearest: NDArray[np.int32]
    keys: NDArray[np.int32]
    limits: NDArray[np.int32]
    hits: NDArray[np.uint16]


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
        descriptors,
        (descriptors ^ -128).view(np.uint8),
        _panels(descriptors),
        packed.norms[part].astype(np.int32),
        _panels(codes),
        np.einsum("kd,kd->k", codes, codes, dtype=np.int32),
        slack,
    )


def _sketches(sketches: Sketches | None) -> tuple[NDArray[np.int8], NDArray[np.float32], np.float32]:
    if sketches is None:
        return _fixed(np.zeros((0, 0), np.int8)), np.zeros(0, np.float32), np.float32(1)
    return _fixed(sketches.codes), sketches.slack.copy(), sketches.basis.step


def _fixed(descriptors: NDArray[np.int8]) -> NDArray[np.int8]:
    """Read-only, as in a shared store: numba would compile all for either kind (others: copied)."""
    view = descriptors.view()
    view.flags.writeable = False
    return view


def found_for(rows: Rows, columns: Columns) -> Found:
    width = len(columns.panels) * LANES
    tallest = int(np.diff(rows.bounds).max(initial=0))
    best, second, nearest = np.zeros((3, width), np.int32)
    keys = aligned(4 * LANES * tallest).view(np.int32).reshape(-1, LANES)
    hits = np.zeros(int(_HITS_PER_ROW * tallest) + LANES, np.uint16)
    return Found(best, second, nearest, keys, np.zeros(LANES, np.int32), hits)


def _panels(descriptors: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The descriptors in panels [panels, 16 d]."""
    count, length = descriptors.shape
    shape = -(-count // LANES), LANES * length
    panels = aligned(shape[0] * shape[1]).reshape(shape)
    _pack_all(descriptors, panels)
    return panels


@compiled()
def _pack_all(descriptors, panels):  # type: ignore[no-untyped-def]
    numbers = np.arange(len(descriptors))
    for p in range(len(panels)):
        pack(descriptors, numbers[p * LANES : (p + 1) * LANES], panels[p])


@compiled()
def best_two(rows, columns, g, highest, indexed, found):  # type: ignore[no-untyped-def]
    """Write the best two of image g, of each column whose ratio can be below `highest`.

    Others get a ratio of 1. `nearest` is written where `indexed` or sketches are in use.
    """
    if not sketches_help(rows, g):
        fold_whole(rows, columns, g, indexed, found)
        return
    for p in range(len(columns.panels)):
        fold_sketches(rows, columns, g, p, found)
        _settle(rows, columns, g, p, highest, found)
        look_closer(rows, columns, g, p, found)


@compiled()
def fold_whole(rows, columns, g, indexed, found):  # type: ignore[no-untyped-def]
    for p in range(len(columns.panels)):
        fold_panel(rows, columns, g, p, indexed, found)


@compiled()
def fold_panel(rows, columns, g, p, indexed, found):  # type: ignore[no-untyped-def]
    at = slice(p * LANES, (p + 1) * LANES)
    fold(
        rows.descriptors,
        rows.constants,
        rows.bounds[g],
        rows.bounds[g + 1],
        columns.panels[p],
        found.best[at],
        found.second[at],
        found.nearest[at if indexed else slice(0)],
    )


@compiled()
def sketches_help(rows, g):  # type: ignore[no-untyped-def]
    return len(rows.codes) > 0 and rows.bounds[g + 1] - rows.bounds[g] <= _MASK + 1


@compiled()
def fold_sketches(rows, columns, g, p, found):  # type: ignore[no-untyped-def]
    """Write the two lowest keys of each column of panel p, and all its keys."""
    at = slice(p * LANES, (p + 1) * LANES)
    found.limits[:] = _NONE
    fold_keys(
        rows.codes,
        rows.keys,
        rows.bounds[g],
        rows.bounds[g + 1],
        columns.code_panels[p],
        found.best[at],
        found.second[at],
        found.keys,
    )


@compiled()
def _settle(rows, columns, g, p, highest, found):  # type: ignore[no-untyped-def]
    """Settle columns by their two lowest keys, or say which others may change what these give."""
    start = rows.bounds[g]
    for c in range(p * LANES, min((p + 1) * LANES, len(columns.norms))):
        key = found.second[c]
        row, other = start + (found.best[c] & _MASK), start + (key & _MASK)
        near, far = distance(rows, columns, row, c), distance(rows, columns, other, c)
        if far < near:
            row, near, far = other, far, near
        others = bound(rows, columns, g, c, key)
        if others < far:
            # The ratio can be too high for every limit, as it is at 1.
            if np.float32(min(near, others)) / np.float32(far) >= highest:
                near = far
            else:
                # These two are among the rows that will be looked at.
                found.limits[c % LANES] = limit(rows, columns, g, c, far + 1)
                found.best[c] = found.second[c] = FAR
                continue
        norm = columns.norms[c]
        found.best[c], found.second[c], found.nearest[c] = near - norm, far - norm, row


@compiled()
def bound(rows, columns, g, c, key):  # type: ignore[no-untyped-def]
    """No row whose key is at least `key` is nearer than this (squared distance)."""
    steps = np.sqrt(np.float32((key >> INDEX_BITS) + columns.code_norms[c]))
    plain = rows.step * steps - rows.slack[g] - columns.slack[c]
    return max(plain, np.float32(0)) ** 2 * np.float32(0.9999)


@compiled()
def limit(rows, columns, g, c, reach):  # type: ignore[no-untyped-def]
    """No row whose key is at least this is nearer than `reach` (squared distance)."""
    steps = (np.sqrt(np.float32(reach)) + rows.slack[g] + columns.slack[c]) / rows.step
    most = np.float32(1.0001) * steps**2 - np.float32(columns.code_norms[c]) + 1
    return FAR if most >= FAR >> INDEX_BITS else np.int32(most) << INDEX_BITS


@compiled()
def distance(rows, columns, row, c):  # type: ignore[no-untyped-def]
    return columns.norms[c] + value_of(rows.descriptors, rows.constants, row, columns.bytes, c)


@compiled()
def look_closer(rows, columns, g, p, found):  # type: ignore[no-untyped-def]
    """Fold, into what was found for panel p, the rows whose keys are below `found.limits`."""
    if found.limits.max() == _NONE:
        return
    start = rows.bounds[g]
    count = keys_below(found.keys, rows.bounds[g + 1] - start, found.limits, found.hits)
    if count < 0:
        fold_panel(rows, columns, g, p, True, found)
        return
    for hit in found.hits[:count]:
        row, c = start + np.int64(hit >> 4), p * LANES + np.int64(hit & 15)
        value = value_of(rows.descriptors, rows.constants, row, columns.bytes, c)
        best = found.best[c]
        found.second[c] = min(found.second[c], max(best, value))
        found.best[c] = min(best, value)
        found.nearest[c] = row if value < best else found.nearest[c]
