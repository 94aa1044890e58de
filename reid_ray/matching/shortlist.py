"""Match only the references that a cheap global score puts first. In: candidates. Out: scores.

All-pairs matching costs queries x references x keypoints^2; with B candidates per query it costs
queries x B x keypoints^2, whatever the number of references. Legend: q queries, g references, b
candidates.
"""

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import EXCLUDED, References, Setting, score_block


def nearest_embeddings(
    queries_qd: NDArray[np.floating], references_gd: NDArray[np.floating], count: int
) -> NDArray[np.int64]:
    """Positions of the `count` references of highest cosine, best first, int64 [q, b].

    Ties: the lower position first.
    """
    unit_q, unit_g = (
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for rows in (queries_qd, references_gd)
    )
    return np.argsort(-(unit_q @ unit_g.T), axis=1, kind="stable")[:, :count]


def score_shortlist(
    queries: Features,
    encounters_q: NDArray[np.int64],
    candidates_qb: NDArray[np.int64],
    references: References,
    config: Matching,
    setting: Setting,
) -> NDArray[np.float32]:
    """Scores float32 [q, g] as `score_block` over each query's own candidates.

    Others follow after them all, in the order of their position: each is one below the lowest
    candidate. References left out for their encounter stay `EXCLUDED`.
    """
    scores = np.empty((len(queries), len(references.packed)), np.float32)
    for q, candidates in enumerate(candidates_qb):
        chosen = np.sort(candidates[candidates >= 0])
        few = References(
            references.packed.take(chosen),
            references.identities_g[chosen],
            references.encounters_g[chosen],
            None if references.features is None else references.features.take(chosen),
        )
        found = score_block(queries.take([q]), encounters_q[[q]], few, config, setting)[0]
        possible = found[found != EXCLUDED]
        scores[q] = (possible.min() if len(possible) else 0) - 1
        scores[q, chosen] = found
    return scores


def reached(
    candidates_qb: NDArray[np.int64],
    query_labels: NDArray[np.int64],
    reference_labels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Share of queries with a right reference among the first 1, 2, .. B candidates, float64 [b].

    No matching behind a shortlist of that length can be better.
    """
    right_qb = reference_labels[candidates_qb] == query_labels[:, None]
    share: NDArray[np.float64] = np.logical_or.accumulate(right_qb, axis=1).mean(axis=0)
    return share
