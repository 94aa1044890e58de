"""Check a candidate by geometry: matches of one animal move together. In: features of two images.

Out: how many matches agree on one transform, and which (for drawing them).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Geometry
from reid_ray.matching.features import ImageFeatures

_NEEDED: dict[Geometry, int] = {"homography": 4, "affine": 3, "fundamental": 8}
_ITERATIONS = 2000
_CONFIDENCE = 0.999


def match_pair(
    query: ImageFeatures, reference: ImageFeatures, threshold: float, *, mutual: bool = False
) -> NDArray[np.int64]:
    """Matches by the ratio test on squared distances: rows (query, reference keypoint), int64 [m,
    2].

    Query descriptors look for their nearest two among the reference's. Plain numpy: for few pairs.
    """
    if len(query) < 2 or len(reference) < 2:
        return np.zeros((0, 2), np.int64)
    a, b = query.descriptors.astype(np.float32), reference.descriptors.astype(np.float32)
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    nearest = squared.argmin(axis=1)
    two = np.partition(squared, 1, axis=1)[:, :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        passing = two[:, 0] / two[:, 1] < np.float32(threshold)
    if mutual:
        passing &= squared.argmin(axis=0)[nearest] == np.arange(len(a))
    return np.stack([np.flatnonzero(passing), nearest[passing]], axis=1)


def inlier_mask(
    query: ImageFeatures,
    reference: ImageFeatures,
    matches: NDArray[np.int64],
    model: Geometry,
    reprojection_px: float,
) -> NDArray[np.bool_]:
    """Which of the matches [m, 2] agree on one transform (MAGSAC, Barath et al. 2020), bool [m]; none where
    there are too few to find one.
    """
    nothing = np.zeros(len(matches), bool)
    if len(matches) < _NEEDED[model]:
        return nothing
    source = reference.points_xy[matches[:, 1]]
    target = query.points_xy[matches[:, 0]]
    if model == "homography":
        found, mask = cv2.findHomography(
            source, target, cv2.USAC_MAGSAC, reprojection_px, maxIters=_ITERATIONS, confidence=_CONFIDENCE
        )
    elif model == "fundamental":
        found, mask = cv2.findFundamentalMat(
            source, target, cv2.USAC_MAGSAC, reprojection_px, _CONFIDENCE, _ITERATIONS
        )
    else:
        found, mask = cv2.estimateAffine2D(
            source,
            target,
            method=cv2.USAC_MAGSAC,
            ransacReprojThreshold=reprojection_px,
            maxIters=_ITERATIONS,
            confidence=_CONFIDENCE,
        )
    if found is None or mask is None:
        return nothing
    return np.asarray(mask.ravel(), bool)
