"""Scores become probabilities that mean what they say, and "none of them" is an answer."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import brier_score_loss

from reid_ray.errors import DatasetError, StorageError
from reid_ray.methods import probability
from reid_ray.methods.probability import Candidates, Probability, together


def without_own(scores: NDArray[np.floating], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same queries, had their own animal no photo."""
    without = np.array(scores, np.float64)
    without[:, np.arange(len(own)), own] = -np.inf
    return without


def fit(scores: NDArray[np.floating], own: NDArray[np.int64], **how: Any) -> Probability:
    return probability.fit(scores, without_own(scores, own), own, **how)


def crossed(
    scores: NDArray[np.floating], own: NDArray[np.int64], **how: Any
) -> tuple[Candidates, Candidates]:
    return probability.cross_fitted(scores, without_own(scores, own), own, **how)


def scores_of(
    seed: int, queries: int, identities: int, strength: float, known: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One method's scores: noise for all animals, `strength` more for the right one."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, identities, queries)
    scores = rng.normal(size=(1, queries, identities))
    if known:
        scores[0, np.arange(queries), own] += strength
    return scores.astype(np.float32), own


def test_photos_of_one_sighting_are_scored_by_their_mean() -> None:
    scores = np.array([[[1, 4], [3, -np.inf], [7, -np.inf]]], float)
    joined = together(scores, np.array([1, 1, 0]))
    assert joined.tolist() == [[[7, -np.inf], [2, 4]]]
    alone = together(scores, np.array([0, 1, 2]))
    assert np.array_equal(alone, scores)


def test_two_photos_of_one_sighting_outweigh_one_that_is_wrong() -> None:
    """By hand, with the score as utility: photos say ln 3 and -ln 3, -ln 3 and 3 ln 3 of two animals;
    their means are 0 and ln 3, so odds 1 and 3 against one for none of them: 1/5, 3/5, 1/5."""
    model = Probability((0.0,) * 3, (1.0,) * 3, (1.0, 0.0, 0.0), 0.0)
    one = np.log(3)
    scores = np.array([[[one, -one], [-one, 3 * one]]])
    assert model.candidates(scores, most=2).answer_q.tolist() == [0, 1]
    found = model.candidates(together(scores, np.array([0, 0])), most=2)
    assert found.identity_qc.tolist() == [[1, 0]]
    assert np.allclose(found.probability_qc, [[0.6, 0.2]])
    assert np.allclose(found.unknown_q, [0.2])


def test_features_are_score_lead_over_the_best_other_and_standing() -> None:
    """By hand: mean 4 and deviation sqrt(14/3) of 2, 7, 3."""
    values = probability.features(np.array([[[2.0, 7.0, 3.0]]]), np.array([[1, 2, 0]]))
    one = np.sqrt(14 / 3)
    assert np.allclose(values[0], [[7, 4, 3 / one], [3, -4, -1 / one], [2, -5, -2 / one]])
    tied = probability.features(np.array([[[0.7, 0.7]]]), np.array([[0, 1]]))
    assert np.allclose(tied[0], [[0.7, 0, 0], [0.7, 0, 0]])
    absent = probability.features(np.array([[[2.0, 4.0, -np.inf]]]), np.array([[1]]))
    assert np.allclose(absent[0], [[4, 2, 1]])


def test_every_method_proposes_its_best_animals_once() -> None:
    scores = np.array([[[3, 2, 1, 0]], [[0, 1, 3, 2]]], float)
    assert probability.propose(scores, 2).tolist() == [[0, 1, 2, 3]]
    assert probability.propose(scores[:1], 6).tolist() == [[0, 1, 2, 3, -1, -1]]


def test_probabilities_are_those_of_the_conditional_logit() -> None:
    """By hand: utilities ln 3 and 0 of two candidates give 3/5, 1/5 and 1/5 for none of them."""
    model = Probability((0.0,) * 3, (1.0,) * 3, (1.0, 0.0, 0.0), 0.0)
    found = model.candidates(np.array([[[0.0, np.log(3)]]]), most=2)
    assert found.identity_qc.tolist() == [[1, 0]]
    assert np.allclose(found.probability_qc, [[0.6, 0.2]])
    assert np.allclose(found.unknown_q, [0.2])
    assert found.answer_q.tolist() == [1]


def test_unknown_is_the_answer_where_it_is_likelier() -> None:
    model = Probability((0.0,) * 3, (1.0,) * 3, (1.0, 0.0, 0.0), -5.0)
    assert model.candidates(np.array([[[0.0, 1.0]]]), most=2).answer_q.tolist() == [-1]


@pytest.mark.slow
def test_the_fit_is_the_maximum_of_the_likelihood() -> None:
    """Another optimiser without gradients, on the likelihood written out leave-one-out query by
    leave-one-out query."""
    scores, own = scores_of(0, 60, 4, 2.0)
    model = fit(scores, own, unknown_share=0.3, most=4)

    unknown = scores[0].astype(float).copy()
    unknown[np.arange(60), own] = np.nan

    def cost(parameters: NDArray[np.float64]) -> float:
        total = 0.0
        for share, table in ((0.7, scores[0].astype(float)), (0.3, unknown)):
            for q, right in enumerate(own):
                span = np.nanmax(table[q]) - np.nanmin(table[q])
                row = np.nan_to_num(table[q], nan=-1000.0)
                utility = []
                for i, value in enumerate(row):
                    lead = np.clip(value - max(np.delete(row, i)), -span, span)
                    apart = (value - np.nanmean(table[q])) / np.nanstd(table[q])
                    found = np.array([value, lead, np.clip(apart, -30, 30)])
                    scaled = (found - model.centre_f) / model.scale_f
                    utility.append(np.clip(scaled @ parameters[:3] + parameters[3], -50, 50))
                chosen = utility[right] if table is not unknown else 0.0
                total += share * (np.log(1 + np.exp(utility).sum()) - chosen)
        return total / 60 + 1e-3 * float(parameters[:3] @ parameters[:3])

    fitted = np.array([*model.weight_f, model.bias])
    again = minimize(
        cost,
        fitted + 0.3,
        method="Nelder-Mead",
        bounds=[(0, None)] * 3 + [(None, None)],
        options={"xatol": 1e-4, "fatol": 1e-9, "maxiter": 4000, "maxfev": 4000},
    )
    assert cost(fitted) <= again.fun + 1e-6
    assert np.allclose(fitted, again.x, atol=0.1)


def test_probabilities_on_new_photos_mean_what_they_say() -> None:
    """Simulated from the same law: of answers said to be right with p, about p are right."""
    learning, own = scores_of(1, 2000, 10, 2.5)
    model = fit(learning, own, unknown_share=0.25, most=5)
    known, truth = scores_of(2, 3000, 10, 2.5)
    unknown, _ = scores_of(3, 1000, 10, 0.0, known=False)
    found = [model.candidates(s, most=5) for s in (known, unknown)]
    said = np.concatenate([f.probability_qc[:, 0] for f in found])
    right = np.concatenate([found[0].identity_qc[:, 0] == truth, np.zeros(1000, bool)])
    for low in (0.2, 0.4, 0.6, 0.8):
        inside = (said >= low) & (said < low + 0.2)
        assert abs(said[inside].mean() - right[inside].mean()) < 0.06


def test_a_second_method_that_sees_more_raises_the_number_of_right_answers() -> None:
    weak, own = scores_of(4, 1500, 10, 1.0)
    strong = scores_of(4, 1500, 10, 0.0)[0] * 0 + scores_like(own, 5, 2.5)
    both = np.concatenate([weak, strong])
    train, test = slice(0, 700), slice(700, None)
    positives = []
    for scores in (weak, strong, both):
        model = fit(scores[:, train], own[train], unknown_share=0.2, most=5)
        found = model.candidates(scores[:, test], most=5)
        positives.append((found.identity_qc[:, 0] == own[test]).mean())
    assert positives[2] > max(positives[:2])


def scores_like(own: NDArray[np.int64], seed: int, strength: float) -> NDArray[np.float32]:
    scores = np.random.default_rng(seed).normal(size=(1, len(own), 10))
    scores[0, np.arange(len(own)), own] += strength
    return scores.astype(np.float32)


def test_probabilities_sum_to_one_whatever_the_scores() -> None:
    scores = np.array([[[np.inf, -np.inf, 1e30], [-np.inf, -np.inf, -np.inf], [0, 0, 0]]])
    model = Probability((0.0,) * 3, (1.0,) * 3, (3.0, 2.0, 1.0), 0.0)
    found = model.candidates(scores, most=3)
    assert np.allclose(found.probability_qc.sum(axis=1) + found.unknown_q, 1)


def test_cross_fitted_candidates_come_from_models_that_did_not_see_the_animal() -> None:
    scores, own = scores_of(6, 200, 8, 3.0)
    known, unknown = crossed(scores, own, unknown_share=0.2, most=3, seed=0)
    assert (known.answer_q == own).mean() > 0.6
    assert (unknown.answer_q == -1).mean() > 0.5
    rows = probability.reliability(known, unknown, own, unknown_share=0.2)
    assert sum(row["answers"] for row in rows) == 400
    assert all(row["low"] <= row["said"] <= row["high"] for row in rows)


def test_too_few_look_ups_are_refused() -> None:
    scores, own = scores_of(0, 5, 4, 2.0)
    with pytest.raises(DatasetError, match=r"only 5 reference photos .* at least 10"):
        fit(scores, own, unknown_share=0.2, most=3)


def test_the_brier_score_is_scikit_learns_and_better_than_saying_the_average() -> None:
    scores, own = scores_of(3, 300, 12, 2.0)
    known, unknown = crossed(scores, own, unknown_share=0.3, most=3, seed=0)
    found = probability.skill(known, unknown, own, unknown_share=0.3)
    said = np.concatenate([known.probability_qc[:, 0], unknown.probability_qc[:, 0]])
    right = np.concatenate([known.identity_qc[:, 0] == own, np.zeros(300, bool)])
    weight = np.repeat([0.7, 0.3], 300)
    assert found["brier"] == pytest.approx(brier_score_loss(right, said, sample_weight=weight))
    assert found["brier"] < 0.8 * found["constant"]
    assert found["said"] == pytest.approx(found["right"], abs=0.05)
    noise, own = scores_of(3, 300, 12, 0.0)
    none = probability.skill(*crossed(noise, own, unknown_share=0.3, most=3, seed=0), own, unknown_share=0.3)
    assert none["brier"] == pytest.approx(none["constant"], abs=0.01)


def test_with_one_score_per_animal_candidates_keep_the_methods_order() -> None:
    """Also where a feature, taken by itself, speaks against the animal."""
    for seed in range(5):
        scores, own = scores_of(seed, 120, 9, 0.3)
        scores = np.round(scores, 1)  # with ties
        model = fit(scores, own, unknown_share=0.2, most=5)
        assert min(model.weight_f) >= 0
        place = np.random.default_rng(seed).permuted(np.tile(np.arange(9), (120, 1)), axis=1)
        found = model.candidates(scores, most=5, place_qi=place)
        expected = np.lexsort((place, -scores[0]), axis=1)[:, :5]
        assert found.identity_qc.tolist() == expected.tolist()


def test_a_model_is_the_same_after_it_was_written_and_read() -> None:
    scores, own = scores_of(0, 60, 4, 2.0)
    model = fit(scores, own, unknown_share=0.3, most=4)
    again = Probability.from_json(json.loads(json.dumps(model.as_json())))
    assert again == model
    for broken in ({}, {**model.as_json(), "weight_f": [1.0]}, {**model.as_json(), "bias": "x"}):
        with pytest.raises(StorageError, match="not a probability model"):
            Probability.from_json(broken)


def test_no_query_of_an_animal_is_answered_by_a_model_that_saw_that_animal() -> None:
    """Animals differ in how right their high scores are, so a model that saw them answers otherwise."""
    scores, own = scores_of(6, 200, 8, 3.0)
    known, _ = crossed(scores, own, unknown_share=0.2, most=3, seed=0)
    animals = np.random.default_rng(0).permutation(np.unique(own))
    for fold in np.array_split(animals, 5):
        inside = np.isin(own, fold)
        model = fit(scores[:, ~inside], own[~inside], unknown_share=0.2, most=3, least=1)
        expected = model.candidates(scores[:, inside], most=3)
        assert np.array_equal(known.probability_qc[inside], expected.probability_qc)
    whole = fit(scores, own, unknown_share=0.2, most=3).candidates(scores, most=3)
    assert not np.allclose(known.probability_qc, whole.probability_qc)


def test_few_animals_that_are_all_found_again_are_enough() -> None:
    """Four animals, three photos each: eleven of twelve in the whole, fewer than ten in a fold."""
    own = np.repeat(np.arange(4), 3)
    scores = np.random.default_rng(0).normal(size=(1, 12, 4))
    scores[0, np.arange(12), own] += 9
    known, _ = crossed(scores, own, unknown_share=0.2, most=3, seed=0)
    assert (known.identity_qc[:, 0] == own).all()


@pytest.mark.parametrize(("first", "unknown", "answer"), [(0.4, 0.41, -1), (0.41, 0.4, 3), (0.4, 0.4, -1)])
def test_an_animal_is_named_only_where_it_is_likelier_than_unknown(
    first: float, unknown: float, answer: int
) -> None:
    found = Candidates(np.array([[3, 1]]), np.array([[first, 0.1]]), np.array([unknown]))
    assert found.answer_q.tolist() == [answer]
