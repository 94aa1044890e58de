"""Put candidates in order by a small model of what several methods say of a pair, and of its query's others.

In: log-odds of each part that pairs are of one animal. Out: a probability. What a part says of a pair counts
for more where it says less of all others: that no mean of the parts can tell.

Legend: n pairs, p parts.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

DEEPEST = 50
"""Further down a part's list all places are alike; so far a sample of pairs has every pair of the list."""
_PENALTY = 1.0


def features(odds_np: NDArray[np.float64], query_n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each pair [n, 3 p]: each part's log-odds, how far they lie below the query's highest, and the
    logarithm of the place in the part's list (from 1; equal ones share the first).

    Args:
        query_n: equal within one query, of which all of each part's best pairs are there.
    """
    below, place = np.empty_like(odds_np), np.empty_like(odds_np)
    for query in np.unique(query_n):
        mine = np.flatnonzero(query_n == query)
        for p, column in enumerate(odds_np[mine].T):
            below[mine, p] = column.max() - column
            higher = len(column) - np.searchsorted(np.sort(column), column, side="right")
            place[mine, p] = np.log1p(np.minimum(higher, DEEPEST))
    return np.concatenate([odds_np, below, place], axis=1)


@dataclass(frozen=True)
class Reranker:
    """Logistic regression on `features`, each with mean 0 and variance 1 where it was learnt.

    Attributes:
        mean, scale, coefficients: float [3 p].
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    @classmethod
    def learn(
        cls,
        odds_np: NDArray[np.float64],
        query_n: NDArray[np.int64],
        same_n: NDArray[np.bool_],
        weight_n: NDArray[np.floating],
    ) -> Self:
        """From pairs, each of which stands for so many.

        Raises:
            ValueError: all pairs are of one animal, or none is.
        """
        from sklearn.linear_model import LogisticRegression  # half a second to load

        if same_n.all() or not same_n.any():
            raise ValueError(f"{int(same_n.sum())} of {len(same_n)} pairs are of one animal")
        found = features(odds_np, query_n)
        mean, scale = found.mean(axis=0), found.std(axis=0)
        scale[scale == 0] = 1.0
        model = LogisticRegression(C=_PENALTY, max_iter=1000)
        model.fit((found - mean) / scale, same_n, sample_weight=weight_n)
        return cls(
            tuple(mean.tolist()),
            tuple(scale.tolist()),
            tuple(model.coef_[0].tolist()),
            float(model.intercept_[0]),
        )

    def probability(self, odds_np: NDArray[np.float64], query_n: NDArray[np.int64]) -> NDArray[np.float64]:
        """P(one animal) of each pair [n]."""
        found = (features(odds_np, query_n) - np.array(self.mean)) / np.array(self.scale)
        return np.asarray(expit(found @ np.array(self.coefficients) + self.intercept))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, for a file."""
        return {**vars(self)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        mean, scale, coefficients = (tuple(map(float, raw[n])) for n in ("mean", "scale", "coefficients"))
        return cls(mean, scale, coefficients, float(raw["intercept"]))
