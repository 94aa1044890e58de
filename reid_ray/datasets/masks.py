"""Say where in a prepared photo the animal is not.

In: a row's mask, segmentation or box. Out: the background, in the prepared photo's pixels. A mask
is an image of the photo's size (column `mask`, or a path in `segmentation`), brighter where the
animal is; a segmentation is COCO's: polygons `[[x, y, x, y, ...], ...]` or run lengths
`{"size": [height, width], "counts": [...]}`, compressed or not, in pixels of the upright photo. A mask
that cannot be read counts as none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.datasets.images import BadImage, in_pixels, read_bytes, upright_size

MARGIN = 0.04
"""The animal is taken larger by this share of the shorter side: its rim would tell about it."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_CHARACTERS = 1 << 20
_POLYGONS = 1000
"""Each may fill the whole photo, so thousands would take minutes."""

UNREADABLE = (BadImage, ValueError, TypeError, LookupError, OverflowError, OSError, RecursionError, cv2.error)
"""What reading a damaged mask may raise."""

Mask = NDArray[np.bool_]


def has_mask(row: Mapping[str, Any], *, boxes: bool) -> bool:
    """Whether a row names a mask, or a box where `boxes` may stand for one."""
    named = any(str(row.get(column) or "") for column in ("mask", "segmentation"))
    return named or (boxes and row.get("bbox") is not None)


def read_background(
    row: Mapping[str, Any],
    images: Images,
    *,
    size_hw: tuple[int, int],
    boxes: bool,
    margin: float = MARGIN,
    told: Callable[[str], None] = lambda _: None,
) -> Mask | None:
    """True where the prepared photo of `size_hw` shows background; None where nothing tells.

    Args:
        row: with `root`, `path` and any of `mask`, `segmentation`, `bbox`.
        boxes: take the box for the animal where there is no mask; not of photos cut to the box.
        margin: the animal is taken larger by this share of the shorter side.
        told: called with a sentence on a mask that cannot be read.
    """
    try:
        own = row.get("crop")
        crop = own if isinstance(own, str) and own else images.crop
        if crop == "mask":  # nothing of the background is left
            return None
        animal = _animal(row, boxes=boxes and crop != "bbox", max_pixels=images.max_pixels)
    except UNREADABLE as error:
        told(f"{row['path']}: its mask is not used ({' '.join(str(error).split())[:200]})")
        return None
    if animal is None or not animal.any():
        return None
    if crop == "bbox" and row.get("bbox") is not None:
        animal = _cut(animal, row["bbox"])
    height, width = size_hw
    if not animal.size:
        return None
    small = cv2.resize(animal.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    reach = 2 * round(margin * min(size_hw)) + 1
    background = cv2.dilate(small, np.ones((reach, reach), np.uint8)) == 0
    return np.asarray(background) if background.any() else None


def read_animal(row: Mapping[str, Any], *, max_pixels: int) -> Mask | None:
    """True where the upright photo shows the animal, by its mask or segmentation; None where neither tells.

    Raises:
        UNREADABLE: one that is damaged.
    """
    return _animal(row, boxes=False, max_pixels=max_pixels)


def _animal(row: Mapping[str, Any], *, boxes: bool, max_pixels: int) -> Mask | None:
    """True where the upright photo shows the animal."""
    segmentation = str(row.get("segmentation") or "").strip()
    named = str(row.get("mask") or "") or (segmentation if segmentation.lower().endswith(_SUFFIXES) else "")
    if named:
        data = read_bytes(row["root"], named)
        upright_size(data, max_pixels=max_pixels)  # refuses what would fill the memory
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        return None if grey is None else np.asarray(grey > int(grey.max()) // 2)
    if segmentation and len(segmentation) <= _CHARACTERS:
        shape = json.loads(segmentation)
        if isinstance(shape, dict):
            return _from_runs(shape["size"], shape["counts"], max_pixels=max_pixels)
        return _from_polygons(shape, _photo_size(row, max_pixels))
    if boxes and row.get("bbox") is not None:
        width, height = _photo_size(row, max_pixels)
        animal = np.zeros((height, width), bool)
        _cut(animal, row["bbox"])[:] = True
        return animal
    return None


def _from_runs(size: Sequence[int], counts: Sequence[int] | str, *, max_pixels: int) -> Mask:
    """Lengths of background and animal in turn, column by column.

    Numbers are bounded as Python's integers before anything is computed with them: numpy's wrap around,
    and lengths whose sum wraps to the right one are written far outside the mask.
    """
    height, width = (_whole(side, most=max_pixels) for side in size)
    if height * width > max_pixels:
        raise ValueError(f"a mask of {width} x {height} px")
    told = _unpacked(counts) if isinstance(counts, str) else counts
    lengths = [_whole(count, most=height * width) for count in told]
    if sum(lengths) != height * width:
        raise ValueError("run lengths do not fill the mask")
    values = np.arange(len(lengths)) % 2 == 1
    return np.asarray(np.repeat(values, lengths).reshape(width, height).T)


def _unpacked(text: str) -> list[int]:
    """Run lengths of COCO's compressed form: five bits a character, from the third on as differences."""
    counts: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 40:
            raise ValueError("run lengths are not in COCO's compressed form")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
    return counts


def _whole(value: Any, *, most: int) -> int:
    """A number of a file, 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{str(value)[:40]}: expected a number from 0 to {most}")
    if value != int(value):
        raise ValueError(f"{value}: not a whole number")
    return int(value)


def _from_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    width, height = size
    if len(polygons) > _POLYGONS:
        raise ValueError(f"{len(polygons)} polygons for one animal")
    animal = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2)
        if not np.isfinite(corners).all():
            raise ValueError("a corner is no number")
        corners = np.clip(corners.round(), -32000, 32000).astype(np.int32)
        cv2.fillPoly(animal, [corners], 1)
    return animal > 0


def _photo_size(row: Mapping[str, Any], max_pixels: int) -> tuple[int, int]:
    return upright_size(read_bytes(row["root"], row["path"]), max_pixels=max_pixels)


def _cut(mask: Mask, bbox: Sequence[float]) -> Mask:
    """The part of the box that lies inside, as preparing the photo cuts it."""
    height, width = mask.shape
    x, y, w, h = in_pixels(bbox, width=width, height=height)
    left, right = (round(min(max(edge, 0), width)) for edge in (x, x + w))
    top, bottom = (round(min(max(edge, 0), height)) for edge in (y, y + h))
    return mask[top:bottom, left:right]
