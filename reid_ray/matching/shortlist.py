"""Match only the references that a cheap global score puts first. In: embeddings. Out: scores.

All-pairs matching costs queries x references x keypoints^2; with B candidates per query it costs
queries x B x keypoints^2, whatever the number of references. Legend: q queries, g references, b
candidates, d dims.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import EXCLUDED, References, Setting, score_views

Positions = NDArray[np.int64]


def nearest_first(queries_qd: NDArray[np.float32], references_gd: NDArray[np.float32]) -> Positions:
    """Positions of all references, that of highest cosine first, int64 [q, g]; rows have length 1.

    Ties: the lower position first.
    """
    return np.argsort(-(queries_qd @ references_gd.T), axis=1, kind="stable")


def candidates(order_qg: Positions, out_qg: NDArray[np.bool_], size: int) -> list[Positions]:
    """Each query's first `size` references of `order_qg` that may answer it; fewer where fewer may."""
    return [order[~out[order]][:size] for order, out in zip(order_qg, out_qg, strict=True)]


def score_candidates(
    packed: Packed,
    features: Features | None,
    candidates_q: Sequence[Positions],
    references: References,
    config: Matching,
    setting: Setting,
) -> list[NDArray[np.float32]]:
    """Scores of each query's candidates, in their order, as if there were no other references.

    Args:
        features: of the same photos as `packed`; needed only where candidates are verified.
    """
    found = []
    for q, chosen in enumerate(candidates_q):
        order = np.argsort(chosen)  # by position, on which the scores' own ties depend
        scores = np.empty(len(chosen), np.float32)
        if len(chosen):
            scores[order] = score_views(
                packed.part(q, q + 1),
                None if features is None else features.take([q]),
                references.take(chosen[order]),
                config,
                [(setting, np.zeros((1, len(chosen)), bool))],
                listed=True,
            )[0, 0]
        found.append(scores)
    return found


def spread(
    found: Sequence[NDArray[np.float32]],
    candidates_q: Sequence[Positions],
    references: int,
    rest: float | np.float32,
) -> NDArray[np.float32]:
    """What `score_candidates` found among all references, float32 [q, g]; `rest` off the list."""
    scores = np.full((len(candidates_q), references), rest, np.float32)
    for row, (places, values) in enumerate(zip(candidates_q, found, strict=True)):
        scores[row, places] = values
    return scores


def with_the_rest(
    chosen: Positions, scores: NDArray[np.float32], out_g: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Scores of all references, float32 [g]: others are equal, below the lowest candidate.

    References that must not answer are `EXCLUDED`.
    """
    lowest = np.float32(scores.min()) if len(scores) else np.float32(0)
    below = min(lowest - np.float32(1), np.nextafter(lowest, np.float32(-np.inf)))
    every = np.full(len(out_g), below, np.float32)
    every[chosen] = scores
    every[out_g] = EXCLUDED
    return every


def curve_sizes(longest: int) -> list[int]:
    """Lengths to measure at: 1, 2, 5, 10, 20, .. and `longest`."""
    steps = [step * 10**power for power in range(10) for step in (1, 2, 5)]
    return [*(size for size in steps if size < longest), longest]


def behind(
    sizes: Sequence[int], same_b: NDArray[np.bool_], scores_of: Callable[[int], NDArray[np.float32]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What shortlists of different lengths do for one query, both bool [sizes].

    Args:
        same_b: which candidates are of the query's animal, in the shortlist's order.
        scores_of: scores of the first so many candidates.

    Returns:
        Whether a right one is among the first B, and whether the best-scored of them is right;
        ties: the earlier candidate.
    """
    among = [bool(same_b[:size].any()) for size in sizes]
    right = [
        bool(same_b[int(np.argmax(scores_of(size)))]) if reach else False
        for size, reach in zip(sizes, among, strict=True)
    ]
    return np.array(among, np.bool_), np.array(right, np.bool_)
