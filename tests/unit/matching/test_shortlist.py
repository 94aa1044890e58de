"""Shortlists: which references are matched, and where all the others rank."""

import numpy as np
from feature_images import byte_images, score_block

from reid_ray.config.matching import MatchedShortlist, Matching
from reid_ray.evaluation.stream import unit_rows
from reid_ray.matching import shortlist, tuning
from reid_ray.matching.engine import Packed
from reid_ray.matching.scoring import EXCLUDED, References, Setting

SETTING = Setting(threshold=0.9)


def test_nearest_goes_by_angle_not_length_and_ties_by_position() -> None:
    references = np.array([[0.0, 9.0], [1.0, 1.0], [0.1, 0.0], [5.0, 5.0], [0.0, 0.0]])
    queries = np.array([[1.0, 0.0], [0.0, 2.0]])
    found = shortlist.nearest_first(unit_rows(queries)[0], unit_rows(references)[0])
    assert found.tolist() == [[2, 1, 3, 0, 4], [0, 1, 3, 2, 4]]


def test_candidates_that_must_not_answer_make_room_for_the_next() -> None:
    order = np.array([[3, 1, 0, 2], [0, 1, 2, 3]])
    out = np.array([[False, True, False, False], [True, True, True, False]])
    found = shortlist.candidates(order, out, 2)
    assert [chosen.tolist() for chosen in found] == [[3, 0], [3]]


def test_lengths_are_measured_at_round_numbers_and_at_the_longest() -> None:
    assert shortlist.curve_sizes(60) == [1, 2, 5, 10, 20, 50, 60]
    assert shortlist.curve_sizes(10) == [1, 2, 5, 10]
    assert shortlist.curve_sizes(1) == [1]


def example(encounters: list[int]) -> tuple[References, Matching]:
    features = byte_images([15, 18, 7, 22, 9], seed=6, values=6)
    references = References(Packed.of(features), np.array([0, 0, 1, 2, 1]), np.array(encounters), features)
    return references, Matching(exclude_same_encounter=True)


def test_all_references_as_candidates_give_the_full_scores() -> None:
    queries = byte_images([20, 11], seed=5, values=6)
    references, _ = example([4, -1, 4, 3, -1])
    everything = [np.array([3, 1, 0, 2, 4]), np.array([4, 3, 2, 1, 0])]
    for config in (Matching(), Matching(score="lnbnn"), Matching(per_identity=True)):
        found = shortlist.score_candidates(
            Packed.of(queries), queries, everything, references, config, SETTING
        )
        full = score_block(queries, np.array([-1, -1]), references, config, SETTING)
        for q, chosen in enumerate(everything):
            np.testing.assert_array_equal(found[q], full[q, chosen])


def test_scores_of_candidates_come_in_the_order_they_were_asked() -> None:
    queries = byte_images([20], seed=5, values=6)
    references, config = example([-1] * 5)
    full = score_block(queries, np.array([-1]), references, config, SETTING)[0]
    found = shortlist.score_candidates(
        Packed.of(queries), None, [np.array([4, 0, 3])], references, config, SETTING
    )[0]
    assert found.tolist() == full[[4, 0, 3]].tolist()
    assert len(set(found.tolist())) > 1


def test_references_off_the_list_are_equal_and_below_and_excluded_ones_last() -> None:
    out = np.array([False, False, True, False, False])
    found = shortlist.with_the_rest(np.array([3, 1]), np.array([7, 5], np.float32), out)
    assert found[[1, 3]].tolist() == [5, 7]
    assert found[0] == found[4] == 4
    assert found[2] == EXCLUDED
    huge = np.array([2.0**30], np.float32)  # one less is the same number in float32
    assert shortlist.with_the_rest(np.array([0]), huge, np.zeros(2, bool))[1] < huge[0]


def test_a_longer_list_can_reach_the_animal_and_still_lose_it() -> None:
    same = np.array([False, True, False, True])
    scores = np.array([3, 5, 9, 9], np.float32)
    among, right = shortlist.behind([1, 2, 3, 4], same, lambda size: scores[:size])
    assert among.tolist() == [False, True, True, True]
    assert right.tolist() == [False, True, False, False]  # of equal scores the nearer counts


def test_settings_are_chosen_behind_the_shortlist_as_by_looking_up_each_candidate() -> None:
    features = byte_images([15, 18, 17, 22, 19, 16], seed=6, values=6)
    references = References(Packed.of(features), np.array([0, 0, 1, 1, 0, 1]), np.full(6, -1), features)
    vectors = unit_rows(np.random.default_rng(0).normal(size=(6, 3)))[0]
    config = Matching(shortlist=MatchedShortlist(by="vlad", size=2), thresholds=(0.5, 0.9))
    out = np.eye(6, dtype=bool)
    order = shortlist.nearest_first(vectors, vectors)
    right = tuning.right_per_setting(references, config, np.arange(6), [out, out], orders=[order, order])
    found = right.sum(axis=1)
    expected = np.zeros(2)
    for own in range(6):
        cosines = vectors @ vectors[own] / np.linalg.norm(vectors, axis=1)
        cosines[own] = -9
        two = np.argsort(-cosines)[:2]
        for s, threshold in enumerate(config.thresholds):
            scores = score_block(
                features.take([own]),
                np.array([-1]),
                references.take(np.sort(two)),
                Matching(),
                Setting(threshold=threshold),
            )[0]
            best = scores == scores.max()
            same = references.identities_g[np.sort(two)] == references.identities_g[own]
            expected[s] += (best & same).sum() / best.sum()
    assert found.tolist() == [expected.tolist()] * 2
    assert 0 < found.max() < 6
