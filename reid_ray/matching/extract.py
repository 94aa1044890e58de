"""Take local features with the extractor the config names. In: RGB images. Out: `Features`."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Extractor, Sift
from reid_ray.matching import sift
from reid_ray.matching.features import Features


def extract(images: Iterable[NDArray[np.uint8]], config: Extractor) -> Features:
    """Features of RGB images [H, W, 3], in the given order."""
    if isinstance(config, Sift):
        return sift.extract(images, config)
    # torch's layers are imported only where they are needed: SIFT workers start faster.
    from reid_ray.matching import superpoint

    return superpoint.extract(images, config)
