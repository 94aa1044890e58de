"""Draw what RandAugment (Cubuk et al. 2020) does to a photo, with torchvision's operations and ranges.

In: a generator. Out: codes and signs for `pixel_loops.operate`. Drawn from an explicit generator, so
that it can run in threads and be repeated exactly, and several times as fast as the original: each
operation is a pass or two over the pixels, from one array that is there already to another.
"""

import numpy as np
from numpy.typing import NDArray

from reid_ray.embedding import pixel_loops

Codes = NDArray[np.int64]

BINS = 31
"""Magnitudes are 0 .. 30; 30 is the strongest."""

OPERATIONS = {
    "Identity": pixel_loops.IDENTITY,
    "ShearX": pixel_loops.SHEAR_X,
    "ShearY": pixel_loops.SHEAR_Y,
    "TranslateX": pixel_loops.TRANSLATE_X,
    "TranslateY": pixel_loops.TRANSLATE_Y,
    "Rotate": pixel_loops.ROTATE,
    "Brightness": pixel_loops.BRIGHTNESS,
    "Color": pixel_loops.COLOUR,
    "Contrast": pixel_loops.CONTRAST,
    "Sharpness": pixel_loops.SHARPNESS,
    "Posterize": pixel_loops.POSTERIZE,
    "Solarize": pixel_loops.SOLARIZE,
    "AutoContrast": pixel_loops.AUTO_CONTRAST,
    "Equalize": pixel_loops.EQUALIZE,
}
"""Codes by torchvision's names."""


def draw(rng: np.random.Generator, ops: int) -> tuple[Codes, Codes]:
    """(codes, signs) of `ops` operations drawn with replacement; less those that change nothing."""
    codes = rng.integers(len(OPERATIONS), size=ops)
    signs = np.where(rng.random(ops) > 0.5, 1, -1)
    kept = codes != pixel_loops.IDENTITY
    return codes[kept], signs[kept]
