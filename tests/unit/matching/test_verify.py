"""Geometry: a photo moved by a known transform is recognised, noise is not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reid_ray.config.matching import Verify
from reid_ray.matching.features import ImageFeatures
from reid_ray.matching.verify import inlier_mask, inliers, match_pair


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


@pytest.mark.parametrize("model", ["affine", "homography"])
def test_points_that_moved_together_are_inliers_and_the_others_are_not(model: str) -> None:
    query, reference = scene(shuffled=20)
    config = Verify.parse({"model": model, "reprojection_px": 2.0}, where="test")
    matches = match_pair(query, reference, 0.7)
    agree = inlier_mask(query, reference, matches, config)
    assert inliers(query, reference, config, threshold=0.7, mutual=True) == agree.sum()
    assert matches.tolist() == [[i, i] for i in range(60)]
    assert agree[20:].all()
    assert agree[:20].sum() <= 2


def test_too_few_matches_have_no_inliers() -> None:
    query, reference = scene(shuffled=0)
    few = ImageFeatures(*(getattr(query, name)[:2] for name in vars(query)))
    assert inliers(few, reference, Verify(), threshold=0.7) == 0
    none = ImageFeatures(*(getattr(query, name)[:0] for name in vars(query)))
    assert match_pair(none, reference, 0.8).shape == (0, 2)
