"""Join several methods' scores into one. In: pairs of reference photos with the score of
each part. Out: a `Fused`, which joins scores of any photos.

Legend: n pairs, p parts.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_ray.errors import StorageError
from reid_ray.evaluation.calibration import Calibrator, Kind, calibrate
from reid_ray.evaluation.reranking import DEEPEST, Reranker

Combine = Literal["mean", "log_odds", "learned"]
FOLDS = 5
SURE = 1e-6
"""Probabilities are kept so far from 0 and 1 before their log-odds are taken."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of reference photos: a leave-one-out query and a reference.

    Attributes:
        scores: float32 [n, p].
        same: bool [n], of one animal.
        query: int64 [n], equal within one query.
        animal: int64 [n], equal where queries show one animal.
        weight: float32 [n], how many pairs each stands for.
    """

    scores: NDArray[np.float32]
    same: NDArray[np.bool_]
    query: NDArray[np.int64]
    animal: NDArray[np.int64]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.same)

    def part(self, chosen: NDArray[np.bool_]) -> "Pairs":
        return Pairs(*(of[chosen] for of in vars(self).values()))

    @classmethod
    def none(cls, parts: int) -> "Pairs":
        """No pairs, of so many parts."""
        return cls(
            np.zeros((0, parts), np.float32),
            np.zeros(0, np.bool_),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
        )

    @classmethod
    def concat(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """Join pairs of different leave-one-out queries."""
        return cls(*(np.concatenate([vars(one)[name] for one in parts]) for name in cls.__annotations__))


def sample_pairs(
    scores_gp: NDArray[np.float32],
    same_g: NDArray[np.bool_],
    possible_g: NDArray[np.bool_],
    *,
    query: int,
    animal: int,
    rng: np.random.Generator,
    best: int = DEEPEST,
    others: int = 50,
) -> Pairs:
    """Of one leave-one-out query all pairs of one animal, each part's `best`, and some of the rest.

    What is high decides, so there every pair is kept; of the many low ones `others` stand for all,
    by their weight. Ties in a part's best: the lower position.
    """
    places = np.flatnonzero(possible_g)
    scores, same = scores_gp[places], same_g[places]
    kept = same.copy()
    for column in scores.T:
        kept[np.argsort(-column, kind="stable")[:best]] = True
    rest = np.flatnonzero(~kept)
    drawn = np.sort(rng.choice(rest, min(others, len(rest)), replace=False)).astype(np.int64)
    chosen = np.concatenate([np.flatnonzero(kept), drawn])
    weight = np.ones(len(chosen), np.float32)
    weight[len(chosen) - len(drawn) :] = len(rest) / max(len(drawn), 1)
    queries, animals = np.full((2, len(chosen)), [[query], [animal]], np.int64)
    return Pairs(scores[chosen], same[chosen], queries, animals, weight)


@dataclass(frozen=True)
class Fused:
    """Curves and weights of all parts.

    Attributes:
        curves: one per part.
        weights: of the parts; they sum to 1.
        combine: whether probabilities or their log-odds are averaged, or a model of them was learnt.
    """

    curves: tuple[Calibrator, ...]
    weights: tuple[float, ...]
    combine: Combine = "mean"
    reranker: Reranker | None = None

    def average(self, scores_np: ArrayLike, query_n: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """What ranks, 0..1: the parts' probabilities averaged, [...] of scores [..., p]; where a model was
        learnt, [n] of scores [n, p], all of one query unless `query_n` says whose they are.

        How often an answer is right is another question: the mean of two true probabilities is none, as
        where one part is sure and the other has no idea. `methods.probability` learns it.
        """
        scores = np.asarray(scores_np)
        each = np.stack([c.probability(scores[..., i]) for i, c in enumerate(self.curves)], axis=-1)
        if self.reranker is None:
            return joined(each, self.weights, self.combine)
        of = np.zeros(len(each), np.int64) if query_n is None else query_n
        return self.reranker.probability(log_odds(each), of)

    def best_first(self, scores_np: ArrayLike) -> NDArray[np.int64]:
        """Order of n pairs: by `average`; equal ones by the weighted mean of standardised scores,
        which flat steps do not hide; then by position.
        """
        scores = np.asarray(scores_np)
        each = [c.standardised(scores[..., i]) for i, c in enumerate(self.curves)]
        unhidden = np.stack(each, axis=-1) @ np.array(self.weights)
        return np.lexsort((-unhidden, -self.average(scores)))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, for a file."""
        return {
            "curves": [curve.as_json() for curve in self.curves],
            "weights": list(self.weights),
            "combine": self.combine,
            **({"reranker": self.reranker.as_json()} if self.reranker else {}),
        }

    @classmethod
    def from_json(cls, raw: Any) -> "Fused":
        """What `as_json` gave.

        Raises:
            StorageError: it is something else, or of a version whose scores, and so the probability model
                that was fitted to them, were others.
        """
        if isinstance(raw, dict) and "final" in raw:
            raise StorageError(
                "a fusion of an earlier version, which scored by another curve; run the study again"
            )
        try:
            curves = tuple(Calibrator.from_json(one) for one in raw["curves"])
            reranker = Reranker.from_json(raw["reranker"]) if "reranker" in raw else None
            return cls(curves, tuple(map(float, raw["weights"])), raw["combine"], reranker)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"not a fusion ({error!r})") from None


def joined(
    probability_np: NDArray[np.float64], weights: Sequence[float], combine: Combine
) -> NDArray[np.float64]:
    """The weighted mean over the last axis, of probabilities or of log-odds."""
    if combine == "mean":
        return np.asarray(probability_np @ np.array(weights))
    return np.asarray(1 / (1 + np.exp(-(log_odds(probability_np) @ np.array(weights)))))


def log_odds(probability: NDArray[np.floating]) -> NDArray[Any]:
    """Of probabilities, which are kept from 0 and 1."""
    sure = np.clip(probability, SURE, 1 - SURE)
    return np.asarray(np.log(sure / (1 - sure)))


@dataclass(frozen=True)
class Fitted:
    """A fusion, and how it does on the leave-one-out queries it was fitted on.

    Attributes:
        top1: 0..1.
    """

    fused: Fused
    top1: float


def fit(pairs: Pairs, *, kind: Kind, combine: Combine, choose_weights: bool) -> Fitted:
    """Fit curves on all pairs, and weights if they are to be chosen.

    Weights and `top1` come from leave-one-out queries each fifth of which was answered with curves fitted
    on the others.

    Raises:
        ValueError: no pair is of one animal.
    """
    parts = pairs.scores.shape[1]
    offered = weightings(parts) if choose_weights else weightings(parts)[:1]
    curves = _curves(pairs, kind)
    crossed = _cross_fitted(pairs, kind)
    reranker, weights = None, offered[0]
    if combine == "learned":
        odds = log_odds(crossed)
        reranker = Reranker.learn(odds, pairs.query, pairs.same, pairs.weight)
        average = _of_other_animals(odds, pairs, reranker)
    else:
        right = [right_share(joined(crossed, one, combine), pairs) for one in offered]
        weights = offered[int(np.argmax(np.round(right, 9)))]
        average = joined(crossed, weights, combine)
    return Fitted(Fused(curves, weights, combine, reranker), right_share(average, pairs))


def _of_other_animals(odds: NDArray[np.float64], pairs: Pairs, of_all: Reranker) -> NDArray[np.float64]:
    """What models say [n] that were learnt on the queries of other animals; where these have no two pairs
    to tell apart, that of all.
    """
    found = of_all.probability(odds, pairs.query)
    _, order = np.unique(pairs.animal, return_inverse=True)
    for fold in range(FOLDS):
        here = order % FOLDS == fold
        others = pairs.part(~here)
        if here.any() and 0 < others.same.sum() < len(others):
            model = Reranker.learn(odds[~here], others.query, others.same, others.weight)
            found[here] = model.probability(odds[here], pairs.query[here])
    return found


def weightings(parts: int) -> list[tuple[float, ...]]:
    """Weights to choose from: equal ones first, then tenths (fifths, beyond two parts) that sum to
    1 and leave no part out, the evenest first.
    """
    equal = (1 / parts,) * parts
    steps = max(10 if parts == 2 else 5, parts + 1)
    grid = [
        tuple(step / steps for step in one)
        for one in itertools.product(range(1, steps), repeat=parts)
        if sum(one) == steps
    ]
    grid.sort(key=lambda one: (round(sum((w - 1 / parts) ** 2 for w in one), 9), one))
    return [equal, *(one for one in grid if not np.allclose(one, equal))]


def right_share(probability: NDArray[np.float64], pairs: Pairs) -> float:
    """Share of leave-one-out queries whose best pair is of one animal; where several are best, in
    proportion."""
    best, which = _best_of_each(probability, pairs.query)
    return float((np.bincount(which, best & pairs.same) / np.bincount(which, best)).mean())


def _best_of_each(
    probability: NDArray[np.float64], query: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which pairs are the best, or equally good ones, of their leave-one-out query; and a number per
    leave-one-out query."""
    _, which = np.unique(query, return_inverse=True)
    highest = np.full(int(which.max()) + 1, -np.inf)
    np.maximum.at(highest, which, probability)
    return probability == highest[which], which


def _curves(pairs: Pairs, kind: Kind) -> tuple[Calibrator, ...]:
    return tuple(calibrate(column, pairs.same, kind=kind, weights=pairs.weight) for column in pairs.scores.T)


def _cross_fitted(pairs: Pairs, kind: Kind) -> NDArray[np.float64]:
    """Each part's probabilities [n, p] by curves that have not seen the leave-one-out query; where the other
    leave-one-out queries are too few to fit on, by curves of all.
    """
    found = np.empty(pairs.scores.shape, np.float64)
    _, order = np.unique(pairs.query, return_inverse=True)
    for fold in range(FOLDS):
        here = order % FOLDS == fold
        others = pairs.part(~here)
        fitted = others if others.same.any() else pairs
        for p, curve in enumerate(_curves(fitted, kind)):
            found[here, p] = curve.probability(pairs.scores[here, p])
    return found
