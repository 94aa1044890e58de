"""Boxes of every origin: the same pixels whichever way they are written, within the photo or refused."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reid_ray.config.datasets import Data
from reid_ray.datasets.boxes import parse_bbox
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.images import BadImage, in_pixels, prepare

WIDTH, HEIGHT = 200, 150
# Where a pixel is, it says: columns in red, rows in green.
PHOTO = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PHOTO[:, :, 0] = np.arange(WIDTH)[None]
PHOTO[:, :, 1] = np.arange(HEIGHT)[:, None]

# Quarters of pixels but no halves, so that no edge is a tie.
EDGES = st.builds(
    lambda whole, part: whole + part, st.integers(-300, 300), st.sampled_from([0, 0.25, 0.75])
) | st.sampled_from([1e9, 1e300, 1.7e308, -1e9, -1e300])


def pixels_within(low: float, size: float, side: int) -> list[int]:
    """Those whose middle lies in the box."""
    return [pixel for pixel in range(side) if low <= pixel + 0.5 < low + size]


@settings(max_examples=200)
@given(across=st.tuples(EDGES, EDGES).map(sorted), down=st.tuples(EDGES, EDGES).map(sorted))
def test_a_crop_is_the_part_of_the_box_that_lies_in_the_photo_or_is_refused(
    across: list[float], down: list[float]
) -> None:
    box = x, y, w, h = (across[0], down[0], across[1] - across[0], down[1] - down[0])
    if min(x, y) >= 0 and max(x + w, y + h) <= 1:
        return  # shares, not pixels
    columns, rows = pixels_within(x, w, WIDTH), pixels_within(y, h, HEIGHT)
    short = min(len(columns), len(rows))
    if short < 32:
        with pytest.raises(BadImage, match="sides below 32 px are refused"):
            prepare(PHOTO, short_px=32, bbox=box)
        return
    crop = prepare(PHOTO, short_px=short, bbox=box)
    assert crop[0, :, 0].tolist() == columns
    assert crop[:, 0, 1].tolist() == rows


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**400), 10**400)
CELLS = (
    st.lists(NUMBERS, max_size=5).map(json.dumps)
    | st.recursive(
        NUMBERS | st.text(max_size=5) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=5),
        max_leaves=8,
    ).map(json.dumps)
    | st.text(max_size=30)
)


@settings(max_examples=200)
@given(cell=CELLS)
@example('"1234"')
@example('{"1": 0, "2": 0, "3": 0, "4": 0}')
def test_a_cell_is_four_finite_numbers_with_an_area_or_nothing_or_refused(cell: str) -> None:
    try:
        written = json.loads(cell)
    except (ValueError, RecursionError):
        written = None
    try:
        box = parse_bbox(cell)
    except ValueError:
        box = None
    if box is None:
        numbers = (
            isinstance(written, list)
            and len(written) == 4
            and all(type(side) in (int, float) and abs(side) < 1e308 for side in written)
        )
        assert not (numbers and min(written[2:]) > 0) or len(cell) > 400
    else:
        assert isinstance(written, list)
        assert box == [float(side) for side in written]
        assert len(box) == 4
        assert all(map(math.isfinite, box))
        assert min(box[2:]) > 0


CORNERS = st.tuples(
    st.integers(0, WIDTH - 41), st.integers(0, HEIGHT - 41), st.integers(40, WIDTH), st.integers(40, HEIGHT)
).map(lambda box: (box[0], box[1], min(box[0] + box[2], WIDTH), min(box[1] + box[3], HEIGHT)))
"""Left, top, right and bottom of an animal, at least 32 px a side."""
CONFIDENCES = st.integers(0, 100).map(lambda percent: percent / 100)


@settings(max_examples=50)
@given(
    found=st.lists(st.tuples(CONFIDENCES, CORNERS), max_size=4, unique_by=lambda one: one[0]),
    runs=st.integers(1, 2),
    prefix=st.sampled_from(["", "trip/", "C:\\trip\\"]),
    order=st.randoms(use_true_random=False),
)
def test_both_files_of_megadetector_give_the_surest_box_whatever_their_order(
    found: list[tuple[float, tuple[int, int, int, int]]], runs: int, prefix: str, order: Any
) -> None:
    shuffled = order.sample(found, len(found))
    parts = [shuffled[number::runs] for number in range(runs)]  # each run lists the file again
    shares = {
        "detection_categories": {"1": "animal"},
        "images": [
            {
                "file": f"{prefix}a.jpg",
                "detections": [
                    {
                        "category": "1",
                        "conf": sure,
                        "bbox": [left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT],
                    }
                    for sure, (left, top, right, bottom) in part
                ],
            }
            for part in parts
        ],
    }
    corners = [
        {
            "file": f"{prefix}a.jpg",
            "detections": [
                {"category": "animal", "confidence": sure, "bbox": list(box)} for sure, box in part
            ],
        }
        for part in parts
    ]
    enough = [one for one in found if one[0] >= 0.5]
    with tempfile.TemporaryDirectory(prefix="photos") as name:
        root = Path(name)
        (root / "a.jpg").write_bytes(b"x")
        for results in (shares, corners):
            (root / "md.json").write_text(json.dumps(results))
            detections = {"file": "md.json", "min_confidence": 0.5}
            raw = {
                "datasets": [{"source": "folder", "name": "d", "root": name, "detections": detections}],
                "images": {"crop": "bbox"},
            }
            (box,) = load_rows(Data.parse(raw, where="test"), made=root).rows["bbox"]
            if not enough:
                assert box is None
                continue
            left, top, right, bottom = max(enough)[1]
            x, y, w, h = in_pixels(box, width=WIDTH, height=HEIGHT)
            assert (x, y, x + w, y + h) == pytest.approx((left, top, right, bottom), abs=1e-9)
            crop = prepare(PHOTO, short_px=min(right - left, bottom - top), bbox=box)
            assert crop[0, :, 0].tolist() == list(range(left, right))
            assert crop[:, 0, 1].tolist() == list(range(top, bottom))
