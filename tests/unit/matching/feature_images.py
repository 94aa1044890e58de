"""Synthetic features, with as many ties as one likes."""

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.features import Features, ImageFeatures


def image_of(descriptors: NDArray[np.generic]) -> ImageFeatures:
    """An image with these descriptors and made-up keypoints."""
    count = len(descriptors)
    rng = np.random.default_rng(count)
    return ImageFeatures(
        descriptors,
        rng.uniform(0, 200, (count, 2)).astype(np.float32),
        np.ones(count, np.float32),
        np.arange(count, dtype=np.float32),
    )


def byte_images(counts: list[int], *, seed: int, values: int = 256) -> Features:
    """Random byte descriptors; a small `values` gives many equal distances."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, values, (40, 128), dtype=np.uint8)
    images = []
    for count in counts:
        base = pool[rng.integers(0, len(pool), count)]
        noise = rng.integers(0, max(values // 8, 1), base.shape, dtype=np.uint8)
        images.append(image_of(np.where(rng.random(base.shape) < 0.3, base ^ noise, base)))
    return Features.pack(images)
