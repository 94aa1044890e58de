"""Drawn are the matches that counted, and a background is called one."""

import cv2
import numpy as np
import pytest

from reid_ray.config.matching import Matching, Sift
from reid_ray.matching.places import CELLS, PlaceWeights
from reid_ray.reporting.evidence import Evidence, evidence

SIFT = Matching(extractor=Sift(root=True))


def noise(seed: int, height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(1, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """The upper half is one animal, a little moved; the lower half one background, moved otherwise."""
    animal, ground = noise(1, 120, 220), noise(2, 120, 220)
    left = np.vstack([animal[8:, :200], ground[:112, :200]])
    right = np.vstack([animal[:112, 8:208], ground[8:, 20:220]])
    return left, right


def upper_half(weight_below: float) -> PlaceWeights:
    rows = np.repeat([1.0, weight_below], 4)
    return PlaceWeights(tuple(np.repeat(rows, 8).tolist()), sided=False)


def test_matches_of_a_place_without_weight_are_not_drawn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    plain = evidence(*pair, 0.6, SIFT)
    weighed = evidence(*pair, 0.6, SIFT, places=upper_half(0.0))
    assert plain.background == 0
    assert weighed.found == plain.found
    assert weighed.background > 10
    assert len(weighed.query) > 10
    assert weighed.query[:, 1].max() < 112


def test_drawn_matches_agree_on_one_movement(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = evidence(*pair, 0.6, SIFT, places=upper_half(0.0))
    moved = found.reference - found.query
    # As `pair` moved the animal: 8 px to the left, 8 px down.
    np.testing.assert_allclose(np.median(moved, axis=0), [-8, 8], atol=1)
    assert (np.abs(moved - [-8, 8]) < 9).all()
    unlike = evidence(pair[0], noise(9, 224, 200), 0.9, SIFT)
    assert len(unlike.query) < unlike.found


def test_a_painted_background_does_not_count(pair: tuple[np.ndarray, np.ndarray]) -> None:
    left = pair[0].copy()
    left[112:] = 0
    found = evidence(left, pair[1], 0.6, SIFT, cut=True)
    assert found.query[:, 1].max() < 112
    assert evidence(left, pair[1], 0.6, SIFT, cut=False).background == 0


@pytest.mark.parametrize("side", ["away_q", "away_r"])
def test_keypoints_that_were_not_matched_are_not_drawn(
    pair: tuple[np.ndarray, np.ndarray], side: str
) -> None:
    below = np.repeat([[False], [True]], 7, axis=0)  # 14 rows, one column
    found = evidence(*pair, 0.6, SIFT, **{side: below})  # type: ignore[arg-type]
    points = found.query if side == "away_q" else found.reference
    assert len(points) > 0
    assert points[:, 1].max() < 112
    assert 0 < found.background < found.found


def test_most_on_the_background_is_said_and_fewer_are_not() -> None:
    none = np.zeros((0, 2))
    assert Evidence(none, none, 10, 6).note.startswith("6 of 10 matched keypoints lie outside the animal")
    assert Evidence(none, none, 10, 5).note == ""
    assert Evidence(none, none, 0, 0).note == ""


def test_all_places_alike_leave_nothing_out(pair: tuple[np.ndarray, np.ndarray]) -> None:
    alike = PlaceWeights((1.0,) * CELLS, sided=True)
    assert evidence(*pair, 0.6, SIFT, places=alike).background == 0
