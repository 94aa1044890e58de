"""Patterns grow with the wavelength, direction and kind that were asked for."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from reid_ray.datasets.synthetic.turing import grow, smooth_noise


def grown(
    wavelength: float, *, quadratic: float, drive: float, stretch: float = 0.0, turn: float = 0.0
) -> NDArray[np.float32]:
    noise = np.random.default_rng(3).standard_normal((2, 96, 128), dtype=np.float32)
    return grow(
        noise,
        wavelength=np.full(2, wavelength),
        direction_rad=np.full(2, turn),
        stretch=stretch,
        quadratic=quadratic,
        drive=drive,
    )


def strongest_wave(field: NDArray[np.float32]) -> tuple[float, float]:
    """Wavelength (cells) and direction (radians, modulo pi) of the largest Fourier coefficient."""
    power = np.abs(np.fft.fft2(field)) ** 2
    row, column = np.unravel_index(np.argmax(power), power.shape)
    ky, kx = np.fft.fftfreq(field.shape[0])[row], np.fft.fftfreq(field.shape[1])[column]
    return 1 / float(np.hypot(kx, ky)), float(np.arctan2(ky, kx)) % np.pi


@pytest.mark.parametrize("wavelength", [6.0, 9.0, 16.0])
def test_the_strongest_wave_has_the_wavelength_asked_for(wavelength: float) -> None:
    for quadratic, drive in ((0.0, 0.35), (1.0, 0.0)):
        found, _ = strongest_wave(grown(wavelength, quadratic=quadratic, drive=drive)[0])
        assert found == pytest.approx(wavelength, rel=0.15)


@pytest.mark.parametrize("turn", [0.0, 0.6, 1.5])
def test_stripes_run_across_the_direction_asked_for(turn: float) -> None:
    _, found = strongest_wave(grown(9.0, quadratic=0.0, drive=0.35, stretch=1.6, turn=turn)[0])
    assert abs((found - turn + np.pi / 2) % np.pi - np.pi / 2) < 0.2


def test_spots_are_round_and_stripes_are_long() -> None:
    """Length to width of the high regions, from their second moments."""

    def elongation(field: NDArray[np.float32]) -> float:
        labels, count = ndimage.label(field > 0.8)
        ratios = []
        for index in range(1, count + 1):
            where = np.argwhere(labels == index)
            if len(where) > 8:
                small, large = np.linalg.eigvalsh(np.cov(where.T))
                ratios.append(np.sqrt(large / max(small, 0.1)))
        return float(np.median(ratios))

    assert elongation(grown(12.0, quadratic=1.0, drive=0.0)[0]) < 1.6
    assert elongation(grown(12.0, quadratic=0.0, drive=0.35, stretch=1.6)[0]) > 4


def test_patterns_are_standardised_finite_and_differ_with_the_noise() -> None:
    first, second = grown(9.0, quadratic=1.0, drive=0.0)
    for field in (first, second):
        assert np.isfinite(field).all()
        assert field.mean() == pytest.approx(0, abs=1e-4)
        assert field.std() == pytest.approx(1, abs=1e-3)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.15


def test_smooth_noise_is_correlated_over_its_width_and_not_beyond() -> None:
    field = smooth_noise(np.random.default_rng(0), (128, 128), cells=8)
    assert field.std() == pytest.approx(1, abs=1e-3)
    assert np.mean(field * np.roll(field, 4, axis=1)) > 0.5
    assert abs(np.mean(field * np.roll(field, 48, axis=1))) < 0.3
