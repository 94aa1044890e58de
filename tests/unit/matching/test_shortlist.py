"""Shortlists: which references are matched, and where all the others rank."""

import numpy as np
from feature_images import byte_images

from reid_ray.config.matching import Matching
from reid_ray.matching import shortlist
from reid_ray.matching.engine import Packed
from reid_ray.matching.scoring import EXCLUDED, References, Setting, score_block

SETTING = Setting(threshold=0.9)


def test_nearest_embeddings_go_by_angle_not_length_and_ties_by_position() -> None:
    references = np.array([[0.0, 9.0], [1.0, 1.0], [0.1, 0.0], [5.0, 5.0], [0.0, 0.0]])
    found = shortlist.nearest_embeddings(np.array([[1.0, 0.0], [0.0, 2.0]]), references, 3)
    assert found.tolist() == [[2, 1, 3], [0, 1, 3]]


def test_a_shortlist_reaches_as_many_queries_as_have_a_right_candidate_so_far() -> None:
    candidates = np.array([[2, 0, 1], [0, 1, 2], [0, 1, 2], [0, 2, 1]])
    share = shortlist.reached(candidates, np.array([7, 7, 8, 9]), np.array([7, 8, 7]))
    assert share.tolist() == [0.5, 0.75, 0.75]


def example(encounters: list[int]) -> tuple[References, Matching]:
    features = byte_images([15, 18, 7, 22, 9], seed=6, values=6)
    references = References(
        Packed.of(features), np.array([0, 0, 1, 2, 1]), np.array(encounters), features
    )
    return references, Matching(exclude_same_encounter=True)


def test_a_shortlist_of_all_references_gives_the_full_scores() -> None:
    queries = byte_images([20, 11], seed=5, values=6)
    references, config = example([4, -1, 4, 3, -1])
    encounters = np.array([4, -1])
    everything = np.array([[3, 1, 0, 2, 4], [4, 3, 2, 1, 0]])
    np.testing.assert_array_equal(
        shortlist.score_shortlist(queries, encounters, everything, references, config, SETTING),
        score_block(queries, encounters, references, config, SETTING),
    )


def test_references_off_the_list_rank_below_every_candidate_and_excluded_ones_last() -> None:
    queries = byte_images([20], seed=5, values=6)
    references, config = example([4, -1, 4, 3, -1])
    full = score_block(queries, np.array([4]), references, config, SETTING)[0]
    found = shortlist.score_shortlist(
        queries, np.array([4]), np.array([[3, 0, 1, -1]]), references, config, SETTING
    )[0]
    assert found[[1, 3]].tolist() == full[[1, 3]].tolist()
    assert found[0] == EXCLUDED
    assert found[2] == found[4] == full[[1, 3]].min() - 1
