"""Fusion by hand on 3 queries and 4 references, weights, samples of pairs."""

import json

import numpy as np
import pytest

from reid_ray.errors import StorageError
from reid_ray.evaluation import fusion
from reid_ray.evaluation.calibration import Calibrator
from reid_ray.evaluation.fusion import Fused, Pairs, fit, joined, right_share, sample_pairs, weightings
from reid_ray.evaluation.ranking import rank_block, rank_in_order


def line(*knots: tuple[float, float], centre: float = 0.0, spread: float = 1.0) -> Calibrator:
    scores, values = (np.array(side, float) for side in zip(*knots, strict=True))
    return Calibrator("isotonic", scores, values, centre, spread, 9, 3)


COUNTS = line((0, 0.0), (10, 0.5), (20, 1.0), centre=4, spread=2)  # score / 20
COSINES = line((-1, 0.0), (0, 0.0), (1, 0.8), centre=0.5, spread=0.25)  # 0.8 x cosine, if positive

SCORES = np.stack(
    [
        np.array([[10, 0, 4, 2], [0, 0, 20, 40], [6, 6, 6, 0]], float),
        np.array([[0.0, 1.0, 0.5, -1.0], [0.5, 1.0, 0.0, 0.0], [0.5, 0.25, 0.5, 1.0]]),
    ],
    axis=-1,
)


def test_the_mean_of_probabilities_by_hand() -> None:
    found = Fused((COUNTS, COSINES), (0.5, 0.5)).average(SCORES)
    by_hand = [
        [(0.5 + 0.0) / 2, (0.0 + 0.8) / 2, (0.2 + 0.4) / 2, (0.1 + 0.0) / 2],
        [(0.0 + 0.4) / 2, (0.0 + 0.8) / 2, (1.0 + 0.0) / 2, (1.0 + 0.0) / 2],
        [(0.3 + 0.4) / 2, (0.3 + 0.2) / 2, (0.3 + 0.4) / 2, (0.0 + 0.8) / 2],
    ]
    np.testing.assert_allclose(found, by_hand, atol=1e-12)


def test_weights_and_log_odds_by_hand() -> None:
    found = Fused((COUNTS, COSINES), (0.75, 0.25)).average(SCORES[0, 0])
    assert found == pytest.approx(0.75 * 0.5)
    both = Fused((COUNTS, COSINES), (0.5, 0.5), "log_odds").average(np.array([4, 0.25]))
    # Odds 1/4 and 1/4: their geometric mean is 1/4, a probability of 0.2.
    assert both == pytest.approx(0.2)
    unequal = joined(np.array([0.2, 0.8]), (2 / 3, 1 / 3), "log_odds")
    odds = (1 / 4) ** (2 / 3) * 4 ** (1 / 3)
    assert unequal == pytest.approx(odds / (1 + odds))
    assert 0 < joined(np.array([0.0, 0.0]), (0.5, 0.5), "log_odds") < 1e-5


def test_equal_probabilities_rank_by_standardised_scores_then_position() -> None:
    fused = Fused((COUNTS, COSINES), (0.5, 0.5))
    # Query 1: references 2 and 3 both have 0.5; 40 matches are more standard deviations than 20.
    order = fused.best_first(SCORES[1])
    ranked = rank_in_order(fused.average(SCORES[1]), order, 7, [5, 5, 5, 7], k=4)
    assert ranked.top_index.tolist() == [[3, 2, 1, 0]]
    assert ranked.first_correct.tolist() == [1]
    # Query 2: references 0 and 2 are equal in every part.
    order = fused.best_first(SCORES[2])
    ranked = rank_in_order(fused.average(SCORES[2]), order, 7, [5, 5, 7, 5], k=2)
    assert ranked.top_index.tolist() == [[3, 0]]
    assert ranked.first_correct.tolist() == [3]
    assert ranked.average_precision.tolist() == pytest.approx([1 / 3])


def test_ranking_in_the_order_of_position_is_rank_block() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 4, 30), rng.integers(0, 5, 30)
    plain = rank_block(scores[None], [2], labels, k=40)
    found = rank_in_order(scores, np.arange(30), 2, labels, k=40)
    for name, expected in vars(plain).items():
        np.testing.assert_array_equal(getattr(found, name), expected)


def test_a_fusion_survives_a_json_file() -> None:
    fused = Fused((COUNTS, COSINES), (0.3, 0.7), "log_odds")
    again = Fused.from_json(json.loads(json.dumps(fused.as_json())))
    np.testing.assert_array_equal(again.average(SCORES), fused.average(SCORES))
    np.testing.assert_array_equal(again.best_first(SCORES[1]), fused.best_first(SCORES[1]))
    with pytest.raises(StorageError, match="not a fusion"):
        Fused.from_json({"curves": []})


def test_a_fusion_of_an_earlier_version_is_refused() -> None:
    """Its probability model was fitted to scores on another scale, so it would say wrong probabilities."""
    old = {**Fused((COUNTS, COSINES), (0.3, 0.7)).as_json(), "final": None}
    with pytest.raises(StorageError, match="earlier version"):
        Fused.from_json(old)


def test_weights_on_offer_begin_with_equal_ones_and_leave_no_part_out() -> None:
    two, three = weightings(2), weightings(3)
    assert two[0] == (0.5, 0.5)
    assert set(two[1:3]) == {(0.4, 0.6), (0.6, 0.4)}
    assert len(two) == 9
    assert three[0] == (1 / 3,) * 3
    assert len(three) == 1 + 6  # compositions of 5 into 3 positive parts
    for one in [*two, *three, *weightings(6)]:
        assert sum(one) == pytest.approx(1)
        assert min(one) > 0


def look_ups(
    seed: int, skills: tuple[float, ...], animals: int = 8, photos: int = 5, clutter: float = 0.0
) -> Pairs:
    """Every photo against all others; each part's score is noise plus its skill for the right one.

    With `clutter`, some photos look like everything and others like nothing.
    """
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(animals), photos)
    q, g = np.nonzero(~np.eye(len(label), dtype=bool))
    same = label[q] == label[g]
    scores = rng.normal(size=(len(q), len(skills))) + np.outer(same, skills)
    scores += clutter * rng.normal(size=len(label))[q, None]
    return Pairs(scores.astype(np.float32), same, q.astype(np.int64), label[q], np.ones(len(q), np.float32))


def test_the_better_part_gets_the_larger_chosen_weight() -> None:
    pairs = look_ups(2, (1.5, 0.5))
    chosen = fit(pairs, kind="logistic", combine="log_odds", choose_weights=True)
    equal = fit(pairs, kind="logistic", combine="log_odds", choose_weights=False)
    assert equal.fused.weights == (0.5, 0.5)
    assert chosen.fused.weights[0] > 0.5
    assert chosen.top1 > equal.top1


def test_two_halves_of_the_truth_are_better_joined_than_alone() -> None:
    pairs = look_ups(1, (2.0, 2.0))
    both = fit(pairs, kind="isotonic", combine="mean", choose_weights=False).top1
    for part in (0, 1):
        alone = right_share(pairs.scores[:, part], pairs)
        assert both > alone + 0.05


def test_a_look_up_is_answered_with_curves_that_have_not_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = look_ups(2, (1.0, 1.0))
    fitted: list[set[int]] = []
    curves = fusion._curves

    def watched(given: Pairs, kind: str) -> tuple[Calibrator, ...]:
        fitted.append(set(given.query.tolist()))
        return curves(given, kind)

    monkeypatch.setattr(fusion, "_curves", watched)
    fit(pairs, kind="isotonic", combine="mean", choose_weights=False)
    every = set(range(40))
    assert fitted[0] == every  # the curves that are handed on
    left_out = [every - seen for seen in fitted[1:]]
    assert [len(one) for one in left_out] == [8] * 5
    assert set.union(*left_out) == every


def test_right_share_counts_ties_in_proportion() -> None:
    same = np.array([1, 0, 0, 0, 1, 1], bool)
    of = np.array([4, 4, 4, 9, 9, 9])
    pairs = Pairs(np.zeros((6, 1), np.float32), same, of, of, np.ones(6))
    share = right_share(np.array([0.5, 0.5, 0.1, 0.2, 0.7, 0.7]), pairs)
    assert share == pytest.approx((1 / 2 + 1) / 2)


def test_sampled_pairs_hold_all_of_one_animal_each_parts_best_and_stand_for_all() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(400, 2)).astype(np.float32)
    same, possible = np.arange(400) % 80 == 0, np.arange(400) != 7
    found = sample_pairs(scores, same, possible, query=7, animal=3, rng=rng, best=10, others=30)
    kept = {tuple(row) for row in found.scores.tolist()}
    for part in (0, 1):
        able = np.where(possible, scores[:, part], -np.inf)
        for place in np.argsort(-able)[:10]:
            assert tuple(scores[place].tolist()) in kept
    assert found.same.sum() == same.sum() == 5
    assert found.weight.sum() == pytest.approx(399)
    assert set(found.query.tolist()) == {7}
    assert set(found.animal.tolist()) == {3}
    assert tuple(scores[7].tolist()) not in kept
    assert len(found) == len(kept) <= 5 + 20 + 30


def test_few_references_are_all_kept() -> None:
    scores = np.arange(8, dtype=np.float32)[:, None]
    rng = np.random.default_rng(0)
    found = sample_pairs(scores, np.arange(8) < 2, np.ones(8, bool), query=0, animal=0, rng=rng)
    assert sorted(found.scores[:, 0].tolist()) == list(range(8))
    assert found.weight.tolist() == [1.0] * 8
