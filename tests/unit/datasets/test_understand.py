"""A folder of photos is understood without a config."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from reid_ray.config.datasets import Data
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.understand import understand
from reid_ray.errors import DatasetError
from reid_ray.runs.storage import open_filesystem

Write = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, write_photo: Write) -> Path:
    root = tmp_path / "Lynx of 2024"
    for place, name in enumerate(["leo/1.jpg", "leo/2.jpg", "mia/3.jpg"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_photo(root / name, place)
    return root


def identities(folder: Path) -> dict[str, str]:
    """What a study would read with what was understood, also after a way through YAML."""
    import yaml

    item = yaml.safe_load(understand(folder).yaml())
    data = Data.parse({"datasets": [item], "images": _crop(item)}, where="test")
    rows = load_rows(data, made=Path("unused")).rows
    return dict(zip(rows["path"], rows["identity"], strict=True))


def _crop(item: dict[str, object]) -> dict[str, object]:
    return {"crop": "bbox"} if "detections" in item else {}


NAMED = {"leo/1.jpg": "leo", "leo/2.jpg": "leo", "mia/3.jpg": "mia"}


def test_folders_are_animals(photos: Path) -> None:
    found = understand(photos)
    assert (found.dataset.source, found.dataset.name) == ("folder", "Lynx-of-2024")
    assert identities(photos) == NAMED


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx", ".parquet"])
def test_a_table_with_other_column_names_is_read(photos: Path, suffix: str) -> None:
    table = pd.DataFrame({"File Name": list(NAMED), "Animal ID": list(NAMED.values())})
    write = {
        ".csv": lambda path: table.to_csv(path, index=False),
        ".tsv": lambda path: table.to_csv(path, index=False, sep="\t"),
        ".xlsx": lambda path: table.to_excel(path, index=False),
        ".parquet": lambda path: table.to_parquet(path, index=False),
    }
    write[suffix](photos / f"list{suffix}")
    found = understand(photos)
    assert found.dataset.source == "table"
    assert "column 'Animal ID' is read as identity" in found.reasons
    assert identities(photos) == NAMED
    assert understand(photos / f"list{suffix}") == found


def test_a_table_that_lists_something_else_is_passed_over(photos: Path) -> None:
    (photos / "cameras.csv").write_text("camera,battery\n1,full\n")
    assert understand(photos).dataset.source == "folder"


def test_a_table_without_names_of_animals_gives_way_to_the_folders_and_is_told(photos: Path) -> None:
    (photos / "metadata.csv").write_text("path,camera\nleo/1.jpg,3\n")
    found = understand(photos)
    assert found.dataset.source == "folder"
    assert any(one.startswith("not used: metadata.csv, because none of its columns") for one in found.reasons)


def test_a_table_without_names_beside_a_heap_of_photos_says_what_to_rename(
    tmp_path: Path, write_photo: Write
) -> None:
    for place in range(3):
        write_photo(tmp_path / f"{place}.jpg", place)
    (tmp_path / "metadata.csv").write_text("path,camera\n0.jpg,3\n1.jpg,3\n2.jpg,4\n")
    with pytest.raises(DatasetError, match="rename that column to 'identity'"):
        understand(tmp_path)


def test_coco_and_detections_beside_the_photos_are_found(photos: Path) -> None:
    coco = {
        "images": [{"id": i, "file_name": path} for i, path in enumerate(NAMED)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "name": name} for i, name in enumerate(NAMED.values())
        ],
        "categories": [{"id": 1, "name": "lynx"}],
    }
    (photos / "annotations.json").write_text(json.dumps(coco))
    (photos / "md.json").write_text(json.dumps([{"file": "leo/1.jpg", "detections": []}]))
    found = understand(photos)
    assert found.dataset.source == "coco"
    assert found.dataset.detections is not None
    assert found.dataset.detections.file == "md.json"
    assert identities(photos) == NAMED


def test_a_wildbook_sheet_is_recognised_by_its_columns(photos: Path) -> None:
    sheet = pd.DataFrame(
        {"Encounter.mediaAsset0": list(NAMED), "Encounter.individualID": list(NAMED.values())}
    )
    sheet.to_csv(photos / "metadata.csv", index=False)
    assert understand(photos).dataset.source == "wildbook"
    assert identities(photos) == NAMED


def test_a_split_of_the_table_is_offered(photos: Path) -> None:
    (photos / "metadata.csv").write_text("path,identity,split\nleo/1.jpg,leo,train\n")
    assert any("{kind: given}" in reason for reason in understand(photos).reasons)


def test_an_empty_folder_and_a_wrong_path_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no photo .* and no table"):
        understand(tmp_path)
    with pytest.raises(DatasetError, match="no such folder or file"):
        understand(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match="neither a table"):
        understand(tmp_path / "notes.txt")


def test_collections_in_object_storage_are_understood_by_their_address(bucket: str) -> None:
    filesystem, base = open_filesystem(f"{bucket}/lynx")
    for path in ("photos/leo/1.jpg", "photos/mia/2.jpg", "listed/a.jpg", "listed/b.jpg"):
        with filesystem.open_output_stream(f"{base}/{path}") as file:
            file.write(b"\xff\xd8\xff\xe0" + bytes(60))
    with filesystem.open_output_stream(f"{base}/listed/who.csv") as file:
        file.write(b"identity,path\nleo,a.jpg\nmia,b.jpg\n")
    folders = understand(f"{bucket}/lynx/photos").dataset
    assert (folders.source, folders.root, folders.name) == ("folder", f"{bucket}/lynx/photos", "lynx")
    table = understand(f"{bucket}/lynx/listed/who.csv").dataset
    assert (table.source, table.root) == ("table", f"{bucket}/lynx/listed")
    loaded = load_rows(Data(datasets=(table,)), made=Path("unused")).rows
    assert dict(zip(loaded["path"], loaded["identity"], strict=True)) == {"a.jpg": "leo", "b.jpg": "mia"}
    one = understand(f"{bucket}/lynx/photos/leo/1.jpg", named=False).dataset
    assert (one.root, one.only) == (f"{bucket}/lynx/photos/leo", ("1.jpg",))  # type: ignore[union-attr]
    with pytest.raises(DatasetError, match=r"s3://results/gone: no such folder"):
        understand(f"{bucket}/gone")
