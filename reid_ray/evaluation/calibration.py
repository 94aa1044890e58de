"""Turn a method's scores into the probability that two photos show one animal. In: scores of pairs
of which is known whether they do. Out: a curve of a few numbers, and how true such curves are.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_ray.errors import StorageError

Kind = Literal["isotonic", "logistic"]


@dataclass(frozen=True)
class Calibrator:
    """A rising curve from scores to probabilities.

    Attributes:
        kind: `isotonic`: straight lines between knots, flat outside them; `logistic`: two knots in
            log-odds, a straight line that goes on outside them.
        scores: float64 [k], ascending.
        values: float64 [k], the curve there: probabilities (`isotonic`) or log-odds (`logistic`).
        centre, spread: mean and standard deviation of the scores it was fitted on.
        pairs, same: how many pairs it was fitted on, and how many of one animal.
    """

    kind: Kind
    scores: NDArray[np.float64]
    values: NDArray[np.float64]
    centre: float
    spread: float
    pairs: int
    same: int

    def probability(self, scores: ArrayLike) -> NDArray[np.float64]:
        """P(same animal), 0..1, in the shape of `scores`; minus infinity gives the lowest."""
        given = np.asarray(scores, np.float64)
        if self.kind == "isotonic":
            return np.asarray(np.interp(given, self.scores, self.values))
        slope = (self.values[1] - self.values[0]) / (self.scores[1] - self.scores[0])
        log_odds = self.values[0] + slope * (given - self.scores[0])
        return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))))

    def standardised(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Scores in standard deviations from their mean: tells apart what a flat step does not."""
        return np.asarray((np.asarray(scores, np.float64) - self.centre) / (self.spread or 1.0))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, for a file."""
        lists = {"scores": self.scores.tolist(), "values": self.values.tolist()}
        return {**vars(self), **lists}

    @classmethod
    def from_json(cls, raw: Any) -> "Calibrator":
        """What `as_json` gave.

        Raises:
            StorageError: it is something else.
        """
        try:
            curve = cls(
                raw["kind"],
                np.array(raw["scores"], np.float64),
                np.array(raw["values"], np.float64),
                float(raw["centre"]),
                float(raw["spread"]),
                int(raw["pairs"]),
                int(raw["same"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"not a calibration curve ({error!r})") from None
        if curve.scores.shape != curve.values.shape or len(curve.scores) < 1:
            raise StorageError("not a calibration curve: its knots do not fit together")
        return curve


def calibrate(
    scores: ArrayLike, same: ArrayLike, *, kind: Kind, weights: ArrayLike | None = None
) -> Calibrator:
    """Fit a curve on pairs, some of which must be of one animal.

    One pair of two animals is added at the highest score and one of one animal at the lowest
    (Laplace), so that a step never says 0 or 1 on the strength of a few pairs.

    Args:
        weights: how many pairs each stands for; none: one. Pairs of two animals are far more; they
            keep their share, so that the result is a probability among these references.

    Raises:
        ValueError: no pair of one animal.
    """
    given, is_same = np.asarray(scores, np.float64), np.asarray(same, bool)
    weight = np.ones(len(given)) if weights is None else np.asarray(weights, np.float64)
    if not is_same.any():
        raise ValueError(f"none of {len(is_same)} pairs shows one animal")
    centre = float(np.average(given, weights=weight))
    spread = float(np.sqrt(np.average((given - centre) ** 2, weights=weight)))
    fitted = (
        np.append(given, [given.max(), given.min()]),
        np.append(is_same, [False, True]),
        np.append(weight, [1.0, 1.0]),
    )
    knots, values = _isotonic(*fitted) if kind == "isotonic" else _logistic(*fitted, centre, spread)
    return Calibrator(kind, knots, values, centre, spread, len(given), int(is_same.sum()))


Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def _isotonic(scores: NDArray[np.float64], same: NDArray[np.bool_], weights: NDArray[np.float64]) -> Curve:
    from sklearn.isotonic import IsotonicRegression  # takes a second to import

    fit = IsotonicRegression(out_of_bounds="clip").fit(scores, same, sample_weight=weights)
    return fit.X_thresholds_.astype(np.float64), fit.y_thresholds_.astype(np.float64)


def _logistic(
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    weights: NDArray[np.float64],
    centre: float,
    spread: float,
) -> Curve:
    """Platt's sigmoid; a falling one is levelled, as a higher score never speaks against."""
    from sklearn.linear_model import LogisticRegression

    unit = (scores - centre) / (spread or 1.0)
    fit = LogisticRegression(C=1e6, max_iter=1000).fit(unit[:, None], same, sample_weight=weights)
    slope, start = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope <= 0:
        share = float(np.average(same, weights=weights))
        slope, start = 0.0, float(np.log(share / (1 - share)))
    knots = np.array([centre, centre + (spread or 1.0)])
    return knots, np.array([start, start + slope])


def calibration_error(
    probability: ArrayLike, right: ArrayLike, *, bins: int = 10, weights: ArrayLike | None = None
) -> float:
    """Expected calibration error: mean distance of predicted confidence and accuracy, over equal-width
    bins weighted by what falls into them (Guo et al. 2017); 0 where there is nothing.
    """
    predicted, was = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    if predicted.size == 0:
        return 0.0
    weight = np.ones(len(predicted)) if weights is None else np.asarray(weights, np.float64)
    which = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    gap = np.bincount(which, weights=weight * (predicted - was), minlength=bins)
    return float(np.abs(gap).sum() / weight.sum())


def brier(probability: ArrayLike, right: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean squared distance of what was said from 1 (right) or 0 (wrong); 0 where there is nothing."""
    said, was = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    share = None if weights is None else np.asarray(weights, np.float64)
    return float(np.average((said - was) ** 2, weights=share)) if said.size else 0.0
