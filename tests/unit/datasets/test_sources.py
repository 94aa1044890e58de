"""COCO, Wildbook sheets, spreadsheets and MegaDetector's boxes become rows of the one table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_ray.config.datasets import Data, Images
from reid_ray.datasets.catalogue import LoadedRows, load_rows
from reid_ray.datasets.images import content_hash, in_pixels, read_prepared
from reid_ray.errors import ConfigError, DatasetError

Write = Callable[..., Path]


def load(dataset: dict[str, Any], **images: Any) -> LoadedRows:
    images.setdefault("max_bad_share", 1.0)
    raw = {"datasets": [{"name": "d", **dataset}], "images": images}
    return load_rows(Data.parse(raw, where="test"), made=Path("unused"))


@pytest.fixture
def root(tmp_path: Path, write_photo: Write) -> Path:
    for place, name in enumerate(["a.jpg", "b.jpg", "sub/c.jpg"]):
        write_photo(tmp_path / name, place)
    return tmp_path


def put(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


CAMERA_TRAPS = {
    "images": [
        {
            "id": "i1",
            "file_name": "a.jpg",
            "location": "pond",
            "datetime": "2024-03-09 05:01:00",
            "seq_id": "s1",
            "width": 64,
            "height": 48,
        },
        {"id": "i2", "file_name": "sub/c.jpg", "location": "ridge", "seq_id": "s2"},
        {"id": "i3", "file_name": "b.jpg"},
    ],
    "annotations": [
        {"id": "n1", "image_id": "i1", "category_id": 1, "bbox": [1, 2, 40, 41], "individual_id": 7},
        {"id": "n2", "image_id": "i1", "category_id": 1, "bbox": [3, 4, 50, 44], "individual_id": "08"},
        {"id": "n3", "image_id": "i2", "category_id": 2, "individual_ids": ["x"], "viewpoint": "left"},
        {"id": "n4", "image_id": "i2", "category_id": 0},
        {"id": "n5", "image_id": "gone", "category_id": 1, "individual_id": "7"},
    ],
    "categories": [{"id": 0, "name": "empty"}, {"id": 1, "name": "lynx"}, {"id": 2, "name": "hare"}],
}


def test_each_annotation_of_an_animal_is_a_photo_with_its_own_box(root: Path) -> None:
    put(root / "annotations.json", CAMERA_TRAPS)
    loaded = load({"source": "coco", "root": str(root)}, crop="bbox")
    rows = loaded.rows.set_index("image_id")
    assert rows["identity"].to_dict() == {"n1": "7", "n2": "08", "n3": "unknown", "i3": "unknown"}
    assert rows.loc["n1", ["path", "species", "location", "encounter", "date"]].tolist() == [
        "a.jpg",
        "lynx",
        "pond",
        "s1",
        "2024-03-09 05:01:00",
    ]
    assert rows["bbox"].to_dict() == {"n1": [1, 2, 40, 41], "n2": [3, 4, 50, 44], "n3": None, "i3": None}
    assert rows.loc["n3", "orientation"] == "left"
    assert loaded.quarantine["image_id"].tolist() == ["n5"]
    assert "not listed under images" in loaded.quarantine["reason"][0]


def test_the_field_of_individuals_can_be_named_and_a_wrong_name_lists_what_there_is(root: Path) -> None:
    put(root / "annotations.json", CAMERA_TRAPS)
    source = {"source": "coco", "root": str(root)}
    by_list = load({**source, "identity": "individual_ids"}).rows.set_index("image_id")
    assert by_list["identity"].to_dict()["n3"] == "x"
    by_category = load({**source, "identity": "category"}).rows.set_index("image_id")
    assert by_category["identity"].to_dict() == {"n1": "lynx", "n2": "lynx", "n3": "hare", "i3": "unknown"}
    with pytest.raises(DatasetError, match=r"none of \['nom'\] names .*individual_id.*seq_id"):
        load({**source, "identity": "nom"})


@pytest.mark.parametrize("value", [[], {"images": {}}, {"images": [1]}, {"images": []}, "x", None])
def test_other_json_is_told_from_coco(root: Path, value: Any) -> None:
    put(root / "annotations.json", value)
    with pytest.raises(DatasetError, match=r"not COCO|list of images is empty"):
        load({"source": "coco", "root": str(root)})


def test_json_that_is_cut_short_is_told(root: Path) -> None:
    (root / "annotations.json").write_text('{"images": [')
    with pytest.raises(DatasetError, match=r"annotations\.json: not readable as JSON"):
        load({"source": "coco", "root": str(root)})


def test_a_wildbook_sheet_gives_a_photo_per_media_asset(root: Path) -> None:
    sheet = pd.DataFrame(
        {
            "Encounter.mediaAsset0": ["a.jpg", "sub/c.jpg"],
            "Encounter.MediaAsset.1": ["b.jpg", ""],
            "Encounter.individualID": ["007", ""],
            "Encounter.genus": ["Lynx", "Lynx"],
            "Encounter.specificEpithet": ["lynx", "pardinus"],
            "Encounter.year": [2024, 2023],
            "Encounter.month": ["3", ""],
            "Encounter.day": ["9", "4"],
            "Encounter.locationID": ["pond", ""],
            "Encounter.decimalLatitude": [51.5, 48.1],
        }
    )
    sheet.to_excel(root / "metadata.xlsx", index=False)
    rows = load({"source": "wildbook", "root": str(root)}).rows.set_index("path")
    assert rows["identity"].to_dict() == {"a.jpg": "007", "b.jpg": "007", "sub/c.jpg": "unknown"}
    assert rows["date"].to_dict() == {"a.jpg": "2024-03-09", "b.jpg": "2024-03-09", "sub/c.jpg": "2023"}
    assert rows["species"].to_dict()["sub/c.jpg"] == "Lynx pardinus"
    assert rows.loc["a.jpg", "encounter"] == rows.loc["b.jpg", "encounter"]
    assert rows.loc["a.jpg", "encounter"] != rows.loc["sub/c.jpg", "encounter"]
    assert not [name for name in rows if "atitude" in name]  # where an animal lives stays out


def test_a_sheet_without_media_assets_is_no_wildbook_sheet(root: Path) -> None:
    (root / "m.csv").write_text("identity,path\nleo,a.jpg\n")
    with pytest.raises(DatasetError, match=r"no column Encounter\.mediaAsset0; found \['identity'"):
        load({"source": "wildbook", "root": str(root), "metadata": "m.csv"})


def test_an_excel_table_keeps_its_cells_as_written(root: Path) -> None:
    table = pd.DataFrame({"identity": ["007", "NA", ""], "path": ["a.jpg", "b.jpg", ""]})
    table.to_excel(root / "m.xlsx", index=False)
    rows = load({"source": "table", "root": str(root), "metadata": "m.xlsx"}).rows
    assert dict(zip(rows["path"], rows["identity"], strict=True)) == {"a.jpg": "007", "b.jpg": "NA"}
    (root / "bad.xlsx").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DatasetError, match=r"bad\.xlsx: not a readable spreadsheet"):
        load({"source": "table", "root": str(root), "metadata": "bad.xlsx"})


SHARES = {
    "info": {"format_version": "1.4"},
    "detection_categories": {"1": "animal", "2": "person"},
    "images": [
        {
            "file": "trip/a.jpg",
            "detections": [
                {"category": "1", "conf": 0.5, "bbox": [0.25, 0.0, 0.5, 0.75]},
                {"category": "1", "conf": 0.9, "bbox": [0.0, 0.25, 0.5, 0.7501]},
                {"category": "2", "conf": 0.99, "bbox": [0, 0, 1, 1]},
            ],
        },
        {"file": "trip/b.jpg", "detections": [{"category": "1", "conf": 0.1, "bbox": [0, 0, 1, 1]}]},
        {"file": "trip/sub/c.jpg", "failure": "image access"},
    ],
}
CORNERS = [
    {
        "file": "/home/me/a.jpg",
        "detections": [
            {"category": "animal", "confidence": 0.9, "bbox": [0, 12, 32, 48]},
            {"category": "animal", "confidence": 0.5, "bbox": [16, 0, 48, 36]},
            {"category": "person", "confidence": 0.99, "bbox": [0, 0, 64, 48]},
        ],
    },
    {"file": "/home/me/b.jpg", "detections": []},
]


@pytest.mark.parametrize(("results", "best"), [(SHARES, [0.0, 0.25, 0.5, 0.75]), (CORNERS, [0, 12, 32, 36])])
def test_both_formats_of_megadetector_give_the_surest_animal(
    root: Path, results: Any, best: list[float]
) -> None:
    put(root / "md.json", results)
    source = {"source": "folder", "root": str(root), "detections": {"file": "md.json"}}
    rows = load(source, crop="bbox").rows.set_index("path")
    assert rows["bbox"].to_dict() == {"a.jpg": best, "b.jpg": None, "sub/c.jpg": None}


def test_boxes_of_both_formats_cut_the_same_pixels(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "p.png")
    settings = Images(short_px=50, crop="bbox")
    by_share = read_prepared(str(tmp_path), "p.png", images=settings, bbox=[0.25, 0.5, 0.5, 0.5])
    by_pixel = read_prepared(str(tmp_path), "p.png", images=settings, bbox=[50, 50, 100, 50])
    assert np.array_equal(by_share.pixels, photo[50:100, 50:150])
    assert np.array_equal(by_share.pixels, by_pixel.pixels)
    whole = read_prepared(str(tmp_path), "p.png", images=Images(short_px=100), bbox=None)
    assert whole.content == content_hash((tmp_path / "p.png").read_bytes()) != by_pixel.content


def test_a_box_of_one_pixel_corner_counts_as_shares() -> None:
    assert in_pixels([0, 0, 1, 1], width=40, height=30) == (0, 0, 40, 30)
    assert in_pixels([0, 0, 1, 1.5], width=40, height=30) == (0, 0, 1, 1.5)


def test_several_unknown_animals_of_one_photo_become_photos_of_their_own(root: Path) -> None:
    put(root / "md.json", SHARES)
    detections = {"file": "md.json", "several": "all", "without": "quarantine"}
    source = {"source": "folder", "root": str(root), "detections": detections}
    loaded = load(source, crop="bbox")
    assert loaded.rows["path"].tolist() == ["a.jpg", "a.jpg"]
    assert [name.partition("#")[2] for name in loaded.rows["image_id"]] == ["", "2"]
    reasons = dict(zip(loaded.quarantine["path"], loaded.quarantine["reason"], strict=True))
    assert reasons == {"b.jpg": "no animal was detected", "sub/c.jpg": "no animal was detected"}


def test_a_named_photo_keeps_one_box(root: Path) -> None:
    put(root / "md.json", SHARES)
    (root / "m.csv").write_text("identity,path\nleo,a.jpg\n")
    source = {
        "source": "table",
        "root": str(root),
        "metadata": "m.csv",
        "detections": {"file": "md.json", "several": "all"},
    }
    rows = load(source, crop="bbox").rows
    assert rows["bbox"].tolist() == [[0.0, 0.25, 0.5, 0.75]]


@pytest.mark.parametrize(
    "value",
    [
        {"images": [{"file": "a.jpg", "detections": [{"category": "1", "conf": 1, "bbox": [1, 2]}]}]},
        {"annotations": []},
        [{"file": "a.jpg"}],
        [3],
        "x",
        None,
    ],
)
def test_other_json_is_told_from_megadetectors(root: Path, value: Any) -> None:
    put(root / "md.json", value)
    source = {"source": "folder", "root": str(root), "detections": {"file": "md.json"}}
    with pytest.raises(DatasetError, match="not MegaDetector's results"):
        load(source, crop="bbox")


def test_detections_of_other_photos_are_told(root: Path) -> None:
    put(root / "md.json", [{"file": "other.jpg", "detections": []}])
    source = {"source": "folder", "root": str(root), "detections": {"file": "md.json"}}
    with pytest.raises(DatasetError, match=r"none of the 3 photos of d; it lists .*other\.jpg"):
        load(source, crop="bbox")


def test_detections_without_cropping_are_refused(root: Path) -> None:
    source = {"source": "folder", "root": str(root), "detections": {"file": "md.json"}}
    with pytest.raises(ConfigError, match=r"set images\.crop to bbox"):
        load(source)
