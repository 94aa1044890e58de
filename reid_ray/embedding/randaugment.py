"""RandAugment (Cubuk et al. 2020) on one uint8 photo, with torchvision's operations and ranges.

In: uint8 [H, W, 3] and a generator. Out: the same shape. Drawn from an explicit generator, so that
it can run in threads and be repeated exactly, and several times as fast as the original: colour
operations are table look-ups, geometric ones a single warp.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
BINS = 31
"""Magnitudes are 0 .. 30; 30 is the strongest."""

_GREY = np.array([0.2989, 0.587, 0.114], np.float32)
_RAMP = np.arange(256, dtype=np.float32)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def rand_augment(image: Pixels, rng: np.random.Generator, *, ops: int, magnitude: int) -> Pixels:
    """Apply `ops` operations drawn with replacement, at `magnitude` 0..30 with a random sign."""
    names = list(OPERATIONS)
    for choice in rng.integers(len(names), size=ops):
        sign = 1 if rng.random() > 0.5 else -1
        image = OPERATIONS[names[choice]](image, magnitude / (BINS - 1), sign)
    return image


def _identity(image: Pixels, strength: float, sign: int) -> Pixels:
    return image


def _shear_x(image: Pixels, strength: float, sign: int) -> Pixels:
    return _warp(image, [[1, 0.3 * strength * sign, 0], [0, 1, 0]], centre=(0, 0))


def _shear_y(image: Pixels, strength: float, sign: int) -> Pixels:
    return _warp(image, [[1, 0, 0], [0.3 * strength * sign, 1, 0]], centre=(0, 0))


def _translate_x(image: Pixels, strength: float, sign: int) -> Pixels:
    shift = int(150 / 331 * image.shape[1] * strength) * sign
    return _warp(image, [[1, 0, -shift], [0, 1, 0]], centre=(0, 0))


def _translate_y(image: Pixels, strength: float, sign: int) -> Pixels:
    shift = int(150 / 331 * image.shape[0] * strength) * sign
    return _warp(image, [[1, 0, 0], [0, 1, -shift]], centre=(0, 0))


def _rotate(image: Pixels, strength: float, sign: int) -> Pixels:
    angle = np.deg2rad(30 * strength * sign)
    cos, sin = np.cos(angle), np.sin(angle)
    height, width = image.shape[:2]
    return _warp(image, [[cos, -sin, 0], [sin, cos, 0]], centre=(width / 2, height / 2))


def _brightness(image: Pixels, strength: float, sign: int) -> Pixels:
    return _look_up(image, _to_bytes(_RAMP * (1 + 0.9 * strength * sign)))


def _colour(image: Pixels, strength: float, sign: int) -> Pixels:
    factor = np.float32(1 + 0.9 * strength * sign)
    grey = np.floor(cv2.transform(image.astype(np.float32), _GREY.reshape(1, 3)))
    return _to_bytes(image * factor + grey.reshape(*image.shape[:2], 1) * (1 - factor))


def _contrast(image: Pixels, strength: float, sign: int) -> Pixels:
    factor = 1 + 0.9 * strength * sign
    grey = np.floor(cv2.transform(image.astype(np.float32), _GREY.reshape(1, 3)))
    return _look_up(image, _to_bytes(_RAMP * factor + float(grey.mean()) * (1 - factor)))


def _sharpness(image: Pixels, strength: float, sign: int) -> Pixels:
    factor = 1 + 0.9 * strength * sign
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    inner = np.s_[1:-1, 1:-1]
    sharp = image.copy()
    # addWeighted rounds where the original cuts off; at most one grey level apart.
    sharp[inner] = cv2.addWeighted(image[inner], factor, smooth[inner], 1 - factor, 0)
    return sharp


def _posterize(image: Pixels, strength: float, sign: int) -> Pixels:
    bits = 8 - round(4 * strength)
    return image & np.uint8(256 - 2 ** (8 - bits))


def _solarize(image: Pixels, strength: float, sign: int) -> Pixels:
    return _look_up(image, _to_bytes(np.where(255 * (1 - strength) > _RAMP, _RAMP, 255 - _RAMP)))


def _auto_contrast(image: Pixels, strength: float, sign: int) -> Pixels:
    # Rows first: numpy is ten times as fast on long lines as on columns of three.
    low = image.min(axis=0).min(axis=0).astype(np.float32)
    high = image.max(axis=0).max(axis=0).astype(np.float32)
    span = np.where(high > low, high - low, 255)
    low = np.where(high > low, low, 0)
    return _look_up(image, _to_bytes((_RAMP[:, None] - low) * 255 / span).reshape(256, 1, 3))


def _equalize(image: Pixels, strength: float, sign: int) -> Pixels:
    table = np.stack([_equal_table(image, channel) for channel in range(3)], axis=-1)
    return _look_up(image, table.reshape(256, 1, 3))


def _equal_table(image: Pixels, channel: int) -> Pixels:
    """Pillow's table: cumulated counts of the darker values over a step, so that 0 stays 0."""
    counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).reshape(-1).astype(np.int64)
    step = int(counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return np.arange(256, dtype=np.uint8)
    below = np.concatenate([[0], counts.cumsum()[:-1]])
    return _to_bytes((below + step // 2) // step)


def _warp(image: Pixels, inverse: list[list[float]], *, centre: tuple[float, float]) -> Pixels:
    """Nearest-neighbour warp, black outside; `inverse` maps result to source about `centre`.

    Coordinates are those of pixel corners, as torchvision's, so centres of pixels lie at halves.
    """
    matrix = np.array(inverse, np.float64)
    middle = np.array(centre) - 0.5
    matrix[:, 2] += middle - matrix[:, :2] @ middle
    size = (image.shape[1], image.shape[0])
    warped: Pixels = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    return warped


def _look_up(image: Pixels, table: Pixels) -> Pixels:
    found: Pixels = cv2.LUT(image, table)
    return found


def _to_bytes(values: NDArray[np.floating] | NDArray[np.int64]) -> Pixels:
    """Clamp to 0..255 and cut off the fraction."""
    return np.clip(values, 0, 255).astype(np.uint8)


OPERATIONS: dict[str, Callable[[Pixels, float, int], Pixels]] = {
    "Identity": _identity,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": _brightness,
    "Color": _colour,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
}
