"""Take one photo: pose the painted animal, put it into its encounter, and spoil it as cameras
do.

In: a painted flank, its body, an encounter. Out: uint8 RGB [h, w, 3] and the mask of the visible
animal. Legend: canvas = where the animal is painted, photo = where it ends up.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.datasets.synthetic.bodies import Body, Image
from reid_ray.datasets.synthetic.scene import MARGIN, Encounter, Habitat

_DAPPLE_CELLS: dict[Habitat, tuple[int, int]] = {
    "savanna": (4, 5),
    "bush": (14, 18),
    "sea": (9, 12),
    "ice": (6, 8),
}
"""How finely light and shade alternate: leaves, glitter of water, clouds."""


@dataclass(frozen=True)
class Camera:
    """How far photos vary.

    Attributes:
        yaw_rad: largest turn out of the side view.
        roll_rad, pitch_rad: standard deviations.
        scale: smallest and largest share of the photo's width that the canvas fills.
        shift: largest offset from the middle, in photo widths.
        hasty: share of photos that are shaken or out of focus: what is coarse survives, what is
        fine not.
        neck_rad, stride: how far head and legs move.
    """

    yaw_rad: float = 0.55
    lean_rad: float = 0.0
    """Least yaw; above 0 the side that is shown is turned towards the camera."""
    roll_rad: float = 0.08
    pitch_rad: float = 0.12
    scale: tuple[float, float] = (1.0, 1.3)
    shift: float = 0.05
    hasty: float = 0.5
    neck_rad: float = 0.10
    stride: float = 0.35


def take_photo(
    rng: np.random.Generator,
    painted: Image,
    body: Body,
    encounter: Encounter,
    *,
    camera: Camera,
    mirrored: bool,
    turned: float,
    size_hw: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render the photo and its mask (255: animal).

    Args:
        mirrored: the animal looks to the right.
        turned: sign of the yaw; 0 draws it.
    """
    at_x, at_y = _pose(rng, body, camera, turned, size_hw)
    if mirrored:
        at_x, at_y = at_x[:, ::-1], at_y[:, ::-1]
    animal = _lift(painted, at_x, at_y)
    normal = _lift(body.normal, at_x, at_y)
    alpha = animal[..., 3]
    light = encounter.light * np.array([-1 if mirrored else 1, 1, 1], np.float32)
    image = _pan(rng, encounter.background, size_hw)
    image = _cast_shadow(rng, image, alpha, encounter)
    flesh = _shade(rng, animal[..., :3], normal, light, encounter, size_hw)
    image = image + (flesh - image) * alpha[..., None]
    image, hidden = _occlude(rng, image, alpha, encounter)
    mask = ((alpha * (1 - hidden)) > 0.5).astype(np.uint8) * np.uint8(255)
    return _develop(rng, image, hasty=rng.random() < camera.hasty), mask


def _pose(
    rng: np.random.Generator, body: Body, camera: Camera, turned: float, size_hw: tuple[int, int]
) -> tuple[Image, Image]:
    """Canvas coordinates (pixels) seen by each pixel of the photo."""
    height, width = size_hw
    sign = turned or rng.choice([-1.0, 1.0])
    yaw = sign * rng.uniform(camera.lean_rad, camera.yaw_rad)
    roll, pitch = rng.normal(0, camera.roll_rad), rng.normal(0, camera.pitch_rad)
    scale = rng.uniform(*camera.scale)
    shift = rng.uniform(-camera.shift, camera.shift, 2) * (1, 0.7)
    to_photo = _homography(yaw, pitch, roll, middle=(0.5, body.plan.height / 2))
    place = np.array([[scale, 0, 0.5 + shift[0]], [0, scale, height / width / 2 + shift[1]], [0, 0, 1]])
    back = np.linalg.inv(place @ to_photo)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(width)
    seen = np.stack([x, y, np.ones_like(x)], axis=-1) @ back.T.astype(np.float32)
    u, v = _move(rng, seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2], body, camera)
    across = np.float32(body.x.shape[1])
    return (u * across).astype(np.float32), (v * across).astype(np.float32)


def _homography(
    yaw: float, pitch: float, roll: float, *, middle: tuple[float, float], distance: float = 2.2
) -> NDArray[np.float64]:
    """Canvas plane, turned about its middle, seen in perspective; both in canvas widths."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turn = turn_z @ turn_x @ turn_y
    seen = np.column_stack([turn[:, 0], turn[:, 1], [0, 0, distance]])
    seen[:2] *= distance
    centre = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1]])
    return np.asarray(seen @ centre)


def _move(rng: np.random.Generator, u: Image, v: Image, body: Body, camera: Camera) -> tuple[Image, Image]:
    """Bend the neck, swing the legs and flex the whole body, smoothly."""
    pivot_x, pivot_y = body.plan.pivot
    bend = rng.uniform(-1, 1) * camera.neck_rad * np.clip((pivot_x + 0.06 - u) / 0.2, 0, 1)
    du, dv = u - pivot_x, v - pivot_y
    u, v = pivot_x + du - bend * dv, pivot_y + dv + bend * du
    swing, phase = rng.uniform(-1, 1) * camera.stride, rng.uniform(0, 2 * np.pi)
    below = np.maximum(v - body.plan.legs_y, 0)
    u = u + swing * below * np.sin(9 * u + phase)
    for per_width, reach in ((5, 0.016), (17, 0.007)):
        phase_u, phase_v = rng.uniform(0, 2 * np.pi, 2)
        reach_u, reach_v = rng.uniform(-reach, reach, 2)
        u = u + reach_u * np.sin(per_width * (v + 0.4 * u) + phase_u)
        v = v + reach_v * np.sin(per_width * (u - 0.4 * v) + phase_v)
    return u, v


def _lift(canvas: Image, at_x: Image, at_y: Image) -> Image:
    """What the canvas shows at the given pixels; nothing outside."""
    at = np.ascontiguousarray(at_x), np.ascontiguousarray(at_y)
    return np.asarray(cv2.remap(canvas, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)


def _pan(rng: np.random.Generator, background: Image, size_hw: tuple[int, int]) -> Image:
    """A photo-sized part of the background, from where the camera pointed this time."""
    height, width = size_hw
    zoom = rng.uniform(1.0, MARGIN * 0.98)
    part_h, part_w = round(height * zoom), round(width * zoom)
    top = int(rng.integers(background.shape[0] - part_h + 1))
    left = int(rng.integers(background.shape[1] - part_w + 1))
    part = background[top : top + part_h, left : left + part_w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _shade(
    rng: np.random.Generator,
    coat: Image,
    normal: Image,
    light: NDArray[np.float32],
    encounter: Encounter,
    size_hw: tuple[int, int],
) -> Image:
    """Light the relief, with the dapple of leaves or clouds on it."""
    height, width = size_hw
    nx, ny = normal[..., 0], normal[..., 1]
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.05))
    lit = np.maximum(nx * light[0] + ny * light[1] + nz * light[2], 0)
    shade = encounter.ambient + (1.15 - encounter.ambient) * lit
    grid = rng.standard_normal(_DAPPLE_CELLS[encounter.habitat], dtype=np.float32)
    dapple = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    depth = rng.uniform(0.05, 0.22)
    shade = shade * (1 + np.float32(depth) * np.clip(dapple, -1.5, 1.2))
    return np.asarray(coat * encounter.tint * shade[..., None], np.float32)


def _cast_shadow(rng: np.random.Generator, image: Image, alpha: Image, encounter: Encounter) -> Image:
    """A soft shadow on the ground beside the feet; on the sea, foam around the stem instead."""
    height, width = alpha.shape
    if encounter.habitat == "sea":
        return image
    rows = np.flatnonzero(alpha.max(axis=1) > 0.5)
    foot = int(rows[-1]) if len(rows) else height - 1
    flat = cv2.resize(alpha, (width, max(2, height // 6)), interpolation=cv2.INTER_AREA)
    sheet = np.zeros((height * 2, width), np.float32)
    top = max(0, foot - int(flat.shape[0] * 0.7))
    sheet[top : top + flat.shape[0]] = flat
    lean = -encounter.light[0] * 0.12 * width
    shift = np.array([[1, 0, lean], [0, 1, 0]], np.float32)
    sheet = cv2.warpAffine(sheet, shift, (width, height * 2))[:height]
    soft = cv2.GaussianBlur(sheet, (0, 0), 0.02 * width)
    depth = (1 - encounter.ambient) * 1.1
    return np.asarray(image * (1 - np.float32(depth) * soft[..., None]), np.float32)


def _occlude(
    rng: np.random.Generator, image: Image, alpha: Image, encounter: Encounter
) -> tuple[Image, Image]:
    """Grass, a branch, drifting snow or spray in front of the animal; returns also what they hide.
    Grass, a branch, drifting snow or spray in front of the animal; returns also what they hide."""
    height, width = alpha.shape
    cover = np.zeros((height, width), np.float32)
    paint = np.ascontiguousarray(image)
    colours = encounter.blade_rgb
    if encounter.habitat in ("sea", "ice"):
        return _veil(rng, paint, cover, encounter)
    for _ in range(int(rng.integers(15, 70))):
        foot = np.array([rng.uniform(0, width), height * rng.uniform(0.97, 1.03)])
        rise = height * rng.uniform(0.06, 0.30)
        tip = foot + np.array([rng.normal(0, 0.3) * rise, -rise])
        knee = (foot + tip) / 2 + np.array([rng.normal(0, 0.08) * rise, 0])
        _stroke(rng, paint, cover, np.stack([foot, knee, tip]), colours, max(1, height // 140))
    if rng.random() < (0.6 if encounter.habitat == "bush" else 0.12):
        _branch(rng, paint, cover, colours)
    return paint, cover


def _stroke(
    rng: np.random.Generator,
    paint: Image,
    cover: Image,
    line: NDArray[np.float64],
    colours: Image,
    thick: int,
) -> None:
    shade = tuple(float(c) for c in colours[int(rng.integers(len(colours)))] * rng.uniform(0.8, 1.15))
    points = [np.round(line * 8).astype(np.int32)]
    cv2.polylines(paint, points, False, shade, thick, cv2.LINE_AA, 3)
    cv2.polylines(cover, points, False, (1.0,), thick, cv2.LINE_AA, 3)


def _branch(rng: np.random.Generator, paint: Image, cover: Image, colours: Image) -> None:
    """A twig with leaves, from one edge into the photo."""
    height, width = cover.shape
    start = np.array([rng.choice([0.0, 1.0]) * width, rng.uniform(0, 0.7) * height])
    end = np.array([rng.uniform(0.25, 0.75) * width, start[1] + rng.normal(0, 0.25) * height])
    thick = max(2, height // 70)
    _stroke(
        rng, paint, cover, np.stack([start, (start + end) / 2 + (0, 0.03 * height), end]), colours[2:], thick
    )
    for t in rng.uniform(0.1, 1, 14):
        at = start + (end - start) * t + rng.normal(0, 0.03, 2) * height
        axes = (int(height * rng.uniform(0.015, 0.035)), int(height * rng.uniform(0.007, 0.015)))
        shade = tuple(float(c) for c in colours[int(rng.integers(2))] * rng.uniform(0.8, 1.2))
        where, tilt = (int(at[0]), int(at[1])), float(rng.uniform(0, 180))
        cv2.ellipse(paint, where, axes, tilt, 0, 360, shade, -1, cv2.LINE_AA)
        cv2.ellipse(cover, where, axes, tilt, 0, 360, (1.0,), -1, cv2.LINE_AA)


def _veil(rng: np.random.Generator, paint: Image, cover: Image, encounter: Encounter) -> tuple[Image, Image]:
    """A soft bank across the foot of the photo (spray, snow) and flakes or drops anywhere."""
    height, width = cover.shape
    bank = cv2.resize(
        rng.standard_normal((1, 9), dtype=np.float32), (width, 1), interpolation=cv2.INTER_CUBIC
    )
    level = rng.uniform(0.84, 0.93) + 0.025 * bank
    y = np.arange(height, dtype=np.float32)[:, None] / height
    ragged = cv2.resize(
        rng.standard_normal((height // 6, width // 6), dtype=np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    cover += np.clip((y - level) * 18 + 0.35 * ragged, 0, 1)
    tone = encounter.blade_rgb[1] * (1 + 0.05 * ragged[..., None])
    paint += (tone - paint) * cover[..., None]
    for _ in range(int(rng.integers(0, 45))):
        at = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        shade = tuple(float(c) for c in encounter.blade_rgb[2])
        cv2.circle(paint, at, max(1, height // 160), shade, -1, cv2.LINE_AA)
    return paint, cover


def _develop(rng: np.random.Generator, image: Image, *, hasty: bool) -> NDArray[np.uint8]:
    """Vignette and exposure, defocus or camera shake, sensor noise, eight bits."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = rng.normal(0, 0.06, 2)
    gain = rng.uniform(0.94, 1.06) * (1 - 0.08 * (x * x + y * y) + slope[0] * x + slope[1] * y)
    image = image * gain[..., None].astype(np.float32)
    if hasty and rng.random() < 0.6:
        image = _shake(image, length_px=height * rng.uniform(0.04, 0.08), angle_rad=rng.uniform(0, np.pi))
    else:
        sigma = rng.uniform(0.013, 0.022) if hasty else rng.uniform(0.002, 0.005)
        image = cv2.GaussianBlur(image, (0, 0), height * sigma)
    grain = rng.uniform(0.012, 0.030) if hasty else rng.uniform(0.004, 0.014)
    image = image + rng.normal(0, grain, (height, width, 1)).astype(np.float32)
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), np.uint8)


def _shake(image: Image, *, length_px: float, angle_rad: float) -> Image:
    """Blur along a line, as a camera does that moves while the shutter is open."""
    reach = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-0.5, 0.5, 4 * reach):
        x, y = reach + t * length_px * np.cos(angle_rad), reach + t * length_px * np.sin(angle_rad)
        kernel[round(y), round(x)] += 1
    return np.asarray(
        cv2.filter2D(image, -1, cv2.GaussianBlur(kernel, (0, 0), 0.7) / kernel.sum()), np.float32
    )
