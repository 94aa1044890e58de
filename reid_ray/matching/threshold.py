"""Choose the ratio threshold on the reference set alone. In: packed references and identities.
Out: a threshold.

Leave-one-out: each reference photo is looked up among all the others, once for all thresholds. The
best threshold names most identities rightly; where several photos share the highest score, the
look-up counts as right in proportion to those of the right identity. Equally good thresholds: the
lowest (strictest) is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.engine import Direction, Packed, count_block


@dataclass(frozen=True)
class Tuned:
    """The chosen threshold, and the leave-one-out top-1 (0..1) of every candidate."""

    threshold: float
    top1: tuple[float, ...]
    thresholds: tuple[float, ...]
    looked_up: int


def sample(count: int, *, most: int, seed: int = 0) -> NDArray[np.int64]:
    """Positions of at most `most` of `count` references to look up, ascending, drawn without
    replacement.
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).astype(np.int64)


def choose(
    references: Packed,
    identities: Sequence[str],
    thresholds: Sequence[float],
    *,
    looked_up: NDArray[np.int64] | None = None,
    mutual: bool = False,
    direction: Direction = "reference_to_query",
    block: int = 8,
) -> Tuned:
    """Best of `thresholds` by leave-one-out; `looked_up` names the references to look up (None:
    all).
    """
    chosen = np.arange(len(references)) if looked_up is None else looked_up
    right = np.zeros(len(thresholds))
    for at in range(0, len(chosen), block):
        right += right_per_threshold(
            references,
            identities,
            thresholds,
            chosen[at : at + block],
            mutual=mutual,
            direction=direction,
        )
    return best_of(thresholds, right, len(chosen))


def right_per_threshold(
    references: Packed,
    identities: Sequence[str],
    thresholds: Sequence[float],
    looked_up: NDArray[np.int64],
    *,
    mutual: bool = False,
    direction: Direction = "reference_to_query",
) -> NDArray[np.float64]:
    """How many of `looked_up` are named rightly at each threshold, float64 [t]; blocks add up."""
    labels = np.asarray(identities)
    lookups = references.take(looked_up)
    counts = count_block(
        lookups, 0, len(lookups), references, thresholds, mutual=mutual, direction=direction
    )
    right = np.zeros(len(thresholds))
    for scores_gt, position in zip(counts, looked_up, strict=True):
        right += expected_right(scores_gt, labels, int(position))
    return right


def expected_right(
    scores_gt: NDArray[np.int32], labels: NDArray[np.str_], left_out: int
) -> NDArray[np.float64]:
    """Chance that the best of each column, drawn among ties, has the label of the left-out row."""
    others_gt = np.delete(scores_gt, left_out, axis=0)
    same_g = np.delete(labels, left_out) == labels[left_out]
    if not same_g.any():
        return np.zeros(scores_gt.shape[1])
    best_gt = others_gt == others_gt.max(axis=0)
    share: NDArray[np.float64] = best_gt[same_g].sum(axis=0) / best_gt.sum(axis=0)
    return share


def best_of(thresholds: Sequence[float], right: NDArray[np.float64], looked_up: int) -> Tuned:
    """The threshold with the most right; sums of chances are compared to nine digits, then the
    lowest wins.
    """
    order = sorted(
        range(len(thresholds)), key=lambda t: (-round(float(right[t]), 9), thresholds[t])
    )
    top1 = tuple(float(value) / max(looked_up, 1) for value in right)
    return Tuned(float(thresholds[order[0]]), top1, tuple(thresholds), looked_up)
