"""Read boxes of animals as tables write them. In: a cell, or four. Out: [x, y, width, height]."""

import json
import math
import re
from collections.abc import Sequence

import pandas as pd

_CHARACTERS = 400
"""Longest text of a box that is parsed; a real one has fewer than 100 characters."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_BETWEEN = r"(?:\s*[,;]\s*|\s+)"
_FOUR = re.compile(rf"[\[(]?\s*{_BETWEEN.join([f'({_NUMBER})'] * 4)}\s*[\])]?", re.ASCII)
"""Four numbers as people write them, in brackets of any kind or none."""


def has_bbox(cell: str) -> bool:
    """Whether anything is written there, good or bad."""
    return cell.strip().lower() not in ("", "null", "nan", "none", "na", "[]")


def parse_bbox(cell: str) -> list[float] | None:
    """`[x, y, w, h]` in pixels or (all within 0..1) in shares; None for an empty cell.

    Raises:
        ValueError: not four finite numbers, or no area.
    """
    if not has_bbox(cell):
        return None
    box = _numbers(cell)
    if min(box[2:]) <= 0:
        raise ValueError(f"bbox is {cell[:40]!r}; expected four numbers, width and height above 0")
    return box


def to_xywh(cell: str) -> str:
    """A cell with two opposite corners as one with x, y, width, height; what is neither stays as it is."""
    try:
        left, top, right, bottom = _numbers(cell)
    except ValueError:
        return cell
    return json.dumps([left, top, right - left, bottom - top])


def from_sides(cells: Sequence[pd.Series], *, corners: bool) -> pd.Series:
    """One cell per row from four; "" where all of them are empty or 0, as where nothing was detected.

    Args:
        corners: the four are two opposite corners.
    """
    texts = []
    for sides in zip(*cells, strict=True):
        stripped = [side.strip() for side in sides]
        if all(not has_bbox(side) or _is_zero(side) for side in stripped):
            texts.append("")
        else:
            text = "[" + ", ".join(stripped) + "]"
            texts.append(to_xywh(text) if corners else text)
    return pd.Series(texts, cells[0].index, dtype="str")


def _numbers(cell: str) -> list[float]:
    """Four finite numbers; ValueError if it is anything else."""
    if len(cell) > _CHARACTERS:
        raise ValueError(f"bbox text has {len(cell)} characters; expected [x, y, width, height]")
    if found := _FOUR.fullmatch(cell.strip()):
        box = [float(side) for side in found.groups()]
    else:
        try:
            sides = json.loads(cell)
            if not isinstance(sides, list):  # text and maps can be gone through as well
                raise TypeError
            box = [float(side) for side in sides]
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise ValueError(f"bbox is {cell[:40]!r}; expected [x, y, width, height]") from None
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"bbox is {cell[:40]!r}; expected four numbers, width and height above 0")
    return box


def _is_zero(side: str) -> bool:
    try:
        return float(side) == 0
    except ValueError:
        return False
