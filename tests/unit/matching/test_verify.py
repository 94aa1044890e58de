"""Geometry: a photo moved by a known transform is recognised, noise is not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reid_ray.config.matching import Geometry
from reid_ray.matching.features import ImageFeatures
from reid_ray.matching.verify import inlier_mask, match_pair


def scene(*, shuffled: int) -> tuple[ImageFeatures, ImageFeatures]:
    """60 points and their images under an affine map, `shuffled` of them paired wrongly."""
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 250, (60, 2))
    moved = points @ np.array([[0.8, 0.3], [-0.2, 1.1]]) + [12, 40]
    moved[:shuffled] = rng.uniform(0, 250, (shuffled, 2))
    descriptors = rng.integers(0, 256, (60, 128), dtype=np.uint8)

    def image(where: NDArray[np.float64]) -> ImageFeatures:
        zeros = np.zeros(60, np.float32)
        return ImageFeatures(descriptors, where.astype(np.float32), zeros, zeros)

    return image(points), image(moved)


@pytest.mark.parametrize("model", ["affine", "homography", "fundamental"])
def test_points_that_moved_together_are_inliers_and_the_others_are_not(model: Geometry) -> None:
    query, reference = scene(shuffled=20)
    matches = match_pair(query, reference, 0.7)
    agree = inlier_mask(query, reference, matches, model, 1.0)
    assert matches.tolist() == [[i, i] for i in range(60)]
    assert agree[20:].all()
    # Points of one plane leave epipolar lines some freedom, which wrong matches take.
    assert agree[:20].sum() <= (8 if model == "fundamental" else 2)


@pytest.mark.parametrize(("model", "needed"), [("affine", 3), ("homography", 4), ("fundamental", 8)])
def test_too_few_matches_have_no_inliers(model: Geometry, needed: int) -> None:
    query, reference = scene(shuffled=0)
    matches = match_pair(query, reference, 0.7)
    assert not inlier_mask(query, reference, matches[: needed - 1], model, 8.0).any()
    assert inlier_mask(query, reference, matches[:12], model, 8.0).all()
    none = ImageFeatures(*(getattr(query, name)[:0] for name in vars(query)))
    assert match_pair(none, reference, 0.8).shape == (0, 2)
