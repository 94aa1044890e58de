"""Grow coat patterns by a Turing-type process, for many animals at once.

The Swift-Hohenberg equation is the normal form of Turing's instability (Cross and Hohenberg,
Reviews of Modern Physics 65, 1993): one wavelength grows out of noise and saturates; a quadratic
term turns stripes into spots. Solved semi-implicitly in Fourier space. Legend: n patterns, h, w
grid cells.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Fields = NDArray[np.float32]

_STEPS = 60
_TIME_STEP = 1.0


def grow(
    noise: Fields,
    *,
    wavelength: NDArray[np.float64],
    direction_rad: NDArray[np.float64],
    stretch: float,
    quadratic: float,
    drive: float,
) -> Fields:
    """Patterns [n, h, w] with mean about 0 and standard deviation 1, periodic at the borders.

    Args:
        noise: [n, h, w] standard normal; the pattern's seed, so what makes two animals differ.
        wavelength: [n] in cells.
        direction_rad: [n] of the wave, that is across the stripes; 0 varies along x.
        stretch: how strongly other directions are damped; 0 has no direction at all.
        quadratic: 0 stripes, about 1 spots that are high, about -1 spots that are low.
        drive: how far beyond the instability; near 0 and `quadratic` 1 only spots survive.
    """
    damping = _damping(noise.shape, wavelength, direction_rad, stretch)
    implicit = (1 / (1 + _TIME_STEP * (damping - drive))).astype(np.float32)
    band = (1 / (1 + damping) ** 4).astype(np.float32)
    field = scipy.fft.irfft2(scipy.fft.rfft2(noise) * band, s=noise.shape[1:])
    field *= np.float32(0.3) / field.std(axis=(1, 2), keepdims=True)
    for _ in range(_STEPS):
        field = field + np.float32(_TIME_STEP) * field * field * (np.float32(quadratic) - field)
        field = scipy.fft.irfft2(scipy.fft.rfft2(field) * implicit, s=noise.shape[1:])
    field -= field.mean(axis=(1, 2), keepdims=True)
    return np.asarray(field / field.std(axis=(1, 2), keepdims=True), np.float32)


def _damping(
    shape: tuple[int, ...],
    wavelength: NDArray[np.float64],
    direction_rad: NDArray[np.float64],
    stretch: float,
) -> NDArray[np.float64]:
    """[n, h, w // 2 + 1]: 0 for the chosen wave, growing with the distance from it."""
    ky = scipy.fft.fftfreq(shape[1])[:, None]
    kx = scipy.fft.rfftfreq(shape[2])[None, :]
    relative = (kx**2 + ky**2) * wavelength[:, None, None] ** 2
    turn = np.arctan2(ky, kx) - direction_rad[:, None, None]
    return np.asarray((1 - relative) ** 2 + stretch * np.sin(turn) ** 2 * np.minimum(relative, 1))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], *, cells: float) -> Fields:
    """Gaussian noise [h, w] with standard deviation 1 and features about `cells` wide."""
    spectrum = scipy.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    ky, kx = scipy.fft.fftfreq(shape[0])[:, None], scipy.fft.rfftfreq(shape[1])[None, :]
    spectrum *= np.exp(-((kx**2 + ky**2) * (2 * cells) ** 2)).astype(np.float32)
    spectrum[0, 0] = 0
    field = scipy.fft.irfft2(spectrum, s=shape)
    return np.asarray(field / field.std(), np.float32)
