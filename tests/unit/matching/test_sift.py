"""SIFT features against OpenCV's own arrays."""

import cv2
import numpy as np
from feature_images import image_of
from numpy.typing import NDArray

from reid_ray.config.matching import Sift
from reid_ray.matching import sift
from reid_ray.matching.extract import extract, resized


def pattern(size: int, *, seed: int) -> NDArray[np.uint8]:
    """A smooth random RGB image with plenty of keypoints."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (size // 8, size // 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (size + 40, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_descriptors_and_points_are_opencvs_on_the_grey_image() -> None:
    image = pattern(160, seed=1)
    keypoints, descriptors = cv2.SIFT_create().detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    found = extract([image], Sift())
    assert found.descriptors.dtype == np.uint8
    np.testing.assert_array_equal(found.descriptors.astype(np.float32), descriptors)
    np.testing.assert_array_equal(found.points_xy, np.float32([k.pt for k in keypoints]))
    np.testing.assert_array_equal(found.responses, np.float32([k.response for k in keypoints]))
    assert len(keypoints) > 50


def test_an_image_without_keypoints_has_an_empty_place_between_the_others() -> None:
    flat = np.full((80, 90, 3), 7, np.uint8)
    found = sift.extract([pattern(120, seed=2), flat, pattern(100, seed=3)], Sift())
    assert found.keypoints[1] == 0
    assert found.keypoints[0] > 0
    assert found.keypoints[2] > 0


def test_a_lower_contrast_threshold_finds_more() -> None:
    image = (pattern(160, seed=4) // 8 + 100).astype(np.uint8)
    few, many = (sift.extract([image], Sift(contrast_threshold=value)).keypoints[0] for value in (0.04, 0.01))
    assert many > few


def test_the_cap_keeps_the_strongest_in_their_old_order() -> None:
    image = pattern(160, seed=5)
    every, capped = (sift.extract([image], Sift(max_keypoints=cap)) for cap in (None, 20))
    strongest = sorted(range(len(every.responses)), key=lambda i: (-every.responses[i], i))[:20]
    np.testing.assert_array_equal(capped.points_xy, every.points_xy[sorted(strongest)])


def test_equally_strong_keypoints_at_the_cap_are_kept_from_the_front() -> None:
    features = image_of(np.arange(5, dtype=np.uint8)[:, None])
    features.responses[:] = [1, 3, 2, 2, 2]
    assert features.strongest(3).descriptors[:, 0].tolist() == [1, 2, 3]


def test_root_sift_is_the_square_root_of_the_l1_share_in_steps_of_1_in_512() -> None:
    descriptors = np.zeros((3, 128), np.uint8)
    descriptors[0, :4] = [1, 4, 9, 2]  # sum 16: square roots of 1/16, 1/4, 9/16, 1/8
    descriptors[1, :100] = 1
    expected = np.zeros((3, 128))
    expected[0, :4] = [128, 255, 255, 181]
    expected[1, :100] = 51
    np.testing.assert_array_equal(sift.root(descriptors), expected)


def test_resized_brings_the_shorter_side_to_the_wish() -> None:
    image = pattern(160, seed=6)
    assert resized(image, 80).shape == (80, 100, 3)
    assert resized(image, None) is image
