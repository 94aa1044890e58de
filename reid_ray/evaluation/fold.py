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

_compile: Any = numba.njit(nogil=True, cache=True, error_model="numpy")
# Sums may be reordered, so that dot products use the vector unit; NaN is kept.
_compile_sums: Any = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract"}
)


class Best(NamedTuple):
    """The best references so far, best first: [q, k], minus infinity and -1 where there are none."""

    score: NDArray[np.float32]
    position: NDArray[np.int64]

    @classmethod
    def none_yet(cls, queries: int, k: int) -> "Best":
        return cls(np.full((queries, k), _LOWEST), np.full((queries, k), -1, np.int64))


class Rights(NamedTuple):
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
def fold(first, scores_qg, queries_qd, references_gd, slack, start, best, rights):  # type: ignore[no-untyped-def]
    """Take the scores of queries start... with references first... into account.

    `scores_qg` is overwritten where exact scores were needed. Blocks must come in ascending order.
    """
    known = np.zeros(_CHUNK, np.bool_)
    for i in range(scores_qg.shape[0]):
        q = start + i
        query, top, where = queries_qd[q], best.score[q], best.position[q]
        begin, end = rights.offsets[q], rights.offsets[q + 1]
        for at in range(0, scores_qg.shape[1], _CHUNK):
            chunk = scores_qg[i, at : at + _CHUNK]
            rows = references_gd[at : at + _CHUNK]
            known[:] = False
            if top.shape[0] > 0:
                _keep(chunk, first + at, query, rows, slack, known, top, where)
            if end - begin <= _FEW:
                _compare(chunk, first + at, query, rows, slack, known, begin, end, rights)
            else:
                _look_up(chunk, first + at, query, rows, slack, known, q, rights)


@_compile
def clear_nan(scores_qg):  # type: ignore[no-untyped-def]
    """Scores of embeddings that are not numbers become minus infinity, so that these rank last."""
    for row in scores_qg:
        for g in range(row.shape[0]):
            if row[g] != row[g]:
                row[g] = _LOWEST


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
    candidates, _ = _count_from(chunk, top[last] - slack, top[last])
    if candidates == 0:
        return
    for g in range(chunk.shape[0]):
        if not chunk[g] >= top[last] - slack:
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
def _compare(chunk, first, query, rows, slack, known, begin, end, rights):  # type: ignore[no-untyped-def]
    """Count what is ahead of each right reference, one after another."""
    for r in range(begin, end):
        low, high = rights.score[r] - slack, rights.score[r] + slack
        from_low, above = _count_from(chunk, low, high)
        rights.ahead[r] += above
        if from_low == above:
            continue
        for g in range(chunk.shape[0]):
            if low <= chunk[g] <= high:
                score = _make_exact(chunk, g, query, rows, known)
                rights.ahead[r] += _is_ahead(score, first + g, r, rights)


@_compile
def _look_up(chunk, first, query, rows, slack, known, q, rights):  # type: ignore[no-untyped-def]
    """Count by finding each score's place among the right references."""
    begin, end = rights.offsets[q], rights.offsets[q + 1]
    scores = rights.score[begin:end]
    for g in range(chunk.shape[0]):
        if chunk[g] != chunk[g]:
            continue
        beaten = np.searchsorted(scores, chunk[g] - slack)
        rights.passed[begin + q + beaten] += 1
        r = begin + beaten
        high = chunk[g] + slack
        while r < end and rights.score[r] <= high:
            score = _make_exact(chunk, g, query, rows, known)
            rights.ahead[r] += _is_ahead(score, first + g, r, rights)
            r += 1


@_compile
def _is_ahead(score, position, r, rights):  # type: ignore[no-untyped-def]
    right = rights.score[r]
    return score > right or (score == right and position < rights.position[r])
