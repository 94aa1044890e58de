"""Intervals and paired tests, checked against scipy and published numbers."""

import itertools

import numpy as np
import pytest
from scipy import stats

from reid_ray.evaluation.intervals import (
    animals_mean,
    best_of_several,
    bootstrap_mean,
    bootstrap_ratios,
    paired_by_animal,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (5, 10), (65, 155), (155, 155)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_agrees_with_scipy(successes, n, confidence):
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence=confidence) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_gives_newcombes_published_figures():
    # Newcombe 1998, table I, method 3 without continuity correction: 81/263 and 0/20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize("n", range(1, 60))
def test_wilson_holds_the_share_itself_and_never_leaves_0_to_1(n):
    assert wilson(0, n)[0] == 0
    assert wilson(n, n)[1] == 1


def test_nothing_measured_means_anything_is_possible():
    assert wilson(0, 0) == (0.0, 1.0)
    assert bootstrap_mean([], np.random.default_rng(0)) == (0.0, 1.0)


def test_bootstrap_of_many_values_comes_near_the_normal_interval_and_repeats_with_its_seed():
    values = np.random.default_rng(1).standard_normal(400)
    error = 1.96 * values.std() / 20
    low, high = bootstrap_mean(values, np.random.default_rng(2))
    assert low == pytest.approx(values.mean() - error, abs=0.02)
    assert high == pytest.approx(values.mean() + error, abs=0.02)
    assert (low, high) == bootstrap_mean(values, np.random.default_rng(2))


def test_bootstrap_over_animals_is_as_wide_as_if_each_had_one_photo():
    # Ten copies of each value carry no more information than one.
    values = np.random.default_rng(3).standard_normal(50)
    once = bootstrap_mean(values, np.random.default_rng(4))
    copies = bootstrap_mean(
        np.repeat(values, 10), np.random.default_rng(4), clusters=np.repeat(np.arange(50), 10)
    )
    assert copies[1] - copies[0] == pytest.approx(once[1] - once[0], rel=0.1)


def test_intervals_of_means_over_animals_agree_with_scipys_bootstrap():
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 9, 40).astype(float)
    sums = rng.random(40) * counts
    found = bootstrap_ratios([(sums, counts), (sums / counts, np.ones(40))], rng, draws=20_000)
    for (low, high), statistic in zip(
        found,
        [lambda s, c, axis: s.sum(axis) / c.sum(axis), lambda s, c, axis: (s / c).mean(axis)],
        strict=True,
    ):
        expected = stats.bootstrap(
            (sums, counts),
            statistic,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=20_000,
            rng=6,
        ).confidence_interval
        assert (low, high) == pytest.approx(tuple(expected), abs=0.004)


def test_intervals_do_not_depend_on_how_many_draws_are_held_at_once(monkeypatch):
    values = np.random.default_rng(7).random(30)
    once = bootstrap_mean(values, np.random.default_rng(8))
    monkeypatch.setattr("reid_ray.evaluation.intervals._PICKED", 100)
    assert bootstrap_mean(values, np.random.default_rng(8)) == once


def test_the_interval_over_animals_of_one_photo_each_is_nearly_wilsons():
    right = np.arange(300) % 3 == 0
    assert animals_mean(right, np.arange(300)) == pytest.approx(wilson(100, 300), abs=0.002)


def test_copies_of_photos_make_no_interval_over_animals_narrower():
    right = np.random.default_rng(0).random(60) < 0.4
    once = animals_mean(right, np.arange(60))
    assert animals_mean(np.repeat(right, 12), np.repeat(np.arange(60), 12)) == pytest.approx(once)


def test_the_interval_over_animals_is_never_narrower_than_if_photos_were_independent():
    # Each animal is right in every second photo: more even than chance would have it.
    right, animals = np.tile([1.0, 0.0], 50), np.repeat(np.arange(10), 10)
    low, high = animals_mean(right, animals)
    assert (low, high) != (0.5, 0.5)
    assert low <= wilson(50, 100)[0]
    assert high >= wilson(50, 100)[1]


def test_the_interval_of_even_values_is_narrow():
    """Values near one half say more of their mean than answers that are right or wrong."""
    values = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(100)
    low, high = animals_mean(values, np.repeat(np.arange(25), 4))
    assert high - low == pytest.approx(4 * values.std() / 10, rel=0.25)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_counts_animals(value):
    assert animals_mean([value] * 40, np.repeat(np.arange(8), 5)) == wilson(8 * value, 8)


def test_no_values_say_nothing():
    assert animals_mean([], []) == (0.0, 1.0)
    assert paired_by_animal([], []) == 1.0


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 3), (1, 6), (12, 2), (0, 9), (30, 25)])
def test_the_test_over_animals_of_one_photo_each_is_mcnemars_mid_p(only_a, only_b):
    gain = np.repeat([1, -1, 0], [only_a, only_b, 4])
    n = only_a + only_b
    exact = stats.binomtest(only_a, n).pvalue if n else 1.0
    point = stats.binom.pmf(min(only_a, only_b), n, 0.5)
    # Fagerland et al. 2013: exact minus the observed point; 1 minus half of it at equality.
    mid = 1 - point / 2 if only_a == only_b and n else exact - point if n else 1.0
    assert paired_by_animal(gain, np.arange(len(gain))) == pytest.approx(mid)


def test_the_test_over_animals_of_one_photo_each_gives_fagerlands_published_mid_p():
    # Fagerland, Lydersen, Laake 2013, airway data: 1 and 7 pairs.
    assert paired_by_animal([1] + [-1] * 7, np.arange(8)) == pytest.approx(0.0391, abs=5e-5)


def test_the_test_over_animals_is_that_of_all_ways_to_turn_animals_round():
    rng = np.random.default_rng(3)
    gain, animals = rng.integers(-1, 2, 40), rng.integers(0, 9, 40)
    sums = np.bincount(animals, weights=gain)
    every = np.abs([np.dot(signs, sums) for signs in itertools.product([1, -1], repeat=len(sums))])
    found = abs(sums.sum())
    expected = (every > found).mean() + (every == found).mean() / 2
    assert paired_by_animal(gain, animals) == pytest.approx(expected)


def test_very_many_queries_are_tested_by_a_normal_distribution():
    gain = np.repeat([1, -1], [2100, 1900])
    assert paired_by_animal(gain, np.arange(4000)) == pytest.approx(2 * stats.norm.sf(200 / 4000**0.5))


def test_the_best_of_one_is_itself_and_the_best_of_equals_is_brought_back():
    right = np.random.default_rng(1).random((40, 200)) < 0.5
    animals = np.repeat(np.arange(50), 4)
    alone = best_of_several(right[:1], animals, np.random.default_rng(0))
    assert (alone.value, alone.low, alone.high) == (right[0].mean(), *animals_mean(right[0], animals))
    every = np.random.default_rng(2).random((20, 40, 200)) < 0.5
    best = [best_of_several(one, animals, np.random.default_rng(0), draws=200).value for one in every]
    assert every.mean(axis=2).max(axis=1).mean() > 0.57
    assert np.mean(best) == pytest.approx(0.5, abs=0.015)


def test_a_method_far_ahead_owes_nothing_to_being_chosen():
    right = np.random.default_rng(1).random((5, 200)) < np.array([0.9, 0.2, 0.2, 0.2, 0.2])[:, None]
    best = best_of_several(right, np.repeat(np.arange(50), 4), np.random.default_rng(0))
    assert best.value == pytest.approx(right[0].mean(), abs=0.01)
