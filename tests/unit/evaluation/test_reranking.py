"""A learned order of candidates: features by hand, scikit-learn's own model, no animal taught by itself."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reid_ray.config.fusion import Fusion
from reid_ray.errors import ConfigError
from reid_ray.evaluation import fusion
from reid_ray.evaluation.fusion import Fused, Pairs, fit, right_share
from reid_ray.evaluation.reranking import Reranker, features

ODDS = np.array([[1.0, -3.0], [4.0, -1.0], [4.0, -2.0], [0.5, 7.0], [-2.0, 8.0]])
QUERY = np.array([9, 9, 9, 3, 3])


def test_features_by_hand() -> None:
    first, second = np.log(2), np.log(3)
    expected = [
        [1.0, -3.0, 3.0, 2.0, second, second],
        [4.0, -1.0, 0.0, 0.0, 0.0, 0.0],
        [4.0, -2.0, 0.0, 1.0, 0.0, first],
        [0.5, 7.0, 0.0, 1.0, 0.0, first],
        [-2.0, 8.0, 2.5, 0.0, first, 0.0],
    ]
    np.testing.assert_allclose(features(ODDS, QUERY), expected)


def test_places_far_down_a_list_are_alike() -> None:
    places = features(np.arange(70.0)[:, None], np.zeros(70, np.int64))[::-1, 2]
    assert places[:51] == pytest.approx(np.log1p(np.arange(51)))
    assert set(places[50:].tolist()) == {places[50]}


def questions(seed: int, animals: int = 12, photos: int = 4, clutter: float = 4.0) -> Pairs:
    """Some photos look like everything, to both parts: what counts is who stands out."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(animals), photos)
    q, g = np.nonzero(~np.eye(len(label), dtype=bool))
    same = label[q] == label[g]
    scores = rng.normal(size=(len(q), 2)) + np.outer(same, [1.5, 1.0])
    scores += clutter * rng.normal(size=(len(label), 1))[q]
    return Pairs(scores.astype(np.float32), same, q.astype(np.int64), label[q], np.ones(len(q), np.float32))


def test_the_model_is_scikit_learns_on_standardised_features() -> None:
    pairs = questions(0)
    odds, weight = pairs.scores.astype(float), np.random.default_rng(1).random(len(pairs)) + 0.5
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features(odds, pairs.query), pairs.same, logisticregression__sample_weight=weight)
    found = Reranker.learn(odds, pairs.query, pairs.same, weight).probability(odds, pairs.query)
    expected = model.predict_proba(features(odds, pairs.query))[:, 1]
    assert found == pytest.approx(expected, abs=1e-6)


def test_it_tells_more_than_a_mean_where_queries_differ_in_what_they_look_like() -> None:
    """Asked of other animals than those it was learnt on: pairs of all queries, by one threshold."""
    taught, asked = questions(0), questions(1)
    found = {}
    for combine in ("mean", "learned"):
        fused = fit(taught, kind="logistic", combine=combine, choose_weights=False).fused
        average = fused.average(asked.scores, asked.query)
        found[combine] = average[asked.same].mean() - average[~asked.same].mean()
        assert right_share(average, asked) > 0.5
    assert found["learned"] > 2 * found["mean"]


def test_what_is_reported_is_of_animals_that_the_model_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, learnt = questions(2), []
    learn = Reranker.learn.__func__

    def watched(cls, odds, query, same, weight):
        learnt.append(set(query.tolist()))
        return learn(cls, odds, query, same, weight)

    monkeypatch.setattr(Reranker, "learn", classmethod(watched))
    fit(pairs, kind="logistic", combine="learned", choose_weights=False)
    animal_of = dict(zip(pairs.query.tolist(), pairs.animal.tolist(), strict=True))
    assert learnt[0] == set(animal_of)  # the model that is handed on
    unseen = []
    for queries in learnt[1:]:
        left_out = {animal_of[query] for query in set(animal_of) - queries}
        assert left_out.isdisjoint({animal_of[query] for query in queries})
        unseen.append(left_out)
    assert set.union(*unseen) == set(range(12))
    assert len(unseen) == fusion.FOLDS


def test_it_comes_back_from_a_file_as_it_was() -> None:
    pairs = questions(4)
    fused = fit(pairs, kind="isotonic", combine="learned", choose_weights=False).fused
    again = Fused.from_json(json.loads(json.dumps(fused.as_json())))
    one = pairs.query == 7
    np.testing.assert_array_equal(again.average(pairs.scores[one]), fused.average(pairs.scores[one]))
    order = fused.best_first(pairs.scores[one])
    np.testing.assert_array_equal(again.best_first(pairs.scores[one]), order)
    assert fused.average(pairs.scores[one])[order[0]] == fused.average(pairs.scores[one]).max()
    of_all = fused.average(pairs.scores, pairs.query)
    np.testing.assert_allclose(of_all[one], fused.average(pairs.scores[one]))


def test_pairs_that_all_agree_teach_nothing() -> None:
    with pytest.raises(ValueError, match="0 of 5 pairs are of one animal"):
        Reranker.learn(ODDS, QUERY, np.zeros(5, bool), np.ones(5))


def test_weights_of_ones_own_are_not_chosen_once_more() -> None:
    with pytest.raises(ConfigError, match="combine: learned has weights of its own"):
        Fusion.parse({"parts": ["a", "b"], "combine": "learned", "weights": "chosen"}, where="here")
