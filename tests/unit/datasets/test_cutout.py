"""A photo of the animal alone: all else is black, and no keypoint lies there."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Data, Images
from reid_ray.config.matching import Sift
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.cutout import CROP, Row, cut_out, painted
from reid_ray.datasets.images import BadImage
from reid_ray.datasets.masks import read_animal
from reid_ray.datasets.store import PreparedStore
from reid_ray.matching import sift

SETTINGS = Images(short_px=64, crop="mask")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A noisy photo of 160 x 120, with a mask of the middle 80 x 60."""
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[30:90, 40:120] = 255
    cv2.imwrite(str(tmp_path / "photo.png"), pixels[..., ::-1])
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    return tmp_path


def prepared(row: Row, settings: Images, folder: Path) -> tuple[np.ndarray, str]:
    store = PreparedStore(folder / "store", settings)
    (placed,) = store.prepare([row], store.index())
    assert placed.error == ""
    return np.asarray(store.open([placed])[0]), placed.content


def test_only_the_animal_is_left_and_the_photo_is_cut_to_it(folder: Path) -> None:
    pixels = cv2.imread(str(folder / "photo.png"))[..., ::-1]
    mask = np.zeros((120, 160), bool)
    mask[30:90, 40:120] = True
    mask[30:40, 40:50] = False
    found = cut_out(np.ascontiguousarray(pixels), mask)
    assert found.shape == (60, 80, 3)
    assert not found[:10, :10].any()
    np.testing.assert_array_equal(found[20:, 20:], np.maximum(pixels[50:90, 60:120], 1))
    assert painted(found)[:10, :10].all()
    assert not painted(found)[12:, 12:].any()


def test_masks_polygons_and_run_lengths_give_the_same_photo(folder: Path) -> None:
    plain = Row(str(folder), "photo.png", None)
    runs = [40 * 120 + 30]
    for column in range(80):
        runs += [60, 60 if column < 79 else 30 + 40 * 120]
    shapes = {
        "mask": "mask.png",
        "polygon": json.dumps([[40, 30, 119, 30, 119, 89, 40, 89]]),
        "runs": json.dumps({"size": [120, 160], "counts": runs}),
    }
    rows = [plain._replace(mask=shapes["mask"])]
    rows += [plain._replace(segmentation=shapes[name]) for name in ("polygon", "runs")]
    found = [prepared(row, SETTINGS, folder) for row in rows]
    assert found[0][0].shape == (64, 85, 3)
    for photo, content in found[1:]:
        np.testing.assert_array_equal(photo, found[0][0])
        assert content == found[0][1]


def test_compressed_run_lengths_are_cocos() -> None:
    # The example of COCO's own maskApi: counts 6, 1, 40, 4, 5, 4, 5, 4, 21 of a 9 x 10 mask.
    plain = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    packed, counts = "", []
    for number, count in enumerate(plain):
        value = count - plain[number - 2] if number > 2 else count
        more = True
        while more:
            five = value & 31
            value >>= 5
            more = value != (-1 if five & 16 else 0)
            packed += chr(48 + (five | 32 if more else five))
        counts.append(count)
    shape = {"size": [9, 10], "counts": packed}
    found = read_animal({"segmentation": json.dumps(shape)}, max_pixels=1000)
    expected = read_animal({"segmentation": json.dumps({"size": [9, 10], "counts": counts})}, max_pixels=1000)
    assert found is not None
    assert expected is not None
    assert packed == "61X13mN000`0"  # as pycocotools writes it
    np.testing.assert_array_equal(found, expected)


def test_a_photo_without_a_mask_is_whole_and_one_with_a_damaged_mask_is_quarantined(folder: Path) -> None:
    plain = Row(str(folder), "photo.png", None)
    whole, _ = prepared(plain, SETTINGS, folder)
    assert whole.shape == (64, 85, 3)
    assert (whole > 0).any(axis=2).all()
    store = PreparedStore(folder / "store", SETTINGS)
    for row in (plain._replace(segmentation="[[1, 2"), plain._replace(mask="none.png")):
        (placed,) = store.prepare([row], store.index())
        assert "mask" in placed.error or "none.png" in placed.error
    with pytest.raises(BadImage, match="32 px"):
        cut_out(np.ones((100, 100, 3), np.uint8), np.eye(100, dtype=bool)[:, ::-1] & (np.arange(100) < 9))


def test_each_collection_has_its_own_crop(folder: Path) -> None:
    names = {"whole": "full", "animal": "mask", "default": None}
    for name in names:
        rows = [{"image_id": "1", "identity": "leo", "path": "photo.png", "mask": "mask.png"}]
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    raw = [
        {"source": "table", "name": name, "root": str(folder), "metadata": f"{name}.csv"}
        | ({"crop": crop} if crop else {})
        for name, crop in names.items()
    ]
    rows = load_rows(Data.parse({"datasets": raw}, where="test"), made=folder).rows
    assert dict(zip(rows["dataset"], rows[CROP].fillna(""), strict=True)) == {
        "whole": "full",
        "animal": "mask",
        "default": "",
    }
    every = load_rows(
        Data.parse({"datasets": raw, "images": {"crop": "mask"}}, where="test"), made=folder
    ).rows
    assert dict(zip(every["dataset"], every[CROP], strict=True)) == {
        "whole": "full",
        "animal": "mask",
        "default": "mask",
    }


def test_no_keypoint_is_left_outside_the_animal() -> None:
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(1, 256, (30, 40, 3), dtype=np.uint8), (160, 120))
    photo = np.where((np.arange(160) < 90)[None, :, None], noise, 0).astype(np.uint8)
    image = sift.extract([noise], Sift()).image(0)
    assert (image.points_xy[:, 0] > 95).any()
    kept = image.outside(painted(photo))
    assert len(kept) > 5
    assert kept.points_xy[:, 0].max() < 90
    inside = image.points_xy[:, 0].astype(int) < 89
    assert len(kept) == inside.sum()
    small = painted(np.ascontiguousarray(photo[::2, ::2]))
    assert replace(image).outside(small).points_xy[:, 0].max() < 90
