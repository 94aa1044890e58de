"""Curves from scores to probabilities, against scikit-learn and by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from reid_ray.errors import StorageError
from reid_ray.evaluation.calibration import Calibrator, brier, calibrate, calibration_error


def pairs(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, same, weights: the more alike, the likelier one animal; with many ties."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 25, count).astype(float)
    same = rng.random(count) < 1 / (1 + np.exp(6 - scores / 2))
    same[:2] = [True, False]
    return scores, same, rng.choice([1.0, 7.5], count)


def test_isotonic_is_scikit_learns_with_one_doubt_at_each_end() -> None:
    scores, same, weights = pairs(0)
    curve = calibrate(scores, same, kind="isotonic", weights=weights)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(
        [*scores, 24.0, 0.0], [*same, 0, 1], sample_weight=[*weights, 1, 1]
    )
    asked = np.array([-5, 0, 0.4, 3, 7.7, 12.2, 23.9, 24, 99])
    np.testing.assert_allclose(curve.probability(asked), theirs.predict(asked), atol=1e-12)
    assert curve.probability(-np.inf) == curve.probability(0)


def test_isotonic_by_hand() -> None:
    # Scores 1 2 3 4; pairs of one animal at 2 and 4; a doubt is added at both ends:
    # 1: {0, 1}, 2: {1}, 3: {0}, 4: {1, 0}. 2 and 3 fall, so all from 2 on pool to 1/2, as 1 is.
    curve = calibrate([1, 2, 3, 4], [False, True, False, True], kind="isotonic")
    assert curve.probability([0, 1, 2.5, 4, 9]).tolist() == [0.5] * 5
    # Twenty more at 5, all of one animal: 5: 20 of 21; at 4 no doubt is left.
    curve = calibrate([1, 2, 3, 4, *[5] * 20], [0, 0, 0, 1, *[1] * 20], kind="isotonic")
    assert curve.probability([5, 6]).tolist() == pytest.approx([21 / 22, 21 / 22])
    assert curve.probability([1, 3]).tolist() == pytest.approx([1 / 4, 1 / 4])
    assert curve.probability(3.5) == pytest.approx((1 / 4 + 21 / 22) / 2)


def test_logistic_is_the_most_likely_sigmoid() -> None:
    scores, same, weights = pairs(1)
    curve = calibrate(scores, same, kind="logistic", weights=weights)
    x, y, w = np.append(scores, [24, 0]), np.append(same, [0, 1]), np.append(weights, [1, 1])

    def unlikely(line: np.ndarray) -> float:
        z = line[0] + line[1] * x
        return float((w * (np.logaddexp(0, z) - y * z)).sum())

    start, slope = minimize(unlikely, [0.0, 0.0], tol=1e-10).x
    asked = np.array([-3.0, 0, 5.5, 24, 40])
    expected = 1 / (1 + np.exp(-(start + slope * asked)))
    np.testing.assert_allclose(curve.probability(asked), expected, atol=1e-3)


def test_a_score_that_falls_with_likeness_is_worth_nothing_instead_of_being_turned_around() -> None:
    same = np.repeat([True, False], 50)
    curve = calibrate(-np.arange(100.0)[::-1], same, kind="logistic")
    assert np.ptp(curve.probability(np.linspace(-200, 200, 9))) == 0
    assert curve.probability(0) == pytest.approx(0.5)


@given(st.integers(0, 10_000), st.sampled_from(["isotonic", "logistic"]))
def test_a_higher_score_is_never_less_likely_and_no_pair_is_certain(seed: int, kind) -> None:
    scores, same, weights = pairs(seed, 60)
    curve = calibrate(scores, same, kind=kind, weights=weights)
    found = curve.probability(np.linspace(-10, 40, 101))
    assert (np.diff(found) >= 0).all()
    if kind == "isotonic":
        assert 0 < found.min() <= found.max() < 1


def test_a_weight_of_three_is_three_pairs() -> None:
    for kind in ("isotonic", "logistic"):
        thrice = calibrate([1, 2, 2, 2, 3], [0, 0, 0, 0, 1], kind=kind)
        once = calibrate([1, 2, 3], [0, 0, 1], kind=kind, weights=[1, 3, 1])
        asked = [0.5, 1, 2, 2.6, 3]
        np.testing.assert_allclose(thrice.probability(asked), once.probability(asked), atol=1e-6)
        np.testing.assert_allclose(thrice.standardised(asked), once.standardised(asked))


@pytest.mark.parametrize("same", [[False, False], []])
def test_without_a_pair_of_one_animal_there_is_nothing_to_learn(same: list[bool]) -> None:
    with pytest.raises(ValueError, match="shows one animal"):
        calibrate(np.arange(float(len(same))), same, kind="isotonic")


@pytest.mark.parametrize("kind", ["isotonic", "logistic"])
def test_pairs_of_one_animal_alone_are_likely_but_for_the_doubt(kind) -> None:
    # As behind a short list of easy photos; 48 pairs, one same and one other added.
    curve = calibrate(np.tile([2.0, 3, 4], 16), [True] * 48, kind=kind)
    assert curve.probability([2, 3, 4]).tolist() == pytest.approx([49 / 50] * 3, abs=0.03)


@pytest.mark.parametrize("kind", ["isotonic", "logistic"])
def test_a_curve_survives_a_json_file(kind) -> None:
    scores, same, _ = pairs(2)
    curve = calibrate(scores, same, kind=kind)
    again = Calibrator.from_json(json.loads(json.dumps(curve.as_json())))
    asked = np.linspace(-3, 30, 50)
    np.testing.assert_array_equal(again.probability(asked), curve.probability(asked))
    np.testing.assert_array_equal(again.standardised(asked), curve.standardised(asked))
    assert (again.pairs, again.same) == (400, int(same.sum()))
    with pytest.raises(StorageError, match="not a calibration curve"):
        Calibrator.from_json({**curve.as_json(), "values": [1]})
    with pytest.raises(StorageError, match="not a calibration curve"):
        Calibrator.from_json({"kind": kind})


def test_calibration_error_and_brier_by_hand() -> None:
    said, right = [0.95, 0.91, 0.55, 0.1], [True, False, True, False]
    # Bins: [0.9, 1]: said 0.93 on average, half right; [0.5, 0.6): 0.55 against 1; [0.1, 0.2): 0.1.
    assert calibration_error(said, right) == pytest.approx((2 * 0.43 + 0.45 + 0.1) / 4)
    squares = 0.05**2 + 0.91**2 + 0.45**2 + 0.1**2
    assert brier(said, right) == pytest.approx(squares / 4)
    assert calibration_error([1.0], [True]) == 0
    assert calibration_error([], []) == brier([], []) == 0
