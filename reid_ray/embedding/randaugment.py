"""RandAugment (Cubuk et al. 2020) on one uint8 photo, with torchvision's operations and ranges.

In: uint8 [H, W, 3] and a generator. Out: the same shape. Drawn from an explicit generator, so that
it can run in threads and be repeated exactly, and several times as fast as the original: each
operation is a pass or two over the pixels, from one array that is there already to another.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reid_ray.embedding import pixel_loops

Pixels = NDArray[np.uint8]
Operation = Callable[[Pixels, Pixels, float, int], None]
"""Called with a photo, where its result goes, strength 0..1 and sign; both arrays contiguous."""

BINS = 31
"""Magnitudes are 0 .. 30; 30 is the strongest."""


def draw(rng: np.random.Generator, ops: int) -> list[tuple[Operation, int]]:
    """`ops` operations drawn with replacement, each with a sign; less those that change nothing."""
    names = list(OPERATIONS)
    drawn = [
        (names[i], 1 if rng.random() > 0.5 else -1) for i in rng.integers(len(names), size=ops)
    ]
    return [(OPERATIONS[name], sign) for name, sign in drawn if name != "Identity"]


def _identity(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    np.copyto(out, source)


def _shear_x(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    pixel_loops.shift_rows(_rows(source), _rows(out), 0, 0, 0.3 * strength * sign)


def _shear_y(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    _warp(source, out, [[1, 0, 0], [0.3 * strength * sign, 1, 0]], centre=(0, 0))


def _translate_x(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    right = int(150 / 331 * source.shape[1] * strength) * sign
    pixel_loops.shift_rows(_rows(source), _rows(out), right, 0, 0.0)


def _translate_y(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    down = int(150 / 331 * source.shape[0] * strength) * sign
    pixel_loops.shift_rows(_rows(source), _rows(out), 0, down, 0.0)


def _rotate(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    angle = np.deg2rad(30 * strength * sign)
    cos, sin = np.cos(angle), np.sin(angle)
    height, width = source.shape[:2]
    _warp(source, out, [[cos, -sin, 0], [sin, cos, 0]], centre=(width / 2, height / 2))


def _brightness(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    factor = np.float32(1 + 0.9 * strength * sign)
    pixel_loops.scale(_rows(source), _rows(out), factor, np.float32(0))


def _colour(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    pixel_loops.saturate(_rows(source), _rows(out), np.float32(1 + 0.9 * strength * sign))


def _contrast(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    factor = 1 + 0.9 * strength * sign
    shift = pixel_loops.mean_grey(_rows(source)) * (1 - factor)
    pixel_loops.scale(_rows(source), _rows(out), np.float32(factor), np.float32(shift))


def _sharpness(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    pixel_loops.sharpen(_rows(source), _rows(out), np.float32(1 + 0.9 * strength * sign))


def _posterize(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    dropped = round(4 * strength)
    pixel_loops.keep_bits(_rows(source), _rows(out), np.uint8(256 - 2**dropped))


def _solarize(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    pixel_loops.invert_from(_rows(source), _rows(out), np.float32(255 * (1 - strength)))


def _auto_contrast(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    pixel_loops.look_up(source, out, pixel_loops.stretching_table(_rows(source)))


def _equalize(source: Pixels, out: Pixels, strength: float, sign: int) -> None:
    pixel_loops.look_up(source, out, pixel_loops.equalizing_table(source))


def _warp(
    source: Pixels, out: Pixels, inverse: list[list[float]], *, centre: tuple[float, float]
) -> None:
    """Nearest-neighbour warp, black outside; `inverse` maps result to source about `centre`.

    Coordinates are those of pixel corners, as torchvision's, so centres of pixels lie at halves.
    """
    matrix = np.array(inverse, np.float64)
    middle = np.array(centre) - 0.5
    matrix[:, 2] += middle - matrix[:, :2] @ middle
    pixel_loops.warp(source, out, matrix)


def _rows(image: Pixels) -> Pixels:
    """[H, W, 3] as rows of bytes [H, 3 W]."""
    return image.reshape(len(image), -1)


OPERATIONS: dict[str, Operation] = {
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
