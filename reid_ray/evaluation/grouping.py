"""Group photos of unknown animals by animal. In: how alike each two photos are. Out: a number per photo.

Average linkage on 1 - P(same animal), cut where groups of reference photos, whose animals are known,
agree best with the truth (adjusted Rand index, Hubert and Arabie 1985). Photos of one encounter, where
encounters are known, show one animal and are joined first. Legend: n photos, m methods, f features.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
_CUTS = 60
"""Heights of the tree that are tried, evenly spread over its joins."""
_DIVISIONS = 2
"""Times that the reference animals are divided into thirds, to judge what was learnt."""
_LEAST_ANIMALS = 6


@dataclass(frozen=True)
class Grouping:
    """What was learnt on reference photos.

    Attributes:
        weight_f, bias: log-odds of one animal = weight x feature + bias.
        cut: distance at which groups are no longer joined, 0..1.
        ari: adjusted Rand index to expect of other animals, 1 is perfect, 0 chance: that of two thirds
            of the reference animals, grouped by what was learnt on the last third; nan with too few
            animals. Fewer animals are easier to keep apart, so with halves it promised too much;
            learning from less makes up for that (`reports/identify.md`).
        ari_encounters: of the same photos, with each encounter as a group; 0 where none are known.
    """

    weight_f: tuple[float, ...]
    bias: float
    cut: float
    ari: float = np.nan
    ari_encounters: float = 0.0

    def groups(self, scores_mnn: NDArray[np.floating], encounters_n: Numbers | None = None) -> Numbers:
        """A group number per photo, from 0 in the order of first photos; int64 [n].

        Args:
            encounters_n: equal for photos of one encounter, -1 where it is not known.
        """
        photos = scores_mnn.shape[1]
        if photos < 2:
            return np.zeros(photos, np.int64)
        together = _together(_or_none_known(encounters_n, photos))
        return _cut(_tree(self.distances(features(scores_mnn), together)), self.cut)

    def distances(
        self, features_fnn: NDArray[np.float64], together_nn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """P(not the same animal), [n, n]; 0 for photos that are known to belong together."""
        log_odds = np.tensordot(np.array(self.weight_f), features_fnn, axes=1) + self.bias
        distances: NDArray[np.float64] = 1 / (1 + np.exp(np.clip(log_odds, -50, 50)))
        return np.where(together_nn, 0.0, distances)


def learn(
    scores_mnn: NDArray[np.floating],
    identities_n: Numbers,
    encounters_n: Numbers | None = None,
    *,
    seed: int = 0,
) -> Grouping:
    """Fit on photos of known animals: what a pair's scores are worth, and where to cut.

    Args:
        encounters_n: as of the photos to be grouped; None where theirs are not known.
        seed: of the thirds by which the agreement is judged.
    """
    encounters = _or_none_known(encounters_n, len(identities_n))

    def fitted(part: Numbers) -> Grouping:
        return _fit(_of(scores_mnn, part), identities_n[part], encounters[part])

    found, alone = [], []
    for learnt_on, judged in _thirds(identities_n, seed):
        groups = fitted(learnt_on).groups(_of(scores_mnn, judged), encounters[judged])
        found.append(agreement(groups, identities_n[judged]))
        alone.append(agreement(_components(encounters[judged]), identities_n[judged]))
    final = fitted(np.arange(len(identities_n)))
    if not found:
        return final
    return replace(final, ari=float(np.mean(found)), ari_encounters=float(np.mean(alone)))


def agreement(groups_n: Numbers, identities_n: Numbers) -> float:
    """Adjusted Rand index of a grouping with the truth."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(identities_n, groups_n))


def features(scores_mnn: NDArray[np.floating]) -> NDArray[np.float64]:
    """What speaks for a pair, of each method; float64 [2 m, n, n], the same both ways.

    Its score, and its standing: by how many standard deviations it exceeds the mean of what a photo
    has with all others, so that one which is like every other says little.
    """
    # Local features match a with b a little differently from b with a: the mean of both.
    scores = _both_ways(np.asarray(scores_mnn, np.float64))
    others = ~np.eye(scores.shape[1], dtype=bool)
    number = max(scores.shape[1] - 1, 1)
    mean = np.sum(scores, axis=2, keepdims=True, where=others) / number
    spread = np.sqrt(np.sum((scores - mean) ** 2, axis=2, keepdims=True, where=others) / number)
    standing = (scores - mean) / np.where(spread > 0, spread, np.inf)
    return np.concatenate([scores, _both_ways(standing)])


def _both_ways(values_mnn: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values_mnn + values_mnn.transpose(0, 2, 1)) / 2)


def _fit(scores_mnn: NDArray[np.floating], identities_n: Numbers, encounters_n: Numbers) -> Grouping:
    from sklearn.linear_model import LogisticRegression

    values_fnn, together = features(scores_mnn), _together(encounters_n)
    pairs = np.triu(~together, 1)  # that photos of one encounter belong together is known
    same = (identities_n[:, None] == identities_n[None])[pairs]
    if same.all() or not same.any():  # nothing to learn
        return Grouping((0.0,) * len(values_fnn), -50.0, 0.0)
    values = values_fnn[:, pairs].T
    centre, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    model: Any = LogisticRegression(max_iter=1000)
    model.fit((values - centre) / scale, same)
    weights = model.coef_[0] / scale
    bias = float(model.intercept_[0] - weights @ centre)
    found = Grouping(tuple(map(float, weights)), bias, 0.0)
    return replace(found, cut=_best_cut(_tree(found.distances(values_fnn, together)), identities_n))


def _best_cut(tree: NDArray[np.float64], identities_n: Numbers) -> float:
    """The first of the best heights, half way to the next one tried."""
    heights = np.unique(np.quantile(tree[:, 2], np.linspace(0, 1, _CUTS), method="nearest"))
    found = [agreement(_cut(tree, height), identities_n) for height in heights]
    best = int(np.argmax(np.round(found, 9)))
    return float(heights[best : best + 2].mean())


def _thirds(identities_n: Numbers, seed: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Photos of a third of the animals and of the others; nothing where there are too few."""
    animals, rng = np.unique(identities_n), np.random.default_rng(seed)
    for _ in range(_DIVISIONS if len(animals) >= _LEAST_ANIMALS else 0):
        for third in np.array_split(rng.permutation(animals), 3):
            inside = np.isin(identities_n, third)
            yield np.flatnonzero(inside), np.flatnonzero(~inside)


def _of(scores_mnn: NDArray[np.floating], photos: Numbers) -> NDArray[np.floating]:
    return scores_mnn[:, photos[:, None], photos[None]]


def _or_none_known(encounters_n: Numbers | None, photos: int) -> Numbers:
    return np.full(photos, -1, np.int64) if encounters_n is None else encounters_n


def _together(encounters_n: Numbers) -> NDArray[np.bool_]:
    """Photos of one encounter, and each with itself, bool [n, n]."""
    known = encounters_n >= 0
    same = (encounters_n[:, None] == encounters_n[None]) & known
    return np.asarray(same | np.eye(len(encounters_n), dtype=bool))


def _components(encounters_n: Numbers) -> Numbers:
    """Each encounter as a group, and each photo of none by itself."""
    alone = np.arange(len(encounters_n)) + encounters_n.max(initial=0) + 1
    return np.where(encounters_n >= 0, encounters_n, alone)


def _tree(distances_nn: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return np.asarray(linkage(squareform(distances_nn, checks=False), method="average"))


def _cut(tree: NDArray[np.float64], height: float) -> Numbers:
    from scipy.cluster.hierarchy import fcluster

    numbers = fcluster(tree, height, criterion="distance")
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
