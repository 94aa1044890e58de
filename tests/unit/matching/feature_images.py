"""Synthetic features, with as many ties as one likes."""

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.encounters import same_encounter
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.scoring import References, Setting, score_views


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


def score_block(
    queries: Features,
    encounters_q: NDArray[np.int64],
    references: References,
    config: Matching,
    setting: Setting,
) -> NDArray[np.float32]:
    """Scores [q, g], without what shows the own encounter where the config leaves that out."""
    out = np.zeros((len(queries), len(references.packed)), bool)
    if config.exclude_same_encounter:
        out = same_encounter(encounters_q, references.encounters_g)
    return score_views(Packed.of(queries), queries, references, config, [(setting, out)])[0]
