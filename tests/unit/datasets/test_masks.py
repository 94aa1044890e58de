"""Where the animal is not: masks, polygons, run lengths, boxes, and what is none of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_ray.config.datasets import Images
from reid_ray.datasets.masks import has_mask, read_background

FULL = Images(short_px=40)
CUT = Images(short_px=40, crop="bbox")


@pytest.fixture
def row(tmp_path: Path) -> dict[str, object]:
    """A photo of 80 x 60 with an animal in x 20..39, y 10..29."""
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((60, 80, 3), 99, np.uint8))
    return {"root": str(tmp_path), "path": "photo.png"}


def animal(width: int = 80, height: int = 60) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[10:30, 20:40] = 255
    return mask


def expected(size_hw: tuple[int, int]) -> np.ndarray:
    """The background at `size_hw`, less a rim of 4 % of the shorter side."""
    small = cv2.resize(animal(), size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    reach = 2 * round(0.04 * min(size_hw)) + 1
    return cv2.dilate(small, np.ones((reach, reach), np.uint8)) == 0


RUNS = json.dumps(
    {"size": [60, 80], "counts": [20 * 60 + 10, *[20, 40] * 19, 20, 80 * 60 - (20 * 60 + 10 + 60 * 19 + 20)]}
)
POLYGON = json.dumps([[20, 10, 39, 10, 39, 29, 20, 29]])


@pytest.mark.parametrize(
    "column", [{"segmentation": RUNS}, {"segmentation": POLYGON}, {"bbox": [20.0, 10.0, 20.0, 20.0]}]
)
def test_every_way_to_say_it_gives_the_same_background(row, column):
    assert has_mask(row | column, boxes=True)
    found = read_background(row | column, FULL, size_hw=(40, 53), boxes=True)
    assert np.array_equal(found, expected((40, 53)))


@pytest.mark.parametrize("column", ["mask", "segmentation"])
@pytest.mark.parametrize("scale", [1, 255])
def test_a_mask_image_is_read_whatever_its_white_is(row, tmp_path, column, scale):
    cv2.imwrite(str(tmp_path / "m.png"), animal() // 255 * scale)
    found = read_background(row | {column: "m.png"}, FULL, size_hw=(40, 53), boxes=False)
    assert np.array_equal(found, expected((40, 53)))


def test_a_box_stands_for_the_animal_only_on_request_and_not_where_photos_are_cut_to_it(row):
    boxed = row | {"bbox": [20.0, 10.0, 20.0, 20.0]}
    assert not has_mask(boxed, boxes=False)
    assert read_background(boxed, FULL, size_hw=(40, 53), boxes=False) is None
    assert read_background(boxed, CUT, size_hw=(40, 40), boxes=True) is None


def test_a_mask_is_cut_like_its_photo(row):
    cut = row | {"segmentation": RUNS, "bbox": [10.0, 0.0, 40.0, 40.0]}
    found = read_background(cut, CUT, size_hw=(40, 40), boxes=False)
    assert not found[10:30, 10:30].any()
    assert found[:8].all()


@pytest.mark.parametrize(
    "segmentation",
    [
        "gone.png",
        "../outside.png",
        "{",
        "[[1]]",
        '{"size": [60, 80], "counts": [3]}',
        '{"size": [60, 80], "counts": "PYc1"}',
        '{"size": [60, 80], "counts": [4611686018427387904, 4611686018427387904, 4611686018427387904, '
        "4611686018427387904, 2400, 2400]}",  # 4 x 2^62 is 0 in 64 bits
        '{"size": [60, 80], "counts": [18446744073709551616, 4800]}',
        '{"size": [60, 80], "counts": [-10, 4810]}',
        '{"size": [60, 80], "counts": [2400.5, 2399.5]}',
        '{"size": [60, 80], "counts": [NaN, 4800]}',
        '{"size": [1e308, 1e308], "counts": [4800]}',
        '{"size": [4294967296, 4294967296], "counts": [0]}',
        "[" + ",".join(["[0, 0, 9, 0, 9, 9]"] * 1001) + "]",
        '[["x", 1]]',
        "7",
        "[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_no_mask(row, segmentation):
    row = row | {"segmentation": segmentation}
    assert read_background(row, FULL, size_hw=(40, 53), boxes=True) is None


def test_an_empty_or_full_mask_tells_nothing(row, tmp_path):
    for value in (0, 255):
        cv2.imwrite(str(tmp_path / "m.png"), np.full((60, 80), value, np.uint8))
        assert read_background(row | {"mask": "m.png"}, FULL, size_hw=(40, 53), boxes=False) is None


def test_a_photo_without_anything_has_no_mask(row):
    assert not has_mask(row | {"mask": "", "segmentation": "", "bbox": None}, boxes=True)
    assert read_background(row, FULL, size_hw=(40, 53), boxes=True) is None


def test_a_mask_that_is_refused_is_told_with_its_photo(row):
    told: list[str] = []
    row = row | {"segmentation": '{"size": [60, 80], "counts": [4611686018427387904, 4800]}'}
    assert read_background(row, FULL, size_hw=(40, 53), boxes=True, told=told.append) is None
    assert told == ["photo.png: its mask is not used (4611686018427387904: expected a number from 0 to 4800)"]
