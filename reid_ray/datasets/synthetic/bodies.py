"""Draw the body of a species: silhouette, relief and zones, on a canvas that a coat is painted
on.

In: a species and a canvas width in pixels. Out: a `Body`, all animals of a species share it.
Coordinates are in canvas widths: x to the right, y down; the head is at the left, so what is
seen is the left flank. Legend: h, w canvas height and width in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Points = Sequence[tuple[float, float]]
Limb = Sequence[tuple[float, float, float]]
"""Joints of a leg, tail or horn: x, y and width there."""

_SUPERSAMPLE = 3


@dataclass(frozen=True)
class Plan:
    """The hand-drawn outline of a species, in canvas widths.

    Attributes:
        height: of the canvas.
        trunk: closed outline of head, neck and torso.
        near, far: limbs in front of and behind the trunk.
        pale: ellipses (x, y, rx, ry) without a coat: muzzles, bellies.
        dark: ellipses of eyes, noses, inner ears; and hooves.
        tuft: limbs of hair: tail ends, manes.
        pivot: where the neck joins the torso.
        legs_y: below it, pixels belong to legs.
    """

    height: float
    trunk: Points
    near: Sequence[Limb] = ()
    far: Sequence[Limb] = ()
    pale: Sequence[tuple[float, float, float, float]] = ()
    dark: Sequence[tuple[float, float, float, float]] = ()
    tuft: Sequence[Limb] = ()
    pivot: tuple[float, float] = (0.3, 0.35)
    legs_y: float = 0.5


@dataclass(frozen=True)
class Body:
    """A drawn plan; every array float32 [h, w] in 0..1 unless said.

    Attributes:
        alpha: share of a pixel that the animal covers.
        normal: [h, w, 2], x and y of the surface normal, in -1..1.
        far, pale, dark, tuft: zones that are painted without, or over, the coat.
        x, y: coordinates of the pixels in canvas widths.
    """

    plan: Plan
    alpha: Image
    normal: Image
    far: Image
    pale: Image
    dark: Image
    tuft: Image
    x: Image
    y: Image


def draw_body(plan: Plan, *, width_px: int) -> Body:
    """Rasterise a plan with antialiased edges and a rounded relief."""
    height_px = round(plan.height * width_px)
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32) / np.float32(width_px)
    pen = _Pen(width_px, height_px)
    trunk = pen.draw(outlines=[smooth(plan.trunk)])
    near = [pen.draw(outlines=[limb_outline(limb)]) for limb in plan.near]
    far = pen.draw(outlines=[limb_outline(limb) for limb in plan.far])
    tuft = pen.draw(outlines=[limb_outline(limb) for limb in plan.tuft])
    front = np.maximum.reduce([trunk, *near])
    alpha = np.maximum.reduce([front, far, tuft])
    relief = _relief(trunk, width_px)
    for leg in near:
        relief = np.maximum(relief, 0.9 * _relief(leg, width_px) + 0.25 * relief * leg)
    relief = np.maximum(relief, 0.5 * _relief(alpha, width_px))
    return Body(
        plan=plan,
        alpha=alpha,
        normal=_normal(relief, width_px),
        far=far * (1 - front),
        pale=_soften(pen.draw(ellipses=plan.pale), width_px * 0.012),
        dark=pen.draw(ellipses=plan.dark),
        tuft=tuft,
        x=x,
        y=y,
    )


class _Pen:
    """Fills shapes at three times the resolution and averages, which antialiases every edge alike.
    Fills shapes at three times the resolution and averages, which antialiases every edge alike."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._scale = width_px * _SUPERSAMPLE

    def draw(
        self,
        *,
        outlines: Sequence[NDArray[np.float64]] = (),
        ellipses: Sequence[tuple[float, float, float, float]] = (),
    ) -> Image:
        sheet = np.zeros((self._size[1] * _SUPERSAMPLE, self._size[0] * _SUPERSAMPLE), np.uint8)
        turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        for x, y, rx, ry in ellipses:
            outlines = [*outlines, np.stack([x + rx * np.cos(turns), y + ry * np.sin(turns)], axis=1)]
        for outline in outlines:
            cv2.fillPoly(sheet, [np.round(outline * self._scale).astype(np.int32)], (255,))
        small = cv2.resize(sheet, self._size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32) / np.float32(255)


def smooth(points: Points, *, steps: int = 8) -> NDArray[np.float64]:
    """A closed Catmull-Rom curve through `points`: [len(points) * steps, 2]."""
    p = np.asarray(points, np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (before, p, after, beyond))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2))


def limb_outline(limb: Limb) -> NDArray[np.float64]:
    """The closed outline of a limb: its joints, widened to both sides, with round ends."""
    joints = np.asarray(limb, np.float64)
    centre, half = joints[:, :2], joints[:, 2:] / 2
    along = np.gradient(centre, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    tip = centre[-1:] + along[-1:] * half[-1:] * 0.7
    root = centre[:1] - along[:1] * half[:1] * 0.7
    outline = np.concatenate([root, centre + across * half, tip, (centre - across * half)[::-1]])
    return smooth([(float(px), float(py)) for px, py in outline])


def _relief(mask: Image, width_px: int) -> Image:
    """Height of a rounded body above its outline, about 0..1: the root of the distance to the
    edge."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / width_px
    return _soften(np.sqrt(np.minimum(distance / 0.12, 1)).astype(np.float32), width_px * 0.012)


def _normal(relief: Image, width_px: int) -> Image:
    slope = 0.13 * width_px
    dx = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 8) * slope
    dy = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 8) * slope
    length = np.sqrt(1 + dx * dx + dy * dy)
    return _soften(np.stack([-dx / length, -dy / length], axis=2), width_px * 0.01)


def _soften(image: NDArray[np.float32], sigma_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)
