"""Group photos of unknown animals by animal. In: how alike each two photos are. Out: a number per photo.

Average linkage on 1 - P(same animal), cut where groups of reference photos, whose animals are known,
agree best with the truth (adjusted Rand index, Hubert and Arabie 1985). Legend: n photos, m methods.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CUTS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Grouping:
    """What was learnt on reference photos.

    Attributes:
        weight_m, bias: log-odds of one animal = weight x score + bias.
        cut: distance at which groups are no longer joined, 0..1.
        ari: adjusted Rand index of the reference photos so grouped; 1 is perfect, 0 chance.
    """

    weight_m: tuple[float, ...]
    bias: float
    cut: float
    ari: float

    def groups(self, scores_mnn: NDArray[np.floating]) -> NDArray[np.int64]:
        """A group number per photo, from 0 in the order of first photos; int64 [n]."""
        return _cut(self._distances(scores_mnn), self.cut)

    def _distances(self, scores_mnn: NDArray[np.floating]) -> NDArray[np.float64]:
        log_odds = np.tensordot(np.array(self.weight_m), _both_ways(scores_mnn), axes=1) + self.bias
        distances: NDArray[np.float64] = 1 / (1 + np.exp(np.clip(log_odds, -50, 50)))
        np.fill_diagonal(distances, 0)
        return distances


def learn(scores_mnn: NDArray[np.floating], identities_n: NDArray[np.int64]) -> Grouping:
    """Fit on photos of known animals: what a pair's scores are worth, and where to cut."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import adjusted_rand_score

    scores = _both_ways(scores_mnn)
    upper = np.triu_indices(len(identities_n), 1)
    same = (identities_n[:, None] == identities_n[None])[upper]
    values = scores[:, upper[0], upper[1]].T
    model: Any = LogisticRegression(max_iter=1000, class_weight="balanced")
    model.fit(values, same)
    fitted = Grouping(tuple(map(float, model.coef_[0])), float(model.intercept_[0]), 0.5, 0.0)
    distances = fitted._distances(scores_mnn)
    found = [float(adjusted_rand_score(identities_n, _cut(distances, cut))) for cut in _CUTS]
    best = int(np.argmax(np.round(found, 9)))
    return Grouping(fitted.weight_m, fitted.bias, float(_CUTS[best]), found[best])


def agreement(groups_n: NDArray[np.int64], identities_n: NDArray[np.int64]) -> float:
    """Adjusted Rand index of a grouping with the truth."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(identities_n, groups_n))


def _both_ways(scores_mnn: NDArray[np.floating]) -> NDArray[np.float64]:
    """Local features match a with b a little differently from b with a: the mean of both."""
    scores = np.asarray(scores_mnn, np.float64)
    return (scores + scores.transpose(0, 2, 1)) / 2


def _cut(distances_nn: NDArray[np.float64], cut: float) -> NDArray[np.int64]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(distances_nn) < 2:
        return np.zeros(len(distances_nn), np.int64)
    tree = linkage(squareform(distances_nn, checks=False), method="average")
    numbers = fcluster(tree, cut, criterion="distance")
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
