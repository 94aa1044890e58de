"""How much a method's probabilities are worth. In: predictions. Out: figures per domain.

Legend: n answers.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.evaluation.calibration import brier, calibration_error
from reid_ray.evaluation.predictions import PROBABILITIES

PRECISION = 0.95
"""Of names that can be given without a look."""
UNKNOWN_SHARE = 0.2
"""Weight of answers to withheld animals, where no query shows an unknown individual."""


class Answers(NamedTuple):
    """First candidates of queries whose animal is known, and of queries whose animal is not.

    Attributes:
        predicted: float64 [n], probability of the first candidate.
        unknown: float64 [n], probability of none of them.
        right: bool [n]; known: bool [n]; weight: float64 [n].
    """

    predicted: NDArray[np.float64]
    unknown: NDArray[np.float64]
    right: NDArray[np.bool_]
    known: NDArray[np.bool_]
    weight: NDArray[np.float64]


def probability_figures(predictions: pd.DataFrame) -> dict[str, float]:
    """Per domain, `<domain>/probability/..`: what `quality` says of its answers.

    Where queries show unknown individuals, these are judged as they are. Elsewhere each query is also
    asked with its own animal withheld, with a weight of `UNKNOWN_SHARE`.
    """
    if PROBABILITIES[0] not in predictions:
        return {}
    found: dict[str, float] = {}
    for domain, part in predictions.groupby("domain", sort=False):
        answers = answers_of(part)
        if len(answers.right):
            found |= {f"{domain}/probability/{name}": value for name, value in quality(answers).items()}
    return found


def answers_of(part: pd.DataFrame) -> Answers:
    """The answers of some predictions that have a probability."""
    first, none, withheld, withheld_none = (part[name].to_numpy(np.float64) for name in PROBABILITIES)
    known, right = part["known"].to_numpy(bool), part["correct"].to_numpy(bool)
    there = np.isfinite(first)
    if not known.all():
        weight = np.ones(int(there.sum()))
        return Answers(first[there], none[there], right[there] & known[there], known[there], weight)
    asked = np.isfinite(withheld)
    return Answers(
        np.concatenate([first[there], withheld[asked]]),
        np.concatenate([none[there], withheld_none[asked]]),
        np.concatenate([right[there], np.zeros(asked.sum(), bool)]),
        np.repeat([True, False], [there.sum(), asked.sum()]),
        np.repeat(
            [(1 - UNKNOWN_SHARE) / max(there.sum(), 1), UNKNOWN_SHARE / max(asked.sum(), 1)],
            [there.sum(), asked.sum()],
        ),
    )


def quality(answers: Answers) -> dict[str, float]:
    """Figures of first candidates.

    Returns:
        `brier`: mean squared distance of the probability from 1 (right) or 0; `constant`: the same, had
        each been given the share that is right; `ece`: expected calibration error (Guo et al. 2017);
        `predicted_confidence` and `accuracy`: means of the probability and of what was right;
        `auroc`: chance that a query of an unknown individual has a higher probability of being unknown
        than one of a known animal, ties counting half; `named_at_95`: largest share of all queries that
        can be named, surest first, with 95 % of the names right.
    """
    predicted, unknown, right, known, weight = answers
    share = float(np.average(right, weights=weight))
    figures = {
        "brier": brier(predicted, right, weights=weight),
        "constant": share * (1 - share),
        "ece": calibration_error(predicted, right, weights=weight),
        "predicted_confidence": float(np.average(predicted, weights=weight)),
        "accuracy": share,
        "named_at_95": named_share(predicted, right, weight),
    }
    if known.any() and not known.all():
        figures["auroc"] = auroc(unknown[~known], unknown[known])
    return figures


def named_share(
    predicted: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]
) -> float:
    """Largest share (0..1) that can be named with `PRECISION` of the names right; equal probabilities
    are named together.
    """
    order = np.argsort(-predicted, kind="stable")
    named = np.cumsum(weight[order])
    precise = np.cumsum(weight[order] * right[order]) >= PRECISION * named - 1e-12
    last_of_equal = np.r_[predicted[order][1:] != predicted[order][:-1], True]
    able = np.flatnonzero(precise & last_of_equal)
    return float(named[able[-1]] / named[-1]) if len(able) else 0.0


def auroc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """Chance (0..1) that one of `higher` exceeds one of `lower`, ties counting half."""
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, side="left")
    equal = np.searchsorted(ordered, higher, side="right") - below
    return float((below + 0.5 * equal).mean() / len(lower))
