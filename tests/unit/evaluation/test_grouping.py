"""Photos of unknown animals are grouped by animal, as well as the measured agreement says."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from reid_ray.evaluation import grouping


def pair_scores(identities: NDArray[np.int64], seed: int, noise: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    same = identities[:, None] == identities[None]
    return (same + noise * rng.normal(size=same.shape))[None].astype(np.float32)


def test_clear_pairs_give_the_true_groups_of_other_animals() -> None:
    known, unknown = np.repeat(np.arange(8), 5), np.repeat(np.arange(6), 4)
    learnt = grouping.learn(pair_scores(known, 0, 0.1), known)
    assert learnt.ari == 1.0
    groups = learnt.groups(pair_scores(unknown, 1, 0.1))
    assert groups.tolist() == unknown.tolist()  # numbered by the first photo of each


def test_the_agreement_it_promises_is_what_as_many_other_animals_reach() -> None:
    """Not that of few animals, which are easier to keep apart: halves of the known ones promise 0.30."""
    known = np.repeat(np.arange(30), 5)
    promised, reached = [], []
    for seed in range(2):
        own, others = pair_scores(known, seed, 1.0), pair_scores(known, 200 + seed, 1.0)
        learnt = grouping.learn(own, known)
        promised.append(learnt.ari)
        reached.append(adjusted_rand_score(known, learnt.groups(others)))
    assert np.mean(promised) == pytest.approx(np.mean(reached), abs=0.03)


def test_photos_of_one_encounter_stay_together_whatever_they_look_like() -> None:
    known = np.repeat(np.arange(10), 6)
    encounters = np.arange(60) // 3  # two per animal
    blind = np.zeros((1, 60, 60))
    learnt = grouping.learn(blind, known, encounters)
    assert learnt.ari_encounters == pytest.approx(adjusted_rand_score(known, encounters), abs=0.1)
    groups = learnt.groups(blind[:, :7, :7], np.array([5, -1, 5, 8, -1, 8, 5]))
    assert groups[0] == groups[2] == groups[6]
    assert groups[3] == groups[5]
    noisy = pair_scores(known, 0, 1.0)
    assert grouping.learn(noisy, known, encounters).ari > grouping.learn(noisy, known).ari


def test_a_photo_that_is_like_every_other_says_little() -> None:
    scores = np.full((1, 4, 4), 0.2)
    scores[0, :, 3] = scores[0, 3, :] = 0.9  # the last is like all
    scores[0, 0, 1] = scores[0, 1, 0] = 0.9
    standing = grouping.features(scores)[1]
    assert standing[0, 1] > standing[0, 3]


def test_one_photo_and_none_are_groups_too() -> None:
    known = np.repeat(np.arange(4), 3)
    learnt = grouping.learn(pair_scores(known, 0, 0.1), known)
    assert learnt.groups(np.ones((1, 1, 1))).tolist() == [0]
    assert learnt.groups(np.ones((1, 0, 0))).tolist() == []


def test_scores_that_differ_by_direction_count_by_their_mean() -> None:
    known = np.repeat(np.arange(4), 4)
    scores = pair_scores(known, 0, 0.2)
    turned = scores.transpose(0, 2, 1)
    assert grouping.learn(scores, known) == grouping.learn(turned, known)
