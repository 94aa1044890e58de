"""Search by cosine, exactly, never holding queries x references. In: embeddings. Out: `Ranked`.

Legend: q queries, g references, d dims, k kept references, r right references of all queries.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from reid_ray.datasets.encounters import same_encounter
from reid_ray.evaluation import accumulate
from reid_ray.evaluation.accumulate import Best, Positives
from reid_ray.evaluation.ranking import Ranked, concat, rank_block
from reid_ray.evaluation.stream import Vectors, View, slices, stream, unit_rows

Positions = NDArray[np.int64]
Encounters = tuple[Positions, Positions]

_BLOCK = (1024, 1024)
_AT_ONCE = 2**23
"""So few pairs are scored in one block, which takes less time than to load the compiled passes."""
_PART_QUERIES = 2**14
_PART_PAIRS = 2**24
"""Queries are answered in parts of so many queries and right references: about 0.5 GB of counts."""


def cosine_knn(
    queries_qd: Vectors,
    references_gd: Vectors,
    query_labels: ArrayLike,
    reference_labels: ArrayLike,
    *,
    k: int,
    encounters: Encounters | None = None,
    block: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> Ranked:
    """Rank references by cosine similarity in float32.

    Memory beyond the inputs is a few times `block` numbers, eight blocks of references, and the counts
    of the right references. Inputs may be memory maps. Answers to more than one block do not depend
    on the block's size, threads or device; see `fold`. An all-zero embedding has similarity 0 to
    everything.

    Args:
        block: queries and references of one product; None: what fits into caches.
        encounters: a number per query and per reference (`encounter_codes`); answers without
            references of the query's own encounter come along. None: none is known.
        device: where products are made; the rest is done on the CPU by as many threads as torch has.
    """
    labels = np.asarray(query_labels), np.asarray(reference_labels)
    if queries_qd.shape[1:] != references_gd.shape[1:]:
        raise ValueError(f"queries are {queries_qd.shape}, references {references_gd.shape}: dims differ")
    few = _AT_ONCE if block is None else block[0] * block[1]
    if len(queries_qd) * len(references_gd) <= few:
        return _at_once(queries_qd, references_gd, *labels, k=k, encounters=encounters)
    right = _Pairs(*labels)
    met = _Pairs(*encounters, known=encounters[0] >= 0) if encounters is not None else None
    search = partial(_answer, references_gd, right, met, k=k, block=block or _BLOCK, device=device)
    return concat([search(queries_qd[part], part) for part in right.parts()])


def _at_once(
    queries_qd: Vectors,
    references_gd: Vectors,
    query_labels_q: NDArray[np.generic],
    reference_labels_g: NDArray[np.generic],
    *,
    k: int,
    encounters: Encounters | None,
) -> Ranked:
    """All scores in one block, without the compiled pass: it would take longer to load."""
    scores_qg = _plain_unit(queries_qd) @ _plain_unit(references_gd).T
    rank = partial(rank_block, scores_qg, query_labels_q, reference_labels_g, k=k)
    if encounters is None:
        return rank()
    return replace(rank(), other_encounter=rank(left_out_qg=same_encounter(*encounters)))


class _Pairs:
    """Which queries and references have the same label, of queries whose label is known."""

    def __init__(
        self,
        labels_q: NDArray[np.generic],
        labels_g: NDArray[np.generic],
        known: NDArray[np.bool_] | None = None,
    ) -> None:
        self._order = np.argsort(labels_g, kind="stable")
        ordered = labels_g[self._order]
        self._first = np.searchsorted(ordered, labels_q, side="left")
        counts = np.searchsorted(ordered, labels_q, side="right") - self._first
        self._counts = counts if known is None else np.where(known, counts, 0)

    def parts(self) -> Iterator[slice]:
        """Slices of queries that have few enough pairs together."""
        ends = np.cumsum(self._counts)
        start = 0
        while start < len(ends):
            before = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, before + _PART_PAIRS, side="right"))
            stop = min(max(stop, start + 1), start + _PART_QUERIES)
            yield slice(start, stop)
            start = stop

    def of(self, part: slice) -> tuple[Positions, Positions]:
        """(query row, reference position) of the pairs of a part."""
        counts, first = self._counts[part], self._first[part]
        rows = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._order[np.repeat(first, counts) + within]


def _ranked(view: View) -> Ranked:
    queries = len(view.best.score)
    first = np.zeros(queries, np.int32)
    precision = np.zeros(queries, np.float32)
    offsets = view.positives.offsets
    for q, (begin, end) in enumerate(pairwise(offsets)):
        if begin < end:
            passed = view.positives.passed[begin + q : end + q + 1]
            ahead = view.positives.ahead[begin:end] + passed[::-1].cumsum()[-2::-1]
            ranks = 1 + ahead[::-1]  # best right reference first
            first[q] = ranks[0]
            precision[q] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
    scores = view.best.score + np.float32(0)  # -0.0 becomes 0.0
    return Ranked(view.best.position, scores, first, precision)


def _answer(
    references_gd: Vectors,
    right: _Pairs,
    met: _Pairs | None,
    queries_qd: Vectors,
    part: slice,
    *,
    k: int,
    block: tuple[int, int],
    device: torch.device | str,
) -> Ranked:
    """Answer one part of the queries."""
    units_qd, finite = unit_rows(queries_qd)
    pairs = right.of(part)
    scores = _exact(units_qd, references_gd, *pairs)
    views = [View(Best.none_yet(len(units_qd), k), _positives(*pairs, scores, len(units_qd)))]
    if met is not None:
        rows, positions = met.of(part)
        order = np.argsort(positions, kind="stable")
        width = len(references_gd)
        kept = ~np.isin(pairs[0] * width + pairs[1], rows * width + positions)
        positives = _positives(pairs[0][kept], pairs[1][kept], scores[kept], len(units_qd))
        left_out = rows[order], positions[order]
        views.append(View(Best.none_yet(len(units_qd), k), positives, left_out))
    stream(units_qd, finite, references_gd, views, block, torch.device(device))
    answers = [_ranked(view) for view in views]
    return answers[0] if met is None else replace(answers[0], other_encounter=answers[1])


def _exact(
    units_qd: NDArray[np.float32], references_gd: Vectors, rows: Positions, positions: Positions
) -> NDArray[np.float32]:
    """Exact scores of single pairs, a few thousand references in memory at a time."""
    scores = np.empty(len(rows), np.float32)
    by_position = np.argsort(positions, kind="stable")
    for span in slices(len(rows), 4096):
        chosen = by_position[span]
        needed, row_of = np.unique(positions[chosen], return_inverse=True)
        found = np.empty(len(chosen), np.float32)
        units, _ = unit_rows(references_gd[needed])
        accumulate.exact_scores(units_qd, units, rows[chosen], row_of, found)
        scores[chosen] = found
    return scores


def _positives(rows: Positions, positions: Positions, scores: NDArray[np.float32], queries: int) -> Positives:
    order = np.lexsort((-positions, scores, rows))
    offsets = np.zeros(queries + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=queries), out=offsets[1:])
    return Positives(
        offsets,
        scores[order],
        positions[order],
        np.zeros(len(rows), np.int64),
        np.zeros(len(rows) + queries, np.int64),
    )


def _plain_unit(rows_nd: Vectors) -> NDArray[np.float32]:
    """The same without the compiled pass."""
    rows = np.asarray(rows_nd, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length == 0, 1, length)).astype(np.float32, copy=False)
