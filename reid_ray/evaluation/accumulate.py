"""Fold a block of scores into the best references so far and the ranks of the right ones.

A block's scores come from a matrix product, whose rounding depends on the block's shape, the library
and the device. So they only decide what is clear: whatever lies within `slack` of a decision is scored
anew by one rule, the dot product in float64 rounded to float32 ("exact" below). Answers therefore do
not depend on blocks, threads or device, and equal embeddings tie exactly. Among equal scores the lower
reference position is ahead. A reference whose score is NaN here is left out; see `clear_nan`.

Legend: q queries, g references of the block, d dims, k kept references, r right references of all
queries.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_CHUNK = 256
"""Scores looked at together: they stay in the first-level cache while every threshold is tried."""
_FEW = 48
"""With more right references than this, a score is looked up among them instead of compared with each."""
_LOWEST = np.float32(-np.inf)
_INFINITY, _NAN = 0x7F800000, 0x7FC00000
"""Bits of a float32."""

Positions = NDArray[np.int64]

_compile: Any = numba.njit(nogil=True, cache=True, error_model="numpy")
# Sums may be reordered, so that dot products use the vector unit; NaN is kept.
_compile_sums: Any = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract"})


class Best(NamedTuple):
    """The best references so far, best first: [q, k], minus infinity and -1 where there are none."""

    score: NDArray[np.float32]
    position: NDArray[np.int64]

    @classmethod
    def none_yet(cls, queries: int, k: int) -> "Best":
        return cls(np.full((queries, k), _LOWEST), np.full((queries, k), -1, np.int64))


class Positives(NamedTuple):
    """The right references of q queries, one query after another, ascending by score.

    Attributes:
        offsets: int64 [q + 1], where each query begins.
        score, position: float32 [r], exact; int64 [r].
        ahead: int64 [r], references found to rank before it, of whatever identity.
        passed: int64 [r + q]; `passed[offset + query + i]` references rank before the first i right
            ones of this query.
    """

    offsets: NDArray[np.int64]
    score: NDArray[np.float32]
    position: NDArray[np.int64]
    ahead: NDArray[np.int64]
    passed: NDArray[np.int64]


@_compile_sums
def unit_rows(rows_nd, units_nd):  # type: ignore[no-untyped-def]
    """Write rows scaled to length 1 (all-zero rows stay zero); returns whether all are finite."""
    finite = True
    for n in range(rows_nd.shape[0]):
        square = 0.0
        for d in range(rows_nd.shape[1]):
            square += np.float64(rows_nd[n, d]) * np.float64(rows_nd[n, d])
        if not np.isfinite(square):
            finite = False
        scale = 1.0 / np.sqrt(square) if square != 0 else 1.0
        for d in range(rows_nd.shape[1]):
            units_nd[n, d] = np.float32(rows_nd[n, d] * scale)
        if square == np.inf:  # every score of this row is to be NaN
            units_nd[n, :] = np.float32(np.nan)
    return finite


@_compile_sums
def _exact(query_d, reference_d):  # type: ignore[no-untyped-def]
    total = 0.0
    for d in range(query_d.shape[0]):
        total += np.float64(query_d[d]) * np.float64(reference_d[d])
    return np.float32(total) if total == total else _LOWEST


@_compile
def exact_scores(queries_qd, references_nd, query_of, row_of, scores):  # type: ignore[no-untyped-def]
    """`scores[i]` = exact score of query `query_of[i]` and row `row_of[i]`."""
    for i in range(scores.shape[0]):
        scores[i] = _exact(queries_qd[query_of[i]], references_nd[row_of[i]])


@_compile
def fold(first, bits_qg, shift, queries_qd, references_gd, slack, start, best, positives):  # type: ignore[no-untyped-def]
    """Take the scores of queries start... with references first... into account.

    Blocks must come in ascending order.

    Args:
        bits_qg: the upper bits of float32 scores, as int32 (all) or int16 (bfloat16).
        shift: how many bits they lack: 0 or 16.
        slack: how far scores may be from the exact ones: so much, and so many times the score more.

    Returns:
        How many scores had to be made exact.
    """
    known = np.zeros(_CHUNK, np.bool_)
    widened = np.empty(_CHUNK, np.int32)
    exact = 0
    for i in range(bits_qg.shape[0]):
        q = start + i
        query, top, where = queries_qd[q], best.score[q], best.position[q]
        begin, end = positives.offsets[q], positives.offsets[q + 1]
        for at in range(0, bits_qg.shape[1], _CHUNK):
            bits = bits_qg[i, at : at + _CHUNK]
            highest = _highest(bits, shift)
            keeps = top.shape[0] > 0 and highest >= _from(top[-1], slack)
            near = end
            if end - begin <= _FEW:  # ascending: no score of this chunk comes near the last ones
                while near > begin and _from(positives.score[near - 1], slack) > highest:
                    near -= 1
            if not keeps and near == begin:
                continue
            for g in range(bits.shape[0]):
                widened[g] = np.int32(bits[g]) << shift
            chunk = widened[: bits.shape[0]].view(np.float32)
            rows = references_gd[at : at + _CHUNK]
            known[:] = False
            if keeps:
                _keep(chunk, first + at, query, rows, slack, known, top, where)
            if end - begin <= _FEW:
                _compare(chunk, first + at, query, rows, slack, known, begin, near, positives)
            else:
                _count_by_search(chunk, first + at, query, rows, slack, known, q, positives)
            exact += known.sum()
    return exact


@_compile
def _from(score, slack):  # type: ignore[no-untyped-def]
    """The lowest that a score may really be."""
    return score - (slack[0] + slack[1] * abs(score)) if score > _LOWEST else score


@_compile
def _to(score, slack):  # type: ignore[no-untyped-def]
    """The highest."""
    return score + (slack[0] + slack[1] * abs(score)) if score > _LOWEST else score


@_compile
def _highest(bits, shift):  # type: ignore[no-untyped-def]
    """The highest score of some, infinity where their bits do not tell.

    Whole numbers order like the floats that have the same bits, if these are not negative; a maximum of
    floats takes several times longer, as NaN must be looked for.
    """
    most = bits[0]
    for g in range(1, bits.shape[0]):
        most = max(most, bits[g])
    wide = np.int32(most) << shift
    if wide < 0 or wide > _INFINITY:  # none is positive, or some are NaN
        return np.float32(np.inf)
    return np.int32(wide).view(np.float32)


def hide(bits_qg: NDArray[np.integer], shift: int, at: tuple[Positions, Positions]) -> None:
    """Leave these out."""
    bits_qg[at] = _NAN >> shift


def clear_nan(bits_qg: NDArray[np.integer], shift: int) -> None:
    """Scores of embeddings that are not numbers become minus infinity, so that these rank last."""
    magnitude_qg = bits_qg & np.iinfo(bits_qg.dtype).max
    bits_qg[magnitude_qg > _INFINITY >> shift] = _LOWEST.view(np.int32) >> shift


@_compile
def _count_from(chunk, low, high):  # type: ignore[no-untyped-def]
    """How many scores are at least `low`, and how many above `high`."""
    from_low, above = np.int32(0), np.int32(0)
    for g in range(chunk.shape[0]):
        from_low += np.int32(chunk[g] >= low)
        above += np.int32(chunk[g] > high)
    return from_low, above


@_compile
def _make_exact(chunk, g, query, rows, known):  # type: ignore[no-untyped-def]
    if not known[g]:
        chunk[g] = _exact(query, rows[g])
        known[g] = True
    return chunk[g]


@_compile
def _keep(chunk, first, query, rows, slack, known, top, where):  # type: ignore[no-untyped-def]
    """Insert what is better than the last of the best."""
    last = top.shape[0] - 1
    candidates, _ = _count_from(chunk, _from(top[last], slack), top[last])
    if candidates == 0:
        return
    for g in range(chunk.shape[0]):
        if not chunk[g] >= _from(top[last], slack):
            continue
        score = _make_exact(chunk, g, query, rows, known)
        # Positions ascend, so that an equal score is behind those that are there.
        if score > top[last] or where[last] < 0:
            place = last
            while place > 0 and (where[place - 1] < 0 or top[place - 1] < score):
                top[place], where[place] = top[place - 1], where[place - 1]
                place -= 1
            top[place], where[place] = score, first + g


@_compile
def _compare(chunk, first, query, rows, slack, known, begin, end, positives):  # type: ignore[no-untyped-def]
    """Count what is ahead of each right reference, one after another."""
    for r in range(begin, end):
        low, high = _from(positives.score[r], slack), _to(positives.score[r], slack)
        from_low, above = _count_from(chunk, low, high)
        positives.ahead[r] += above
        if from_low == above:
            continue
        for g in range(chunk.shape[0]):
            if low <= chunk[g] <= high:
                score = _make_exact(chunk, g, query, rows, known)
                positives.ahead[r] += _is_ahead(score, first + g, r, positives)


@_compile
def _count_by_search(chunk, first, query, rows, slack, known, q, positives):  # type: ignore[no-untyped-def]
    """Count by finding each score's place among the right references."""
    begin, end = positives.offsets[q], positives.offsets[q + 1]
    scores = positives.score[begin:end]
    for g in range(chunk.shape[0]):
        if chunk[g] != chunk[g]:
            continue
        beaten = np.searchsorted(scores, _from(chunk[g], slack))
        positives.passed[begin + q + beaten] += 1
        r = begin + beaten
        high = _to(chunk[g], slack)
        while r < end and positives.score[r] <= high:
            score = _make_exact(chunk, g, query, rows, known)
            positives.ahead[r] += _is_ahead(score, first + g, r, positives)
            r += 1


@_compile
def _is_ahead(score, position, r, positives):  # type: ignore[no-untyped-def]
    right = positives.score[r]
    return score > right or (score == right and position < positives.position[r])
