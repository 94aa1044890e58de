"""Keypoints outside the box or the mask are not matched, and the photo stays whole."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from collection import bench, gallery_of, pictures, table

from reid_ray.config.datasets import Data
from reid_ray.config.matching import Matching
from reid_ray.datasets.catalogue import load_rows
from reid_ray.methods.animals import animals_of
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.on_animals import on_animals

SIFT = Matching.parse({"thresholds": [0.7], "name": "s"}, where="test")
BOX = (20.0, 10.0, 40.0, 30.0)


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    """Photos as they are; the first four say where the animal is."""
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures()):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), picture)
    found = table(root=str(tmp_path / "photos"), path=[f"{n}.png" for n in range(30)])
    x, y, w, h = BOX
    polygon = [[x, y, x + w / 2, y, x + w / 2, y + h, x, y + h]]  # the box's left half
    found["bbox"] = [BOX if n < 4 else None for n in range(30)]
    found["segmentation"] = [json.dumps(polygon) if n < 4 else "" for n in range(30)]
    found["keypoints"] = ["box", "box", "mask", "mask", *["box"] * 2, *[""] * 24]
    return found


def test_keypoints_are_those_within_the_box_or_mask_and_all_where_neither_is_known(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    here = bench(tmp_path)
    gallery = gallery_of(rows)
    every = here.features(gallery.photos, SIFT)
    kept = on_animals(every, gallery, here)
    x, y, w, h = BOX
    rim = 1.5  # of masks, in pixels of the photo
    for at, photo in enumerate(gallery.photos):
        points, all_points = kept.image(at).points_xy, every.image(at).points_xy
        if photo >= 4:
            np.testing.assert_array_equal(points, all_points)
            continue
        right = x + (w if photo < 2 else w / 2)
        px, py = all_points.T
        outside = np.maximum.reduce([x - px, px - right, y - py, py - (y + h)])
        found = {tuple(point) for point in points}
        assert all(tuple(point) in found for point in all_points[outside < -1.5])
        assert not any(tuple(point) in found for point in all_points[outside > rim])
        assert 0 < len(points) < len(all_points)


def test_work_on_other_keypoints_is_not_found_again(rows: pd.DataFrame) -> None:
    method = LocalFeatures(SIFT)
    whole, part = gallery_of(rows.drop(columns="keypoints")), gallery_of(rows)
    assert whole.fingerprint != part.fingerprint
    queries_alone = rows.assign(keypoints=np.where(rows["split"] == "query", rows["keypoints"], ""))
    assert gallery_of(queries_alone).fingerprint == whole.fingerprint
    keys = {method.work_key(one) for one in (whole, part, gallery_of(queries_alone))}
    assert len(keys) == 3


def test_each_collection_says_which_keypoints(rows: pd.DataFrame, tmp_path: Path) -> None:
    part = rows.iloc[:4][["identity", "path", "segmentation", "keypoints"]]
    part.assign(box=[json.dumps(BOX)] * 4).to_csv(tmp_path / "photos" / "t.csv", index=False)
    raw = {"source": "table", "root": str(tmp_path / "photos"), "metadata": "t.csv"}
    raw |= {"columns": {"bbox": "box"}}  # type: ignore[dict-item]
    data = Data.parse(
        {"datasets": [raw | {"name": "some", "keypoints": "box"}, raw | {"name": "every"}]}, where="test"
    )
    found = load_rows(data, made=tmp_path).rows
    animals = animals_of(found)
    assert [found["dataset"].iloc[place] for place in animals] == ["some"] * 4
    assert all(one.row.segmentation == "" and one.row.bbox == BOX for one in animals.values())


def test_a_damaged_mask_leaves_the_photo_whole(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows["segmentation"] = "[[1, 2"
    gallery = gallery_of(rows)
    here = bench(tmp_path)
    every = here.features(gallery.photos, SIFT)
    kept = on_animals(every, gallery, here)
    (damaged,) = np.flatnonzero(gallery.photos == 2)
    assert len(kept.image(damaged)) == len(every.image(damaged))
