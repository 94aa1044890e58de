"""Paint the two flanks of an animal: its own pattern, on the body of its species.

In: a body and grown patterns. Out: RGBA float32 [h, w, 4] in 0..1 per flank. What makes an
individual is coarse as well as fine: wavelength, direction, boldness and tone are shared by both
flanks (as in nature); the layout of the pattern is independent from flank to flank. Legend: n
identities, f the 2 flanks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from reid_ray.datasets.synthetic.bodies import Body, Image
from reid_ray.datasets.synthetic.turing import Fields, grow, smooth_noise

CELLS = 128
"""Grid cells per canvas width of a grown pattern."""


@dataclass(frozen=True)
class Growth:
    """How a species' pattern grows; wavelengths in canvas widths."""

    wavelength: float
    stretch: float
    quadratic: float
    drive: float
    wavelength_spread: float = 0.45
    direction_spread_rad: float = 0.3


@dataclass(frozen=True)
class Traits:
    """What both flanks of one animal share; -1..1 where no unit is given."""

    wavelength: float
    direction_rad: float
    boldness: float
    tone: float
    warmth: float


@dataclass(frozen=True)
class Flank:
    """The patterns of one side on the grid [h, w], each with standard deviation 1.

    Attributes:
        pattern: the grown one.
        coarse: smooth noise as wide as a quarter of the body, for what varies from shoulder to
        rump.
        fine: smooth noise as wide as a wavelength, for irregular edges.
    """

    pattern: Fields
    coarse: Fields
    fine: Fields


@dataclass(frozen=True)
class Pattern:
    """One animal's traits and both its flanks (left, right)."""

    traits: Traits
    flanks: tuple[Flank, Flank]
    rng_seed: int


def grow_patterns(seeds: Sequence[int], growth: Growth, *, height: float) -> list[Pattern]:
    """Grow the patterns of several animals at once, each only from its own seed."""
    shape = (round(height * CELLS / 8) * 8, CELLS)
    traits = [_draw_traits(np.random.default_rng([seed, 1]), growth) for seed in seeds]
    rngs = [np.random.default_rng([seed, 2, side]) for seed in seeds for side in (0, 1)]
    grown = grow(
        np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs]),
        wavelength=np.repeat([t.wavelength * CELLS for t in traits], 2),
        direction_rad=np.repeat([t.direction_rad for t in traits], 2),
        stretch=growth.stretch,
        quadratic=growth.quadratic,
        drive=growth.drive,
    )
    flanks = [
        Flank(
            pattern=field,
            coarse=smooth_noise(rng, shape, cells=0.13 * CELLS),
            fine=smooth_noise(rng, shape, cells=0.02 * CELLS),
        )
        for field, rng in zip(grown, rngs, strict=True)
    ]
    return [
        Pattern(trait, (flanks[2 * i], flanks[2 * i + 1]), seed)
        for i, (trait, seed) in enumerate(zip(traits, seeds, strict=True))
    ]


def _draw_traits(rng: np.random.Generator, growth: Growth) -> Traits:
    spread = growth.wavelength_spread
    return Traits(
        wavelength=growth.wavelength * float(np.exp(rng.uniform(-spread, spread))),
        direction_rad=float(rng.uniform(-1, 1)) * growth.direction_spread_rad,
        boldness=float(rng.uniform(-1, 1)),
        tone=float(rng.uniform(-1, 1)),
        warmth=float(rng.uniform(-1, 1)),
    )


def paint_zebra(body: Body, pattern: Pattern, side: int) -> Image:
    """Black stripes on white: upright on the torso, oblique on neck and rump, level on the legs."""
    traits, flank = pattern.traits, pattern.flanks[side]
    x, y = body.x, body.y
    u = x + 0.75 * _rise(0.40, 0.24, x) * (y - 0.30) + 0.9 * _rise(0.55, 0.80, x) * (y - 0.25)
    legs = _rise(body.plan.legs_y - 0.03, body.plan.legs_y + 0.05, y)
    u = np.asarray(u * (1 - legs) + (0.35 * x + 1.15 * y) * legs, np.float32)
    bend = 0.03 * _sample(flank.coarse, x, y)
    wave = _sample(flank.pattern, u + bend, y + bend)
    bold = 0.75 * traits.boldness + 0.70 * _sample(flank.coarse, y, x) - 0.1
    stripe = _step(wave + bold, sharpness=7) * (1 - 0.7 * body.pale)
    white = _between(_rgb(0.96, 0.96, 0.95), _rgb(0.88, 0.76, 0.56), traits.tone)
    black = _between(_rgb(0.08, 0.08, 0.09), _rgb(0.30, 0.19, 0.12), traits.warmth)
    return _finish(body, _mix(np.broadcast_to(white, (*x.shape, 3)), black, stripe), tuft=black)


def paint_leopard(body: Body, pattern: Pattern, side: int) -> Image:
    """Broken rosettes on tawny fur, turning into solid spots on legs, head and tail."""
    traits, flank = pattern.traits, pattern.flanks[side]
    x, y = body.x, body.y
    dx, dy = _wobble(flank, x, y, coarse=0.022, fine=0.005)
    rose = _sample(flank.pattern, x + dx, y + dy) + 0.55 * _sample(flank.coarse, x, y)
    rose += 0.25 * _sample(flank.fine, x, y + 0.5)
    inner = _step(rose - 1.25 + 0.35 * traits.boldness, sharpness=6)
    outer = _step(rose - 0.05 + 0.15 * traits.boldness, sharpness=6)
    ring = (outer - inner) * _step(_sample(flank.fine, y + 0.3, x + 0.1) + 1.2, sharpness=4)
    spot = _step(_sample(flank.pattern, 1.6 * x + dx, 1.6 * y + dy) - 0.5, sharpness=6)
    limbs = np.maximum(_rise(0.47, 0.52, y), np.maximum(_rise(0.27, 0.20, x), _rise(0.74, 0.78, x)))
    dark = ring * (1 - limbs) + spot * limbs
    fur = _between(_rgb(0.94, 0.84, 0.62), _rgb(0.76, 0.47, 0.19), traits.tone)
    belly = np.maximum(body.pale, 0.8 * _rise(0.38, 0.52, y) * (1 - 0.5 * limbs))
    coat = _mix(np.broadcast_to(fur, (*x.shape, 3)), _rgb(0.95, 0.90, 0.80), belly)
    coat = _mix(coat, fur * np.float32(0.72), inner * (1 - limbs) * 0.9)
    black = _rgb(0.15, 0.11, 0.08)
    return _finish(body, _mix(coat, black, dark * 0.95), tuft=black)


def paint_giraffe(body: Body, pattern: Pattern, side: int) -> Image:
    """Brown polygons in a pale net: cells around the peaks of the grown pattern, each its own
    brown."""
    traits, flank = pattern.traits, pattern.flanks[side]
    x, y = body.x, body.y
    gap, shade = _cells(flank.pattern, np.random.default_rng([pattern.rng_seed, 3, side]))
    dx, dy = _wobble(flank, x, y, coarse=0.028, fine=0.004)
    width = 0.018 + 0.009 * traits.boldness + 0.006 * _sample(flank.coarse, x, y)
    seam = np.minimum(y - 0.62 + 0.5 * (x - 0.38), 0.93 - y)
    shrink = np.where(seam > 0, 1.0, 1.45).astype(np.float32)
    gaps = _sample(gap, shrink * x + dx, shrink * y + dy) / shrink
    gaps = np.minimum(gaps, 1.2 * np.abs(seam))
    patch = _step((gaps - np.maximum(width, 0.006)) * 120, sharpness=2)
    patch *= (1 - _rise(1.0, 1.10, y)) * (1 - body.pale)
    net = _between(_rgb(0.95, 0.92, 0.84), _rgb(0.90, 0.74, 0.48), traits.warmth)
    brown = _between(_rgb(0.74, 0.46, 0.23), _rgb(0.30, 0.17, 0.11), traits.tone)
    tone = 1 + 0.16 * _sample(shade, shrink * x + dx, shrink * y + dy, nearest=True)
    tone += 0.12 * _sample(flank.coarse, x + 0.5, y + 0.5)
    coat = _mix(np.broadcast_to(net, (*x.shape, 3)), brown * tone[..., None], patch)
    return _finish(body, coat, tuft=_rgb(0.25, 0.15, 0.09))


def paint_whale(body: Body, pattern: Pattern, side: int) -> Image:
    """A fluke: white blotches on black, rake marks and round scars, notches in the trailing edge.

    Both lobes are in every photo; the left one carries the left pattern, the right one the right.
    """
    traits = pattern.traits
    x, y = body.x, body.y
    right = _rise(0.46, 0.54, x)
    blotch = np.zeros_like(x)
    for share, flank in zip((1 - right, right), pattern.flanks, strict=True):
        dx, dy = _wobble(flank, x, y, coarse=0.05, fine=0.008)
        grown = _sample(flank.pattern, x + dx, y + dy)
        blotch += share * (0.8 * grown + 0.9 * _sample(flank.coarse, x, y) + 0.25 * _sample(flank.fine, x, y))
    rim = np.minimum(_soften(body.alpha, 0.02 * x.shape[1]) * 2 - 1.1, 0.8)
    white = _step(blotch + 1.2 * traits.boldness - 0.2 + 1.2 * (rim - 0.6), sharpness=4)
    black = _between(_rgb(0.10, 0.12, 0.15), _rgb(0.26, 0.27, 0.29), traits.tone)
    coat = _mix(np.broadcast_to(black, (*x.shape, 3)), _rgb(0.88, 0.90, 0.91), white * 0.92)
    rng = np.random.default_rng([pattern.rng_seed, 4])
    coat = _mix(coat, _rgb(0.72, 0.74, 0.76), 0.9 * _scars(rng, x.shape))
    alpha = body.alpha * (1 - _notches(rng, body))
    return np.dstack([np.clip(coat, 0, 1), alpha]).astype(np.float32)


def paint_seal(body: Body, pattern: Pattern, side: int) -> Image:
    """Pale rings on dark grey, fading into a silver belly."""
    traits, flank = pattern.traits, pattern.flanks[side]
    x, y = body.x, body.y
    dx, dy = _wobble(flank, x, y, coarse=0.035, fine=0.004)
    bump = _sample(flank.pattern, x + dx, y + dy) + 0.45 * _sample(flank.coarse, x, y)
    centre = 0.6 - 0.45 * traits.boldness
    ring = np.exp(-(((bump - centre) / 0.5) ** 2)) * (0.85 + 0.25 * _sample(flank.coarse, y, x))
    belly = _rise(0.42, 0.56, y)
    back = _between(_rgb(0.20, 0.20, 0.21), _rgb(0.50, 0.47, 0.42), traits.tone)
    coat = _mix(np.broadcast_to(back, (*x.shape, 3)), _rgb(0.66, 0.65, 0.63), belly * 0.85)
    coat = _mix(coat, back * np.float32(0.6), _step(bump - 1.6, sharpness=4) * 0.7)
    coat = _mix(coat, _rgb(0.86, 0.84, 0.79), np.clip(ring, 0, 1) * (1 - 0.55 * belly) * 0.9)
    return _finish(body, coat, tuft=back)


Painter = Callable[[Body, Pattern, int], Image]


def _cells(field: Fields, rng: np.random.Generator) -> tuple[Fields, Fields]:
    """Polygons around the peaks: [h, w] margin to the next polygon in canvas widths, and a shade
    each."""
    height, width = field.shape
    peaks = np.argwhere(field >= cv2.dilate(field, np.ones((5, 5), np.uint8)))
    tree = cKDTree(peaks, boxsize=(height, width))
    where = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    distance, owner = tree.query(where.reshape(-1, 2), k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(height, width) / CELLS
    shades = rng.uniform(-1, 1, len(peaks))
    return gap.astype(np.float32), shades[owner[:, 0]].reshape(height, width).astype(np.float32)


def _scars(rng: np.random.Generator, shape: tuple[int, ...]) -> Image:
    """Rake marks (parallel arcs) and round scars of barnacles, 0..1."""
    height, width = shape
    sheet = np.zeros((2 * height, 2 * width), np.uint8)
    for _ in range(rng.integers(2, 6)):
        start = rng.uniform((0.10, 0.16), (0.90, 0.42))
        heading, bow = rng.uniform(0, np.pi), rng.uniform(-0.5, 0.5)
        t = np.linspace(0, rng.uniform(0.06, 0.2), 9)
        step = np.stack([np.cos(heading + bow * t * 8), np.sin(heading + bow * t * 8)], axis=1)
        across = np.array([-np.sin(heading), np.cos(heading)])
        for tooth in range(rng.integers(1, 5)):
            line = start + step * t[:, None] + across * 0.013 * tooth
            points = np.round(line * 2 * width).astype(np.int32)
            cv2.polylines(sheet, [points], False, (255,), max(1, round(0.009 * width)))
    for _ in range(rng.integers(1, 6)):
        centre = np.round(rng.uniform((0.1, 0.15), (0.9, 0.4)) * 2 * width).astype(int)
        radius = round(rng.uniform(0.006, 0.015) * 2 * width)
        cv2.circle(sheet, (int(centre[0]), int(centre[1])), radius, (220,), max(1, radius // 2))
    return np.asarray(
        cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255), np.float32
    )


def _notches(rng: np.random.Generator, body: Body) -> Image:
    """Bites out of the upper (trailing) edge, 0..1."""
    height, width = body.x.shape
    sheet = np.zeros((2 * height, 2 * width), np.uint8)
    edge = np.argmax(body.alpha > 0.5, axis=0)
    for _ in range(rng.integers(3, 9)):
        column = int(rng.uniform(0.12, 0.88) * width)
        depth, half = rng.uniform(0.012, 0.040) * width, rng.uniform(0.006, 0.02) * width
        row = float(edge[column])
        bite = np.array([(column - half, row - 6), (column + half, row - 6), (column, row + depth)])
        cv2.fillPoly(sheet, [np.round(2 * bite).astype(np.int32)], (255,))
    return np.asarray(
        cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255), np.float32
    )


def _finish(body: Body, coat: NDArray[np.float32], *, tuft: NDArray[np.float32]) -> Image:
    """Darken what is behind, then add hair, eyes, nose and hooves, and the outline as alpha."""
    coat = coat * (1 - 0.38 * body.far[..., None])
    coat = _mix(coat, tuft, body.tuft * 0.75)
    coat = _mix(coat, _rgb(0.09, 0.08, 0.08), body.dark)
    return np.dstack([np.clip(coat, 0, 1), body.alpha]).astype(np.float32)


def _wobble(flank: Flank, x: Image, y: Image, *, coarse: float, fine: float) -> tuple[Image, Image]:
    """Displacements in canvas widths: `coarse` crowds the pattern here and there, `fine` frays its
    edges."""
    dx = coarse * _sample(flank.coarse, x + 0.5, y) + fine * _sample(flank.fine, x, y)
    dy = coarse * _sample(flank.coarse, y, x) + fine * _sample(flank.fine, y, x)
    return dx, dy


def _sample(field: Fields, x: Image, y: Image, *, nearest: bool = False) -> Image:
    """A grid's values at points in canvas widths; the grid repeats beyond its borders."""
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_CUBIC
    at_x, at_y = (np.asarray(p * np.float32(CELLS), np.float32) for p in (x, y))
    return np.asarray(cv2.remap(field, at_x, at_y, how, borderMode=cv2.BORDER_WRAP), np.float32)


def _rise(start: float, end: float, value: Image) -> Image:
    """0 before `start`, 1 beyond `end` (which may be the lower), smooth between."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _step(value: NDArray[np.floating[Any]], *, sharpness: float) -> Image:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * sharpness * value), np.float32)


def _rgb(red: float, green: float, blue: float) -> NDArray[np.float32]:
    return np.array([red, green, blue], np.float32)


def _between(low: NDArray[np.float32], high: NDArray[np.float32], trait: float) -> NDArray[np.float32]:
    """`low` at -1, `high` at 1."""
    return np.asarray(low + (high - low) * np.float32(0.5 + 0.5 * trait), np.float32)


def _mix(below: NDArray[np.float32], above: NDArray[np.float32], share: Image) -> NDArray[np.float32]:
    return np.asarray(below + (above - below) * share[..., None], np.float32)


def _soften(image: Image, sigma_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)
