"""SIFT keypoints (Lowe 2004) by OpenCV. In: uint8 RGB images. Out: byte descriptors, packed."""

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Sift
from reid_ray.matching.features import Features, ImageFeatures

ROOT_SCALE = 512.0
"""RootSIFT has unit length; times this it fits bytes as OpenCV's SIFT does (which uses 512, too).
"""


def extract(images: Iterable[NDArray[np.uint8]], config: Sift) -> Features:
    """Features of RGB images [H, W, 3], from their grey version.

    OpenCV's float descriptors are whole numbers from 0 to 255, so bytes lose nothing.
    """
    detector = cv2.SIFT.create(contrastThreshold=config.contrast_threshold)
    return Features.pack(_extract_one(image, detector, config) for image in images)


def _extract_one(image: NDArray[np.uint8], detector: cv2.SIFT, config: Sift) -> ImageFeatures:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = detector.detectAndCompute(grey, None)
    height, width = grey.shape
    if descriptors is None:
        return ImageFeatures(
            np.zeros((0, 128), np.uint8),
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            (width, height),
        )
    found = ImageFeatures(
        descriptors.astype(np.uint8),
        np.array([point.pt for point in keypoints], np.float32),
        np.array([point.size for point in keypoints], np.float32),
        np.array([point.response for point in keypoints], np.float32),
        (width, height),
        np.deg2rad(np.array([point.angle for point in keypoints], np.float32)),
    ).strongest(config.max_keypoints)
    if not config.root:
        return found
    return replace(found, descriptors=root(found.descriptors))


def root(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RootSIFT as bytes: L1-normalise, square root, times 512, rounded; above 255 (share > 0.248)
    cut.
    """
    sums = descriptors.sum(axis=1, keepdims=True, dtype=np.float32)
    shares = descriptors / np.maximum(sums, 1)
    scaled: NDArray[np.float32] = np.rint(np.sqrt(shares) * ROOT_SCALE)
    return np.clip(scaled, 0, 255).astype(np.uint8)
