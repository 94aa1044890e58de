"""Choose the ratio threshold on the reference set alone. In: references. Out: a threshold.

Leave-one-out: each reference photo is looked up among all the others, once for all thresholds. The
best threshold names most identities rightly; where several photos share the highest score, the
look-up counts as right in proportion to those of the right identity. Equally good thresholds: the
lowest (strictest) is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.matching.engine import count_block
from reid_ray.matching.scoring import References, left_out, summed_per_identity

BLOCK = 4
"""References looked up at once; their counts [BLOCK, g, t] are all that is held."""


@dataclass(frozen=True)
class Tuned:
    """The chosen threshold, and the leave-one-out top-1 (0..1) of every candidate."""

    threshold: float
    top1: tuple[float, ...]
    looked_up: int


def sample(count: int, *, most: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `most` of `count` references, ascending, drawn without replacement."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).astype(np.int64)


def choose(references: References, config: Matching) -> Tuned:
    """Best of the config's thresholds; at most `config.tuning_lookups` references are looked up."""
    lookups = sample(len(references.packed), most=config.tuning_lookups, seed=config.seed)
    return best_of(
        config.thresholds, right_per_threshold(references, config, lookups), len(lookups)
    )


def right_per_threshold(
    references: References, config: Matching, lookups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How many of `lookups` are named rightly at each threshold, float64 [t]; blocks add up."""
    right = np.zeros(len(config.thresholds))
    for at in range(0, len(lookups), BLOCK):
        block = lookups[at : at + BLOCK]
        looking = references.packed.take(block)
        counts_qgt = count_block(
            looking, 0, len(looking), references.packed, config.thresholds,
            mutual=config.mutual, direction=config.direction,
        )  # fmt: skip
        for counts_gt, position in zip(counts_qgt, block, strict=True):
            right += _right(counts_gt, references, int(position), config)
    return right


def _right(
    counts_gt: NDArray[np.int32], references: References, position: int, config: Matching
) -> NDArray[np.float64]:
    """Chance, per threshold, that the best of the others has the identity of `position`."""
    out_g = left_out(references.encounters_g[[position]], references, config)[0]
    out_g[position] = True
    others = references.identities_g[~out_g]
    scores_gt = counts_gt[~out_g].astype(np.float64)
    same_g = others == references.identities_g[position]
    if not same_g.any():
        return np.zeros(scores_gt.shape[1])
    if config.per_identity:
        scores_gt = summed_per_identity(scores_gt.T, others).T
    best_gt = scores_gt == scores_gt.max(axis=0)
    share: NDArray[np.float64] = best_gt[same_g].sum(axis=0) / best_gt.sum(axis=0)
    return share


def best_of(thresholds: Sequence[float], right: NDArray[np.float64], looked_up: int) -> Tuned:
    """The threshold with the most right; chances are compared to nine digits."""
    order = sorted(
        range(len(thresholds)), key=lambda t: (-round(float(right[t]), 9), thresholds[t])
    )
    top1 = tuple(float(value) / max(looked_up, 1) for value in right)
    return Tuned(float(thresholds[order[0]]), top1, looked_up)
