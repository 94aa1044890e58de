"""What camera-trap programs write is read without a config; column names as in their documentation."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reid_ray.config.datasets import Data, Images
from reid_ray.datasets.catalogue import LoadedRows, load_rows
from reid_ray.datasets.dates import read_dates
from reid_ray.datasets.understand import Said, Understood, understand
from reid_ray.errors import DatasetError

Write = Callable[..., Path]
PHOTOS = ["leo/1.jpg", "leo/2.jpg", "mia/3.jpg", "mia/4.jpg"]
NAMES = ["leo", "leo", "mia", "mia"]


@pytest.fixture
def root(tmp_path: Path, write_photo: Write) -> Path:
    for place, name in enumerate(PHOTOS):
        write_photo(tmp_path / "lynx" / name, place)
    return tmp_path / "lynx"


def read(found: Understood) -> LoadedRows:
    images = Images(crop="bbox" if found.boxes else "full", max_bad_share=1.0)
    return load_rows(Data(datasets=(found.dataset,), images=images), made=Path("unused"))


def table(root: Path, **columns: Any) -> pd.DataFrame:
    """The rows that a table of these columns gives, by path."""
    pd.DataFrame(columns).to_csv(root / "list.csv", index=False)
    return read(understand(root)).rows.set_index("path").sort_index()


def test_animls_manifest_gives_boxes_of_four_columns(root: Path) -> None:
    boxes = {"bbox_x": [0.1, 0.2, 0, 0.1], "bbox_y": [0.1] * 2 + [0, 0.1]}
    boxes |= {"bbox_w": [0.5, 0.5, 0, 0.9], "bbox_h": [0.4, 0.4, 0, 0.9]}
    full = [f"/home/me/lynx/{path}" for path in PHOTOS]
    rows = table(
        root, filepath=full, filename=[p.rpartition("/")[2] for p in PHOTOS], individual=NAMES, **boxes
    )
    assert rows["identity"].tolist() == NAMES
    assert rows["bbox"].tolist() == [[0.1, 0.1, 0.5, 0.4], [0.2, 0.1, 0.5, 0.4], None, [0.1, 0.1, 0.9, 0.9]]


def test_corners_are_told_from_sides_by_their_names(root: Path) -> None:
    sides = {"xmin": [10] * 4, "ymin": [5] * 4, "xmax": [45] * 4, "ymax": [38] * 4}
    rows = table(root, file=PHOTOS, identity=NAMES, **sides)
    assert rows["bbox"].tolist() == [[10, 5, 35, 33]] * 4


@pytest.mark.parametrize("cell", ["[10, 5, 35, 33]", "10 5 35 33", "(10,5,35,33)", "10;5;35;33"])
def test_a_box_is_read_however_it_is_written(root: Path, cell: str) -> None:
    rows = table(root, file=PHOTOS, identity=NAMES, bbox=[cell] * 4)
    assert rows["bbox"].tolist() == [[10, 5, 35, 33]] * 4


def test_matchypatchys_columns_keep_their_meaning(root: Path) -> None:
    rows = table(
        root,
        Filepath=PHOTOS,
        Timestamp=["2024-05-01 10:00:00"] * 4,
        Station=["S1", "S1", "S2", "S2"],
        Individual=NAMES,
        Viewpoint=["L", "Right", "left side", "front"],
        sequence_id=["q1", "q1", "q2", "q3"],
    )
    assert rows["identity"].tolist() == NAMES
    assert rows["orientation"].tolist() == ["left", "right", "left", "front"]
    assert rows["location"].tolist() == ["S1", "S1", "S2", "S2"]
    assert rows["encounter"].tolist() == ["q1", "q1", "q2", "q3"]
    assert rows["date"].tolist() == ["2024-05-01 10:00:00"] * 4


@pytest.mark.parametrize(
    "name", ["encounter", "Encounter", "sequence_id", "eventID", "Encounter ID", "Episode"]
)
def test_a_column_of_encounters_goes_by_many_names(root: Path, name: str) -> None:
    rows = table(root, **{"file": PHOTOS, "identity": NAMES, name: ["e1", "e1", "e2", "e3"]})
    assert rows["encounter"].tolist() == ["e1", "e1", "e2", "e3"]


def test_speciesnets_predictions_give_the_surest_box(root: Path) -> None:
    found = [
        {"category": "1", "label": "animal", "conf": 0.6, "bbox": [0.5, 0.5, 0.25, 0.25]},
        {"category": "1", "label": "animal", "conf": 0.9, "bbox": [0.0, 0.25, 0.5, 0.75]},
        {"category": "2", "label": "human", "conf": 0.99, "bbox": [0, 0, 1, 1]},
    ]
    predictions: list[dict[str, Any]] = [
        {"filepath": f"D:\\lynx\\{path}", "detections": found} for path in PHOTOS
    ]
    predictions[3] = {"filepath": "D:\\lynx\\mia\\4.jpg", "failures": ["DETECTOR"]}
    (root / "predictions.json").write_text(json.dumps({"predictions": predictions}))
    loaded = read(understand(root))
    assert loaded.rows.set_index("path")["bbox"].to_dict() == {
        **{path: [0.0, 0.25, 0.5, 0.75] for path in PHOTOS[:3]},
        "mia/4.jpg": None,
    }
    boxes = loaded.intakes[0].boxes
    assert boxes is not None
    assert (boxes.boxed, boxes.failed, boxes.unlisted) == (3, 1, 0)


def camtrap(root: Path, **observation: list[str]) -> None:
    media = pd.DataFrame(
        {"mediaID": ["m1", "m2"], "deploymentID": "d", "filePath": PHOTOS[:2], "timestamp": ""}
    )
    media.to_csv(root / "media.csv", index=False)
    pd.DataFrame({"observationID": ["o1", "o2", "o3"], **observation}).to_csv(
        root / "observations.csv", index=False
    )


def test_camtrap_dp_without_a_description_is_known_by_its_tables(root: Path) -> None:
    camtrap(
        root,
        mediaID=["m1", "m2", ""],
        eventID=["e1", "e1", "e2"],
        observationType=["animal", "animal", "animal"],
        individualID=["leo", "mia", "leo"],
    )
    found = understand(root)
    assert found.dataset.source == "camtrap_dp"
    loaded = read(found)
    assert loaded.rows["identity"].tolist() == ["leo", "mia"]
    assert loaded.quarantine["image_id"].tolist() == ["o3"]
    assert "of a whole event" in loaded.quarantine["reason"][0]


def test_people_and_vehicles_of_camtrap_dp_are_no_animals(root: Path) -> None:
    kinds = ["animal", "human", "vehicle"]
    camtrap(root, mediaID=["m1", "m2", "m2"], observationType=kinds, individualID=["leo", "", ""])
    assert read(understand(root)).rows["path"].tolist() == ["leo/1.jpg"]


def test_camtrap_dp_without_individuals_gives_way_to_folders(root: Path) -> None:
    camtrap(root, mediaID=["m1", "m2", ""], observationType=["animal"] * 3, individualID=["", "", ""])
    found = understand(root)
    assert found.dataset.source == "folder"
    assert any("individualID" in told for told in found.reasons)


def test_one_photo_is_a_collection(root: Path) -> None:
    found = understand(root / "leo/2.jpg", named=False)
    assert read(found).rows["path"].tolist() == ["2.jpg"]


def test_links_are_followed_where_that_is_asked_for(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    os.rename(root / "mia", outside)
    (root / "mia").symlink_to(outside)
    (root / "leo/round").symlink_to(root)
    plain = read(understand(root))
    assert plain.rows["identity"].unique().tolist() == ["leo"]
    assert set(plain.quarantine["path"]) == {"mia/", "leo/round/"}
    followed = read(understand(root, said=Said(follow_links=True)))
    assert sorted(followed.rows["path"]) == PHOTOS
    from reid_ray.datasets.images import open_photo

    row = followed.rows.set_index("path").loc["mia/3.jpg"]
    assert open_photo(row["root"], "mia/3.jpg", max_pixels=10**6).shape == (40, 48, 3)


def test_the_column_of_animals_can_be_said(root: Path) -> None:
    pd.DataFrame({"file": PHOTOS, "who": NAMES, "individual": ["x"] * 4}).to_csv(root / "a.csv", index=False)
    rows = read(understand(root, said=Said(identity_column="who"))).rows
    assert rows.sort_values("path")["identity"].tolist() == NAMES
    with pytest.raises(DatasetError, match="it has no column 'whose', but file, who, individual"):
        understand(root, said=Said(identity_column="whose"))


def test_the_better_of_two_tables_is_taken_and_the_other_named(root: Path) -> None:
    pd.DataFrame({"path": PHOTOS[:1], "identity": NAMES[:1]}).to_csv(root / "a.csv", index=False)
    pd.DataFrame({"path": PHOTOS, "identity": NAMES}).to_csv(root / "b.csv", index=False)
    (root / "c.xlsx").write_bytes(b"no spreadsheet")
    found = understand(root)
    assert found.dataset.source == "table"
    assert found.dataset.metadata == "b.csv"
    assert "not used: a.csv, because it lists 1 of the photos, b.csv 4" in found.reasons
    assert any(told.startswith("not used: c.xlsx, because it cannot be read") for told in found.reasons)


@pytest.mark.parametrize(
    ("cells", "read", "problem"),
    [
        (["13/03/2021", "04/03/2021"], ["2021-03-13", "2021-03-04"], ""),
        (["03/13/2021 10:22", "03/04/2021"], ["2021-03-13 10:22", "2021-03-04"], ""),
        (["13.03.2021"], ["2021-03-13"], ""),
        (["13-Mar-2021 10:22:00"], ["2021-03-13 10:22:00"], ""),
        (["2021-3-4"], ["2021-03-04"], ""),
        (["03/04/2021"], ["03/04/2021"], "may have the day or the month first"),
        (["13/03/2021", "03/13/2021"], ["13/03/2021", "03/13/2021"], "contradict each other"),
        (["spring", ""], ["spring", ""], "cannot be read as days"),
        (["2021-03-13T10:22:00Z", "2021:03:13 10:22", "20210313", "2021"], None, ""),
    ],
)
def test_dates_are_read_where_their_order_is_sure(
    cells: list[str], read: list[str] | None, problem: str
) -> None:
    found = read_dates(pd.Series(cells, dtype="str"))
    assert found.texts.tolist() == (cells if read is None else read)
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)
