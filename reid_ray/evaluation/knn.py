"""Search by cosine, exactly, never holding queries x references. In: embeddings. Out: `Ranked`.

Legend: q queries, g references, d dims, k kept references.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_ray.datasets.encounters import same_encounter
from reid_ray.evaluation.ranking import (
    Keys,
    Ranked,
    RightKeys,
    best_keys,
    concat,
    order_keys,
    rank_block,
    without,
)


def cosine_knn(
    queries_qd: NDArray[np.floating],
    references_gd: NDArray[np.floating],
    query_labels: ArrayLike,
    reference_labels: ArrayLike,
    *,
    k: int,
    encounters: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    block: tuple[int, int] = (256, 16384),
) -> Ranked:
    """Rank references by cosine similarity in float32.

    Memory beyond the inputs is a few times `block` (queries, references) numbers; inputs may be
    memory maps. More references than a block are scored twice: once for the top k and the scores of
    the right ones, once to count the wrong ones ahead of these. An all-zero embedding has
    similarity 0 to everything.

    Args:
        encounters: a number per query and per reference (`encounter_codes`); answers without
            references of the query's own encounter come along. None: none is known.
    """
    query_labels_q, reference_labels_g = np.asarray(query_labels), np.asarray(reference_labels)
    if queries_qd.shape[1:] != references_gd.shape[1:]:
        raise ValueError(
            f"queries are {queries_qd.shape}, references {references_gd.shape}: dims differ"
        )
    fits = len(references_gd) <= block[1]
    units_gd = _unit(references_gd) if fits else references_gd
    parts = []
    for rows in _slices(len(queries_qd), block[0]) or [slice(0, 0)]:
        queries, labels = _unit(queries_qd[rows]), query_labels_q[rows]
        if fits:
            rank = partial(rank_block, queries @ units_gd.T, labels, reference_labels_g, k=k)
        else:
            rank = partial(
                _by_blocks, queries, units_gd, labels, reference_labels_g, k=k, block=block[1]
            )
        ranked = rank()
        if encounters is not None:
            others = rank(left_out_qg=same_encounter(encounters[0][rows], encounters[1]))
            ranked = replace(ranked, other_encounter=others)
        parts.append(ranked)
    return concat(parts)


def _by_blocks(
    queries_qd: NDArray[np.float32],
    references_gd: NDArray[np.floating],
    query_labels_q: NDArray[np.generic],
    reference_labels_g: NDArray[np.generic],
    *,
    k: int,
    block: int,
    left_out_qg: NDArray[np.bool_] | None = None,
) -> Ranked:
    def scored(part: slice) -> tuple[Keys, NDArray[np.bool_]]:
        """Keys of some references, and which of them are right."""
        keys = _keys(queries_qd, references_gd, part)
        right_qg = query_labels_q[:, None] == reference_labels_g[None, part]
        if left_out_qg is None:
            return keys, right_qg
        return without(keys, left_out_qg[:, part]), right_qg & ~left_out_qg[:, part]

    top = np.zeros((len(queries_qd), k), np.uint64)
    rows, found = [], []
    for part in _slices(len(references_gd), block):
        keys, right_qg = scored(part)
        top = best_keys(np.concatenate([top, best_keys(keys, k)], axis=1), k)
        rows.append(np.nonzero(right_qg)[0])
        found.append(keys[right_qg])
    rights = RightKeys.of(np.concatenate(rows), np.concatenate(found), len(queries_qd))
    ahead = np.zeros(len(rights.keys), np.int64)
    for part in _slices(len(references_gd), block):
        ahead += rights.wrong_ahead(*scored(part))
    return rights.ranked(top, ahead)


def _keys(
    queries_qd: NDArray[np.float32], references_gd: NDArray[np.floating], part: slice
) -> Keys:
    return order_keys(queries_qd @ _unit(references_gd[part]).T, first_position=part.start)


def _unit(rows_nd: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows scaled to length 1 in float32; all-zero rows stay zero."""
    rows = np.asarray(rows_nd, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length == 0, 1, length)).astype(np.float32, copy=False)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
