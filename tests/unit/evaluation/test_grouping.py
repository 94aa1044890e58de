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
    known, strangers = np.repeat(np.arange(8), 5), np.repeat(np.arange(6), 4)
    learnt = grouping.learn(pair_scores(known, 0, 0.1), known)
    assert learnt.ari == 1.0
    groups = learnt.groups(pair_scores(strangers, 1, 0.1))
    assert groups.tolist() == strangers.tolist()  # numbered by the first photo of each


def test_the_agreement_is_scikit_learns_and_falls_with_noise() -> None:
    known = np.repeat(np.arange(8), 5)
    clear, noisy = (grouping.learn(pair_scores(known, 0, noise), known) for noise in (0.3, 1.5))
    assert clear.ari > noisy.ari
    groups = noisy.groups(pair_scores(known, 0, 1.5))
    assert noisy.ari == pytest.approx(adjusted_rand_score(known, groups))


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
