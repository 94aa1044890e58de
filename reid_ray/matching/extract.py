"""Take local features with the extractor the config names. In: RGB images. Out: `Features`."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Cells, Extractor, LightGlue, LoFTR, Matching, Sift, SuperPoint
from reid_ray.matching import sift
from reid_ray.matching.features import Features


def resized(image: NDArray[np.uint8], short_px: int | None) -> NDArray[np.uint8]:
    """The image with its shorter side brought to `short_px`; None: as it is."""
    short = min(image.shape[:2])
    if short_px is None or short == short_px:
        return image
    height, width = (round(side * short_px / short) for side in image.shape[:2])
    way = cv2.INTER_AREA if short_px < short else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)


def extract(images: Iterable[NDArray[np.uint8]], config: Extractor) -> Features:
    """Features of RGB images [H, W, 3], in the given order."""
    if isinstance(config, Sift):
        return sift.extract(images, config)
    if isinstance(config, Cells):
        from reid_ray.matching import loftr

        return loftr.extract(images)
    # torch's layers are imported only where they are needed: SIFT workers start faster.
    if isinstance(config, SuperPoint):
        from reid_ray.matching import superpoint

        return superpoint.extract(images, config)
    from reid_ray.matching import learned

    return learned.extract(images, config)


def check_weights(config: Matching) -> None:
    """Read every file of weights that the method needs, before hours of work lead up to it.

    Raises:
        WeightsError: missing, unreadable, or of another network.
    """
    for extractor in (config.extractor, *config.alternatives):
        if isinstance(extractor, SuperPoint):
            from reid_ray.matching import superpoint

            superpoint.load(extractor.weights)
        elif not isinstance(extractor, Sift | Cells):
            from reid_ray.matching import learned

            learned.load(extractor)
    if isinstance(config.verify, LightGlue):
        from reid_ray.matching import lightglue

        lightglue.load(config.verify.weights, config.extractor.kind)
    if isinstance(config.verify, LoFTR):
        from reid_ray.matching import loftr

        loftr.load(config.verify.weights)
