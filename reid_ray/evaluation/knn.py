"""Search by cosine, exactly, never holding queries x references. In: embeddings. Out: `Ranked`.

Legend: q queries, g references, d dims, k kept references, r right references of all queries.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from reid_ray.evaluation import fold
from reid_ray.evaluation.fold import Best, Rights
from reid_ray.evaluation.ranking import Ranked, concat, rank_block

Vectors = NDArray[np.floating]

_PART_QUERIES = 2**14
_PART_RIGHTS = 2**24
"""Queries are answered in parts of so many queries and right references: about 0.5 GB of counts."""


def cosine_knn(
    queries_qd: Vectors,
    references_gd: Vectors,
    query_labels: ArrayLike,
    reference_labels: ArrayLike,
    *,
    k: int,
    block: tuple[int, int] = (1024, 4096),
    device: torch.device | str = "cpu",
) -> Ranked:
    """Rank references by cosine similarity in float32.

    Every reference is multiplied once; memory beyond the inputs is a few times `block` (queries,
    references) numbers and the counts of the right references. Inputs may be memory maps. What is more
    than one block does not depend on the block's size, threads or device; see `fold`. An all-zero
    embedding has similarity 0 to everything.

    Args:
        device: where products are made; the rest is done on the CPU by as many threads as torch has.
    """
    query_labels_q, reference_labels_g = np.asarray(query_labels), np.asarray(reference_labels)
    if queries_qd.shape[1:] != references_gd.shape[1:]:
        raise ValueError(
            f"queries are {queries_qd.shape}, references {references_gd.shape}: dims differ"
        )
    if len(queries_qd) * len(references_gd) <= block[0] * block[1]:
        scores_qg = _plain_unit(queries_qd) @ _plain_unit(references_gd).T
        return rank_block(scores_qg, query_labels_q, reference_labels_g, k=k)
    pairs = _RightPairs(query_labels_q, reference_labels_g)
    return concat(
        [
            _Search(queries_qd[part], references_gd, pairs, part, k=k, device=device).run(block)
            for part in pairs.parts()
        ]
    )


class _RightPairs:
    """Which references are right for which query: positions by label, found when asked for."""

    def __init__(self, query_labels_q: NDArray[np.generic], reference_labels_g: ArrayLike) -> None:
        labels = np.asarray(reference_labels_g)
        self._order = np.argsort(labels, kind="stable")
        ordered = labels[self._order]
        self._first = np.searchsorted(ordered, query_labels_q, side="left")
        self._counts = np.searchsorted(ordered, query_labels_q, side="right") - self._first

    def parts(self) -> Iterator[slice]:
        """Slices of queries that together have few enough right references."""
        ends = np.cumsum(self._counts)
        start = 0
        while start < len(ends):
            before = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, before + _PART_RIGHTS, side="right"))
            stop = min(max(stop, start + 1), start + _PART_QUERIES)
            yield slice(start, stop)
            start = stop

    def of(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(query row [r], reference position [r]) for the queries of a part."""
        counts, first = self._counts[part], self._first[part]
        rows = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._order[np.repeat(first, counts) + within]


class _Search:
    """One part of the queries against all references."""

    def __init__(
        self,
        queries_qd: Vectors,
        references_gd: Vectors,
        pairs: _RightPairs,
        part: slice,
        *,
        k: int,
        device: torch.device | str,
    ) -> None:
        self.references_gd = references_gd
        self.device = torch.device(device)
        self.units_qd, self.finite = _unit(queries_qd)
        self.best = Best.none_yet(len(queries_qd), k)
        self.rights = self._find_rights(*pairs.of(part))
        # Rounding of a dot product of unit vectors, in whatever order it is summed (Higham 2002, 3.1).
        self.slack = np.float32((queries_qd.shape[1] + 2) * 2.0**-24)

    def _find_rights(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Rights:
        """The right references with their exact scores."""
        scores = np.empty(len(rows), np.float32)
        by_position = np.argsort(positions, kind="stable")
        for span in _slices(len(rows), 4096):
            chosen = by_position[span]
            needed, row_of = np.unique(positions[chosen], return_inverse=True)
            units, _ = _unit(self.references_gd[needed])
            found = np.empty(len(chosen), np.float32)
            fold.exact_scores(self.units_qd, units, rows[chosen], row_of, found)
            scores[chosen] = found
        order = np.lexsort((-positions, scores, rows))
        queries = len(self.units_qd)
        offsets = np.zeros(queries + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=queries), out=offsets[1:])
        return Rights(
            offsets, scores[order], positions[order],
            np.zeros(len(rows), np.int64), np.zeros(len(rows) + queries, np.int64),
        )  # fmt: skip

    def run(self, block: tuple[int, int]) -> Ranked:
        """Multiply block by block, fold each product while it is in cache."""
        queries = torch.from_numpy(self.units_qd).to(self.device)
        width = min(block[1], len(self.references_gd))
        units = np.empty((width, self.units_qd.shape[1]), np.float32)
        products = torch.empty(min(block[0], len(queries)) * width, device=self.device)
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            for part in _slices(len(self.references_gd), width):
                units_gd, finite = _unit(self.references_gd[part], out=units)
                references_dg = torch.from_numpy(units_gd).to(self.device).T
                for rows in _slices(len(queries), block[0]):
                    shape = rows.stop - rows.start, len(units_gd)
                    out = products[: shape[0] * shape[1]].view(shape)
                    scores_qg = torch.mm(queries[rows], references_dg, out=out).cpu().numpy()
                    if not (finite and self.finite):
                        fold.clear_nan(scores_qg)
                    take = partial(self._take, scores_qg, units_gd, part.start, rows.start)
                    list(pool.map(take, _slices(shape[0], -(-shape[0] // threads))))
        return self._ranked()

    def _take(
        self,
        scores_qg: NDArray[np.float32],
        units_gd: NDArray[np.float32],
        first: int,
        start: int,
        some: slice,
    ) -> None:
        """Fold some rows of the product of queries start... and references first..."""
        fold.fold(
            first, scores_qg[some], self.units_qd, units_gd, self.slack, start + some.start,
            self.best, self.rights,
        )  # fmt: skip

    def _ranked(self) -> Ranked:
        rights, queries = self.rights, len(self.units_qd)
        first = np.zeros(queries, np.int32)
        precision = np.zeros(queries, np.float32)
        for q, (begin, end) in enumerate(zip(rights.offsets[:-1], rights.offsets[1:], strict=True)):
            if begin < end:
                passed = rights.passed[begin + q : end + q + 1]
                ahead = rights.ahead[begin:end] + passed[::-1].cumsum()[-2::-1]
                ranks = 1 + ahead[::-1]  # best right reference first
                first[q] = ranks[0]
                precision[q] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        scores = self.best.score + np.float32(0)  # -0.0 becomes 0.0
        return Ranked(self.best.position, scores, first, precision)


def _unit(
    rows_nd: Vectors, out: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], bool]:
    """Rows scaled to length 1 in float32, and whether all are finite; all-zero rows stay zero."""
    rows = np.ascontiguousarray(rows_nd, np.float32)
    units = np.empty_like(rows) if out is None else out[: len(rows)]
    return units, fold.unit_rows(rows, units)


def _plain_unit(rows_nd: Vectors) -> NDArray[np.float32]:
    """The same without a compiled pass, for few rows."""
    rows = np.asarray(rows_nd, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length == 0, 1, length)).astype(np.float32, copy=False)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, max(1, size))]
