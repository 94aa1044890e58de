"""Turn scores of animals into probabilities, with an honest share for "none of them".

In: scores of every reference animal for some queries. Out: P(this animal) for each candidate and
P(none of them).

What a score is worth is learnt by leave-one-out queries of references alone, each asked once while its
animal is known and once while it is withheld. A conditional logit (McFadden 1974) of a candidate's
score, its lead over the best other animal and its standing among all animals is fitted to these by
maximum likelihood, with "none of them" as the choice of utility 0.

With one score per animal (its best photo's) no weight is negative, so that candidates keep the order
in which the method ranks them. Photos of one encounter show one animal: their scores are joined
before, in leave-one-out queries as in new photos.

Legend: m scores per animal, q queries, s encounters, i identities, c candidates, f features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from reid_ray.errors import DatasetError, StorageError
from reid_ray.evaluation.calibration import brier

Scores = NDArray[np.floating]
Places = NDArray[np.int64]
FOLDS = 5
LEAST_FOUND = 10
FEATURES = 3
"""Of each score: itself, its lead, its standing."""
_SHRINKAGE = 1e-3
_MOST_DEVIATIONS = 30.0
_FAR = -1e3
"""Stands for the score of an animal without photos: far below any other."""


@dataclass(frozen=True)
class Candidates:
    """Animals that may be in each query's photo, likeliest first.

    Attributes:
        identity_qc: int64, positions among the identities; -1 where there are fewer.
        probability_qc: 0..1; what they and `unknown_q` lack to 1 belongs to animals further down.
        unknown_q: P(none of these: an animal that is not known, or not recognised), 0..1.
    """

    identity_qc: NDArray[np.int64]
    probability_qc: NDArray[np.float64]
    unknown_q: NDArray[np.float64]

    @property
    def answer_q(self) -> NDArray[np.int64]:
        """The likeliest animal, or -1 where "unknown" is likelier."""
        first = self.probability_qc[:, 0]
        return np.where(first > self.unknown_q, self.identity_qc[:, 0], -1)


@dataclass(frozen=True)
class Probability:
    """The fitted model; plain numbers, so that it can be written down.

    Attributes:
        centre_f, scale_f: features are (value - centre) / scale.
        weight_f, bias: of the log-odds.
    """

    centre_f: tuple[float, ...]
    scale_f: tuple[float, ...]
    weight_f: tuple[float, ...]
    bias: float

    @property
    def looks(self) -> int:
        """m: how many scores per animal it takes."""
        return len(self.weight_f) // FEATURES

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in vars(self).items()}

    @classmethod
    def from_json(cls, raw: Any) -> "Probability":
        """What `as_json` gave.

        Raises:
            StorageError: it is something else.
        """
        try:
            centre, scale, weight = (
                tuple(map(float, raw[name])) for name in ("centre_f", "scale_f", "weight_f")
            )
            found = cls(centre, scale, weight, float(raw["bias"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"not a probability model ({error!r})") from None
        if not len(centre) == len(scale) == len(weight) or len(weight) % FEATURES or not weight:
            raise StorageError("not a probability model: its numbers do not fit together")
        return found

    def candidates(self, scores_mqi: Scores, *, most: int, place_qi: Places | None = None) -> Candidates:
        """The `most` likeliest animals of each query; equal ones as `propose` orders them."""
        proposed_qc = propose(scores_mqi, most, place_qi)
        values_qcf = features(scores_mqi, proposed_qc)
        odds_qc = self._odds(values_qcf, proposed_qc >= 0)
        total_q = 1 + odds_qc.sum(axis=1)
        order = np.argsort(-odds_qc, axis=1, kind="stable")[:, :most]
        return Candidates(
            np.take_along_axis(proposed_qc, order, axis=1),
            np.take_along_axis(odds_qc, order, axis=1) / total_q[:, None],
            1 / total_q,
        )

    def _odds(self, values_qcf: NDArray[np.float64], there_qc: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Of each candidate against "none of them"."""
        scaled = (values_qcf - np.array(self.centre_f)) / np.array(self.scale_f)
        utility = np.clip(scaled @ np.array(self.weight_f) + self.bias, -50, 50)
        return np.where(there_qc, np.exp(utility), 0.0)


def propose(scores_mqi: Scores, most: int, place_qi: Places | None = None) -> NDArray[np.int64]:
    """The `most` best animals by each score, each once; int64 [q, c], padded with -1.

    Args:
        place_qi: of each animal's best photo in the order in which equal scores rank; None: by position
            of the animal.
    """
    _, queries, identities = scores_mqi.shape
    few = min(most, identities)
    place = np.broadcast_to(np.arange(identities), (queries, identities)) if place_qi is None else place_qi
    last = np.where(place < 0, np.iinfo(np.int64).max, place)
    order_mqc = np.stack([np.lexsort((last, -scores), axis=1)[:, :few] for scores in scores_mqi])
    joined = np.concatenate(list(order_mqc), axis=1)
    proposed = np.full((queries, max(joined.shape[1], most)), -1, np.int64)
    for q, row in enumerate(joined):
        names = list(dict.fromkeys(row.tolist()))
        proposed[q, : len(names)] = names
    return proposed


def features(scores_mqi: Scores, candidates_qc: NDArray[np.int64]) -> NDArray[np.float64]:
    """What speaks for each candidate, of each method; float64 [q, c, 3 m].

    Its score; its lead over the best other animal; its standing: by how many standard deviations it
    exceeds the mean of all animals' scores for this query.
    """
    values = []
    for scores_qi in np.where(np.isfinite(scores_mqi), scores_mqi, _FAR).astype(np.float64):
        best_two = np.sort(scores_qi, axis=1)[:, ::-1][:, :2]
        first = best_two[:, :1]
        second = best_two[:, 1:] if best_two.shape[1] > 1 else np.full_like(first, _FAR)
        own = np.take_along_axis(scores_qi, np.maximum(candidates_qc, 0), axis=1)
        top = np.argmax(scores_qi, axis=1)[:, None]
        # The first of equals leads by nothing, so the others trail by nothing.
        rival = np.where(candidates_qc == top, second, first)
        span = _span(scores_qi)
        lead = np.clip(own - rival, -span, span)
        values += [own, lead, _standing(own, scores_qi)]
    return np.stack(values, axis=-1)


def _standing(own_qc: NDArray[np.float64], scores_qi: NDArray[np.float64]) -> NDArray[np.float64]:
    real = np.ma.masked_less_equal(scores_qi, _FAR)
    mean = real.mean(axis=1, keepdims=True).filled(0.0)
    deviation = real.std(axis=1, keepdims=True).filled(0.0)
    apart = (own_qc - mean) / np.where(deviation > 0, deviation, np.inf)
    return np.asarray(np.clip(apart, -_MOST_DEVIATIONS, _MOST_DEVIATIONS))


def _span(scores_qi: NDArray[np.float64]) -> NDArray[np.float64]:
    """The range of each query's real scores [q, 1]: a lead over an animal without photos is no larger."""
    real = scores_qi > _FAR
    low = np.where(real, scores_qi, np.inf).min(axis=1, keepdims=True)
    high = np.where(real, scores_qi, -np.inf).max(axis=1, keepdims=True)
    return np.where(real.any(axis=1, keepdims=True), high - low, 0.0)


def fit(
    known_mqi: Scores,
    withheld_mqi: Scores,
    own_q: NDArray[np.int64],
    *,
    unknown_share: float,
    most: int,
    least: int = LEAST_FOUND,
) -> Probability:
    """Learn from leave-one-out queries of references.

    Args:
        known_mqi: scores while the own animal is there, minus infinity where none may answer.
        withheld_mqi: scores while it is not.
        own_q: position of the own animal, which has other photos.
        unknown_share: weight of the queries whose animal is withheld, in 0..1.
        least: so many must be found again.

    Raises:
        DatasetError: too few to learn from.
    """
    parts = []
    for scores, share, known in (
        (np.asarray(known_mqi, np.float64), 1 - unknown_share, True),
        (np.asarray(withheld_mqi, np.float64), unknown_share, False),
    ):
        proposed_qc = propose(scores, most)
        right_qc = (proposed_qc == own_q[:, None]) & known
        weights_q = np.full(len(own_q), share)
        parts.append((features(scores, proposed_qc), proposed_qc >= 0, right_qc, weights_q))
    values_qcf, there_qc, right_qc, weights_q = (np.concatenate(of) for of in zip(*parts, strict=True))
    if right_qc.sum() < least:
        raise DatasetError(
            f"only {int(right_qc.sum())} reference photos were found again among the others, at least "
            f"{least} are needed to learn what a score is worth; add photos of known animals"
        )
    return _fit(values_qcf, there_qc, right_qc, weights_q, monotone=len(known_mqi) == 1)


def cross_fitted(
    known_mqi: Scores,
    withheld_mqi: Scores,
    own_q: NDArray[np.int64],
    *,
    unknown_share: float,
    most: int,
    seed: int,
) -> tuple[Candidates, Candidates]:
    """Candidates of each leave-one-out query by a model that saw none of its animal's.

    Returns:
        With the own animal among the references, and without it.
    """
    found = [_empty(len(own_q), most), _empty(len(own_q), most)]
    animals = np.random.default_rng(seed).permutation(np.unique(own_q))
    for fold in np.array_split(animals, min(FOLDS, len(animals))):
        inside = np.isin(own_q, fold)
        if inside.all():
            continue
        model = fit(
            known_mqi[:, ~inside],
            withheld_mqi[:, ~inside],
            own_q[~inside],
            unknown_share=unknown_share,
            most=most,
            least=1,
        )
        for of, scores in zip(found, (known_mqi, withheld_mqi), strict=True):
            part = model.candidates(scores[:, inside], most=most)
            of.identity_qc[inside] = part.identity_qc
            of.probability_qc[inside] = part.probability_qc
            of.unknown_q[inside] = part.unknown_q
    return found[0], found[1]


def reliability(
    known: Candidates, unknown: Candidates, own_q: NDArray[np.int64], *, unknown_share: float
) -> list[dict[str, float]]:
    """How often answers of a given probability were right among the leave-one-out queries.

    Rows: `low`, `high` (of the probability), `answers` (queries, known and withheld), `said` (mean
    probability) and `right` (share), both weighted by `unknown_share`.
    """
    probability, right, weight = _first_answers(known, unknown, own_q, unknown_share)
    rows = []
    for low, high in ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 0.9), (0.9, 1.0)):
        inside = (probability >= low) & ((probability < high) | (high == 1.0))
        if inside.any():
            share = weight[inside] / weight[inside].sum()
            rows.append(
                {
                    "low": low,
                    "high": high,
                    "answers": float(inside.sum()),
                    "said": float(probability[inside] @ share),
                    "right": float(right[inside] @ share),
                }
            )
    return rows


def skill(
    known: Candidates, unknown: Candidates, own_q: NDArray[np.int64], *, unknown_share: float
) -> dict[str, float]:
    """Brier score of the first candidates' probabilities, and `constant`: that of saying of each the
    share that is right. Only what is below that is worth a look.
    """
    probability, right, weight = _first_answers(known, unknown, own_q, unknown_share)
    share = float(np.average(right, weights=weight))
    return {
        "brier": brier(probability, right, weights=weight),
        "constant": share * (1 - share),
        "right": share,
        "said": float(np.average(probability, weights=weight)),
    }


def _first_answers(
    known: Candidates, unknown: Candidates, own_q: NDArray[np.int64], unknown_share: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Of the first candidate of each query: its probability, whether it is right, its weight."""
    probability = np.concatenate([known.probability_qc[:, 0], unknown.probability_qc[:, 0]])
    right = np.concatenate([known.identity_qc[:, 0] == own_q, np.zeros(len(own_q), bool)])
    return probability, right, np.repeat([1 - unknown_share, unknown_share], len(own_q))


def _fit(
    values_qcf: NDArray[np.float64],
    there_qc: NDArray[np.bool_],
    right_qc: NDArray[np.bool_],
    weights_q: NDArray[np.float64],
    *,
    monotone: bool,
) -> Probability:
    """Maximum likelihood, with a little shrinkage so that separable queries give finite weights.

    Args:
        monotone: no weight may be negative.
    """
    flat = values_qcf[there_qc]
    centre, scale = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = np.where(there_qc[..., None], (values_qcf - centre) / scale, 0.0)
    total = weights_q.sum()

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        utility = np.clip(scaled @ parameters[:-1] + parameters[-1], -50, 50)
        odds = np.where(there_qc, np.exp(utility), 0.0)
        sums = 1 + odds.sum(axis=1)
        chosen = np.where(right_qc, utility, 0.0).sum(axis=1)
        value = weights_q @ (np.log(sums) - chosen) / total
        slope_qc = weights_q[:, None] * (odds / sums[:, None] - right_qc) / total
        gradient = np.append(np.einsum("qc,qcf->f", slope_qc, scaled), slope_qc.sum())
        gradient[:-1] += 2 * _SHRINKAGE * parameters[:-1]
        return float(value + _SHRINKAGE * parameters[:-1] @ parameters[:-1]), gradient

    count = scaled.shape[-1]
    bounds = [(0.0 if monotone else None, None)] * count + [(None, None)]
    found = minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return Probability(_plain(centre), _plain(scale), _plain(found.x[:-1]), float(found.x[-1]))


def _plain(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _empty(queries: int, most: int) -> Candidates:
    return Candidates(np.full((queries, most), -1, np.int64), np.zeros((queries, most)), np.ones(queries))


def together(scores_mqi: Scores, encounter_q: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of the photos of one encounter as one, float64 [m, s, i]: their mean.

    Args:
        encounter_q: which encounter each photo belongs to, 0 .. s - 1, each there.

    Returns:
        Minus infinity where no photo of the encounter has a score for the animal.
    """
    finite = np.isfinite(scores_mqi)
    sizes = (len(scores_mqi), int(encounter_q.max(initial=-1)) + 1, scores_mqi.shape[2])
    sums, counts = np.zeros(sizes), np.zeros(sizes)
    for m in range(len(scores_mqi)):
        np.add.at(sums[m], encounter_q, np.where(finite[m], scores_mqi[m], 0.0))
        np.add.at(counts[m], encounter_q, finite[m])
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)


def answers_right(candidates: Candidates, own_q: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each answer is right; -1 in `own_q`: right is "unknown"."""
    return np.asarray(candidates.answer_q == np.asarray(own_q))
