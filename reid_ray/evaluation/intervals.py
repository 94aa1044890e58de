"""How sure a measured share is: Wilson and bootstrap intervals, and a paired test over animals."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # of scipy.stats, which takes half a second to load

_PICKED = 1 << 18
_EXACT = 3000
"""Summed gains from which on a normal distribution does."""


def wilson(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), without continuity correction.

    Unlike the textbook interval it stays inside 0..1 and is honest near both ends. Nothing measured
    (n = 0) gives (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding must not push an end past the share itself at 0 and 1.
    low = max(0.0, min(share, (centre - half) / scale))
    return low, min(1.0, max(share, (centre + half) / scale))


def bootstrap_mean(
    values: ArrayLike,
    rng: np.random.Generator,
    *,
    clusters: ArrayLike | None = None,
    draws: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a mean by resampling.

    With `clusters` (one label per value, for example the identity) whole clusters are drawn: photos
    of one animal are alike, and drawing them one by one makes intervals too narrow. No values give
    (0, 1).
    """
    data = np.asarray(values, np.float64)
    if data.size == 0:
        return 0.0, 1.0
    per_cluster = _per_cluster(data, clusters)
    return bootstrap_ratios([per_cluster], rng, draws=draws, confidence=confidence)[0]


def bootstrap_ratios(
    ratios: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    rng: np.random.Generator,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
) -> list[tuple[float, float]]:
    """Percentile intervals of sum / count when whole clusters are drawn, for several measures of
    the same clusters at once.

    Args:
        ratios: per measure the sums [c] and the counts [c] of c clusters, counts above 0.
    """
    clusters = len(ratios[0][0])
    means = np.empty((len(ratios), draws))
    step = max(1, _PICKED // clusters)  # draws x clusters would not fit for large sets
    for start in range(0, draws, step):
        some = slice(start, min(start + step, draws))
        picked = rng.integers(0, clusters, (some.stop - start, clusters))
        for place, (sums, counts) in enumerate(ratios):
            means[place, some] = sums[picked].sum(axis=1) / counts[picked].sum(axis=1)
    ends = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=1)
    return [(float(low), float(high)) for low, high in ends.T]


def cluster_error(values: ArrayLike, clusters: ArrayLike) -> float:
    """Standard error of a mean when whole clusters are drawn (jackknife); infinite for a single one."""
    data = np.asarray(values, np.float64)
    sums, counts = _per_cluster(data, clusters)
    if len(sums) < 2:
        return math.inf
    without = (sums.sum() - sums) / (counts.sum() - counts)
    return float(math.sqrt((len(sums) - 1) / len(sums) * ((without - data.mean()) ** 2).sum()))


def animals_mean(values: ArrayLike, clusters: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of values in 0..1, for other animals of the same kind.

    Photos of one animal are alike, so they count as fewer: as so many independent ones as have the same
    standard error over whole animals (Korn and Graubard 1998). Of these it is Wilson's interval, by
    Student's t for the number of animals. It is never narrower than if photos were independent. No values
    give (0, 1).

    Args:
        clusters: one label per value, for example the identity.
    """
    data = np.asarray(values, np.float64)
    if data.size == 0:
        return 0.0, 1.0
    _, counts = _per_cluster(data, clusters)
    animals = len(counts)
    mean, error = float(data.mean()), cluster_error(data, clusters)
    if animals < 2 or error == 0:
        return wilson(mean * animals, animals, confidence=confidence)
    error = max(error, float(data.std()) / math.sqrt(data.size))
    photos = mean * (1 - mean) / error**2
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    equal = counts.sum() ** 2 / (counts**2).sum()  # so many animals of equally many photos are as good
    t = float(stdtrit(max(equal - 1, 1), 0.5 + confidence / 2))
    photos = max(1.0, photos * (z / t) ** 2)
    return wilson(mean * photos, photos, confidence=confidence)


class Best(NamedTuple):
    """What the best of several methods is worth, though the same queries chose it."""

    value: float
    low: float
    high: float


def best_of_several(
    values_mq: ArrayLike,
    clusters: ArrayLike,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Best:
    """Mean of the method with the highest mean, less what it owes to having been chosen by these queries.

    Whole animals are drawn, and in each draw the best is chosen anew. How much lower it is on all animals
    (Efron's optimism) says too little of what choosing adds, as the draw has all of its luck from them; on
    those that were not drawn (Tsamardinos et al. 2018) too much, as it has less of them. Their mean
    is taken; `benchmarks/interval_coverage.py` shows how true that is. The interval is that of one method,
    moved by as much.

    Args:
        values_mq: in 0..1, of m methods on the same q queries.
        clusters: one label per query.
    """
    values = np.asarray(values_mq, np.float64)
    names, which = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.stack([np.bincount(which, weights=row, minlength=len(names)) for row in values])
    counts = np.bincount(which).astype(np.float64)
    first = int(values.mean(axis=1).argmax())
    low, high = animals_mean(values[first], clusters, confidence=confidence)
    mean = float(values[first].mean())
    if len(values) < 2 or len(names) < 2:
        return Best(mean, low, high)
    gaps = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        left = times == 0
        if not left.any():
            continue
        inside = (sums @ times) / (counts @ times)
        chosen = int(inside.argmax())
        others = sums[chosen, left].sum() / counts[left].sum()
        gaps.append(inside[chosen] - (others + values[chosen].mean()) / 2)
    owed = max(0.0, float(np.mean(gaps)) if gaps else 0.0)
    return Best(max(0.0, mean - owed), max(0.0, low - owed), max(0.0, high - owed))


def open_ended(
    ends: tuple[float, float], share: float, clusters: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Bootstrap ends of a share, but Wilson's over the clusters where all of them are right (or
    all wrong): drawn anew they stay so, which says nothing about the next one."""
    if ends[0] == ends[1] and share in (0.0, 1.0):
        return wilson(share * clusters, clusters, confidence=confidence)
    return ends


def _per_cluster(
    data: NDArray[np.float64], clusters: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if clusters is None:
        return data, np.ones_like(data)
    _, which = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    counts = np.bincount(which).astype(np.float64)
    return np.bincount(which, weights=data).astype(np.float64), counts


def paired_by_animal(gain: ArrayLike, clusters: ArrayLike) -> float:
    """Two-sided mid-p value that one method is no better than another on other animals.

    If both were equally good, an animal's photos might as well have gone the other way round: the sum of
    gains is compared with all ways to turn animals round. With one photo per animal it is
    McNemar's mid-p.

    Args:
        gain: 1, 0 or -1 per query: whether the first method is right less whether the second is.
        clusters: the animal of each query.
    """
    data = np.asarray(gain, np.float64)
    if not data.size:
        return 1.0
    sums, _ = _per_cluster(data, clusters)
    each = np.abs(np.rint(sums[sums != 0])).astype(np.int64)
    total, found = int(each.sum()), abs(round(float(sums.sum())))
    if total == 0:
        return 1.0
    if total > _EXACT:
        z = found / math.sqrt(float((each.astype(float) ** 2).sum()))
        return float(2 * NormalDist().cdf(-z))
    chance = np.ones(1)
    for size in each:
        longer = np.zeros(len(chance) + 2 * size)
        longer[: len(chance)] += chance / 2
        longer[2 * size :] += chance / 2
        chance = longer
    apart = np.abs(np.arange(-total, total + 1))
    return float(chance[apart > found].sum() + chance[apart == found].sum() / 2)
