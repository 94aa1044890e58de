"""Draw the place and the light of an encounter; they know nothing of who is photographed in it.

In: a habitat and a random generator. Out: an `Encounter`: a background larger than a photo,
light and what stands in front of the animal. Legend: h, w photo height and width in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Habitat = Literal["savanna", "bush", "sea", "ice"]

MARGIN = 1.3
"""A background is so much larger than a photo, so that the camera can pan and zoom."""


@dataclass(frozen=True)
class Encounter:
    """One place at one time.

    Attributes:
        background: float32 [H, W, 3] in 0..1, MARGIN times a photo.
        light: direction the light comes from (x to the right, y down, z to the camera), length 1.
        ambient: brightness of what the light does not reach, 0..1.
        tint: RGB factor of the light.
        blade_rgb: colours of grass, branches, snow or spray in front of the animal, [k, 3].
    """

    habitat: Habitat
    background: Image
    light: NDArray[np.float32]
    ambient: float
    tint: NDArray[np.float32]
    blade_rgb: Image


def draw_encounter(rng: np.random.Generator, habitat: Habitat, *, size_hw: tuple[int, int]) -> Encounter:
    """Draw a place of the habitat in some weather."""
    size = (round(size_hw[0] * MARGIN), round(size_hw[1] * MARGIN))
    background, blades = _PLACES[habitat](rng, size)
    angle = rng.uniform(-1.1, 1.1)
    light = np.array([np.sin(angle) * 0.8, -np.cos(angle) * 0.8, 0.65], np.float32)
    warmth = rng.uniform(-0.03, 0.06)
    exposure = rng.uniform(0.92, 1.08)
    tint = np.array([1 + warmth, 1 + 0.25 * warmth, 1 - warmth], np.float32) * np.float32(exposure)
    return Encounter(
        habitat=habitat,
        background=np.clip(_defocus(background) * tint, 0, 1).astype(np.float32),
        light=light / np.linalg.norm(light),
        ambient=float(rng.uniform(0.55, 0.70)),
        tint=tint,
        blade_rgb=np.clip(blades * tint, 0, 1).astype(np.float32),
    )


def _defocus(background: Image) -> Image:
    """Behind the plane of focus: softer, paler and flatter than the animal."""
    soft = cv2.GaussianBlur(background, (0, 0), background.shape[0] * 0.004)
    grey = soft.mean(axis=2, keepdims=True)
    muted = grey + 0.85 * (soft - grey)
    return np.asarray(0.55 + 0.82 * (muted - 0.55), np.float32)


def cloud(rng: np.random.Generator, size: tuple[int, int], *, coarsest: float, octaves: int = 4) -> Image:
    """Fractal noise [h, w] about 0, standard deviation near 1; `coarsest` features per width."""
    height, width = size
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        across = max(2, round(coarsest * 2**octave))
        down = max(2, round(across * height / width))
        grid = rng.standard_normal((min(down, height), min(across, width)), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
    return total


Place = tuple[Image, Image]


def _savanna(rng: np.random.Generator, size: tuple[int, int]) -> Place:
    """Grass to the horizon, hills, acacias."""
    y, _ = _grid(size)
    horizon = rng.uniform(0.22, 0.48)
    grass = _pick(rng, [(0.74, 0.63, 0.36), (0.62, 0.60, 0.32), (0.50, 0.56, 0.28), (0.72, 0.54, 0.34)])
    image = _sky(rng, size)
    ridge = horizon - 0.05 - 0.03 * cloud(rng, (1, size[1]), coarsest=4, octaves=3)
    image = _over(image, _jitter(rng, (0.50, 0.55, 0.56)), _below(y, ridge, size))
    for _ in range(rng.integers(0, 5)):
        image = _acacia(rng, image, horizon)
    ground = _ground(rng, size, grass, horizon=horizon)
    ground *= (0.80 + 0.35 * (y - horizon))[..., None]
    image = _over(image, ground, _below(y, np.full((1, size[1]), horizon), size))
    tufts = np.stack([grass * f for f in (0.65, 0.85, 1.1)])
    return _strokes(rng, image, tufts, count=420, above=horizon, length=0.06), tufts


def _bush(rng: np.random.Generator, size: tuple[int, int]) -> Place:
    """Leaves out of focus, trunks, a strip of ground."""
    y, _ = _grid(size)
    leaf = _pick(rng, [(0.28, 0.38, 0.20), (0.36, 0.40, 0.22), (0.22, 0.30, 0.20), (0.42, 0.38, 0.24)])
    image = _texture(rng, size, leaf, fine=0.10, coarse=0.16)
    image = _bokeh(rng, image, leaf)
    for _ in range(rng.integers(1, 5)):
        image = _trunk(rng, image)
    floor = _pick(rng, [(0.55, 0.45, 0.32), (0.47, 0.46, 0.28), (0.60, 0.52, 0.40)])
    edge = rng.uniform(0.55, 0.78) + 0.02 * cloud(rng, (1, size[1]), coarsest=6, octaves=3)
    ground = _ground(rng, size, floor, horizon=float(edge.min()) - 0.1)
    image = _over(image, ground, _below(y, edge, size))
    twigs = np.stack([leaf * 0.6, leaf * 1.25, _jitter(rng, (0.33, 0.25, 0.17))])
    return _strokes(rng, image, twigs, count=90, above=float(edge.mean()) - 0.05, length=0.08), twigs


def _sea(rng: np.random.Generator, size: tuple[int, int]) -> Place:
    """Water with swell, a far shore."""
    y, x = _grid(size)
    horizon = rng.uniform(0.08, 0.34)
    water = _pick(rng, [(0.20, 0.34, 0.42), (0.28, 0.40, 0.42), (0.16, 0.28, 0.40), (0.36, 0.45, 0.50)])
    image = _sky(rng, size)
    ridge = horizon - np.maximum(0, 0.04 + 0.04 * cloud(rng, (1, size[1]), coarsest=3, octaves=4))
    image = _over(image, _jitter(rng, (0.38, 0.45, 0.47)), _below(y, ridge, size))
    depth = np.maximum(y - horizon, 0.01)
    wobble = cloud(rng, size, coarsest=4, octaves=4)
    swell = np.sin(2 * np.pi * (rng.uniform(7, 12) * np.log(depth + 0.05) + 0.8 * wobble + 2 * x))
    ripple = cloud(rng, (size[0], max(2, size[1] // 4)), coarsest=12, octaves=4)
    ripple = np.asarray(cv2.resize(ripple, (size[1], size[0])), np.float32)
    sea = water * (1 + 0.14 * swell + 0.13 * ripple)[..., None]
    image = _over(image, sea, _below(y, np.full((1, size[1]), horizon), size))
    return image, np.array([(0.93, 0.95, 0.96), (0.80, 0.86, 0.90), (0.98, 0.98, 0.98)], np.float32)


def _ice(rng: np.random.Generator, size: tuple[int, int]) -> Place:
    """Snow with drifts and blue cracks below a pale sky, or open water behind the floe."""
    y, _ = _grid(size)
    horizon = rng.uniform(0.12, 0.42)
    colours = [(0.86, 0.89, 0.93), (0.80, 0.85, 0.91), (0.90, 0.90, 0.89), (0.74, 0.80, 0.88)]
    snow = np.array(colours[int(rng.integers(len(colours)))], np.float32) * np.float32(
        rng.uniform(0.85, 1.05)
    )
    image = _sky(rng, size)
    if rng.random() < 0.5:
        far = _texture(rng, size, _jitter(rng, (0.30, 0.42, 0.50)), fine=0.06, coarse=0.05)
        image = _over(image, far, _below(y, np.full((1, size[1]), horizon - 0.10), size))
    edge = horizon + 0.02 * cloud(rng, (1, size[1]), coarsest=6, octaves=4)
    drift = cloud(rng, size, coarsest=3, octaves=4)
    slope = cv2.Sobel(drift, cv2.CV_32F, 0, 1) * np.float32(size[0] / 260)
    ground = snow * (1 + 0.02 * drift + 0.4 * np.clip(slope, -0.2, 0.12))[..., None]
    ground = np.clip(ground, 0, 1).astype(np.float32)
    image = _over(image, ground, _below(y, edge, size))
    return image, np.stack([snow * 0.93, snow, np.minimum(snow * 1.06, 1)])


_PLACES: dict[Habitat, Callable[[np.random.Generator, tuple[int, int]], Place]] = {
    "savanna": _savanna,
    "bush": _bush,
    "sea": _sea,
    "ice": _ice,
}


def _grid(size: tuple[int, int]) -> tuple[Image, Image]:
    """y and x of the pixels, each from 0 to 1."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    return y / np.float32(size[0]), x / np.float32(size[1])


def _pick(rng: np.random.Generator, colours: list[tuple[float, float, float]]) -> NDArray[np.float32]:
    return _jitter(rng, colours[int(rng.integers(len(colours)))])


def _jitter(rng: np.random.Generator, colour: tuple[float, float, float]) -> NDArray[np.float32]:
    return (np.array(colour) * rng.uniform(0.96, 1.04, 3) * rng.uniform(0.88, 1.1)).astype(np.float32)


def _sky(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    y, _ = _grid(size)
    top = _pick(rng, [(0.45, 0.63, 0.85), (0.68, 0.74, 0.80), (0.58, 0.70, 0.84)])
    low = _pick(rng, [(0.86, 0.89, 0.92), (0.93, 0.85, 0.74), (0.84, 0.86, 0.86)])
    image = _over(np.broadcast_to(top, (*size, 3)), low, np.clip(y * 2.2, 0, 1))
    return _over(image, np.ones(3, np.float32), np.clip(0.25 * cloud(rng, size, coarsest=3), 0, 0.7))


def _texture(
    rng: np.random.Generator,
    size: tuple[int, int],
    colour: NDArray[np.float32],
    *,
    fine: float,
    coarse: float,
) -> Image:
    grain = fine * cloud(rng, size, coarsest=40, octaves=3) + coarse * cloud(rng, size, coarsest=4, octaves=3)
    return np.asarray(np.clip(colour * (1 + grain)[..., None], 0, 1), np.float32)


def _ground(
    rng: np.random.Generator, size: tuple[int, int], colour: NDArray[np.float32], *, horizon: float
) -> Image:
    """A plain in perspective: its texture is fine and flat far away, coarse nearby."""
    y, x = _grid(size)
    depth = 1 / np.maximum(y - horizon + 0.06, 0.06)
    plain = cloud(rng, (256, 256), coarsest=8, octaves=5)
    at_x = ((x - 0.5) * depth * 60 + 128).astype(np.float32)
    at_y = (depth * 55 + 20).astype(np.float32)
    near = cv2.remap(plain, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    grain = 0.07 * near + 0.05 * cloud(rng, size, coarsest=90, octaves=2)
    return np.asarray(np.clip(colour * (1 + grain)[..., None], 0, 1), np.float32)


def _below(y: Image, edge: NDArray[np.float32] | NDArray[np.float64], size: tuple[int, int]) -> Image:
    """1 below the line `edge` [1, w], with a soft border of two pixels."""
    return np.clip((y - edge) * size[0] / 2 + 0.5, 0, 1).astype(np.float32)


def _over(below: Image, above: NDArray[np.float32], share: Image) -> Image:
    return np.asarray(below + (above - below) * share[..., None], np.float32)


def _strokes(
    rng: np.random.Generator, image: Image, colours: Image, *, count: int, above: float, length: float
) -> Image:
    """Tufts and stones of the ground: short upright strokes, larger when nearer."""
    height, width = image.shape[:2]
    image = np.ascontiguousarray(image)
    foot_y = np.sort(rng.uniform(above, 1.05, count))
    for y in foot_y:
        near = (y - above) / (1.05 - above)
        rise = length * (0.2 + 0.9 * near) * rng.uniform(0.5, 1.2) * height
        x, lean = rng.uniform(0, width), rng.normal(0, 0.35) * rise
        ends = (int(x), int(y * height)), (int(x + lean), int(y * height - rise))
        shade = tuple(float(c) for c in colours[int(rng.integers(len(colours)))])
        cv2.line(image, *ends, shade, 1 + int(near * height / 170), cv2.LINE_AA)
    return image


def _bokeh(rng: np.random.Generator, image: Image, colour: NDArray[np.float32]) -> Image:
    height, width = image.shape[:2]
    sheet = np.zeros((height, width), np.float32)
    for _ in range(60):
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        radius = int(rng.uniform(0.01, 0.05) * width)
        cv2.circle(sheet, centre, radius, float(rng.uniform(-0.3, 0.4)), -1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(sheet, (0, 0), 0.006 * width), np.float32)
    return np.clip(image + (colour * 1.6 + 0.1) * soft[..., None], 0, 1).astype(np.float32)


def _trunk(rng: np.random.Generator, image: Image) -> Image:
    height, width = image.shape[:2]
    foot, lean = rng.uniform(0, width), rng.normal(0, 0.12) * width
    half = rng.uniform(0.008, 0.03) * width
    corners = np.array(
        [
            (foot - half, height),
            (foot + half, height),
            (foot + lean + half / 2, 0),
            (foot + lean - half / 2, 0),
        ]
    )
    shade = tuple(float(c) for c in _jitter(rng, (0.30, 0.24, 0.18)))
    image = np.ascontiguousarray(image)
    cv2.fillPoly(image, [np.round(corners).astype(np.int32)], shade, cv2.LINE_AA)
    return image


def _acacia(rng: np.random.Generator, image: Image, horizon: float) -> Image:
    """A flat-topped tree standing on the horizon."""
    height, width = image.shape[:2]
    tall = rng.uniform(0.08, 0.24) * height
    x, foot = rng.uniform(0, width), (horizon + 0.02) * height
    shade = tuple(float(c) for c in _jitter(rng, (0.30, 0.36, 0.24)))
    image = np.ascontiguousarray(image)
    cv2.line(
        image, (int(x), int(foot)), (int(x), int(foot - tall)), shade, max(2, int(tall / 11)), cv2.LINE_AA
    )
    for _ in range(8):
        centre = (int(x + rng.uniform(-0.5, 0.5) * tall), int(foot - tall * rng.uniform(0.92, 1.06)))
        axes = (int(tall * rng.uniform(0.3, 0.5)), int(tall * rng.uniform(0.05, 0.1)))
        cv2.ellipse(image, centre, axes, 0, 0, 360, shade, -1, cv2.LINE_AA)
    return image
