"""Whatever a collection says: names stay as written, and every photo is in the table or quarantined.

What is expected is worked out from what was drawn, row by row, before any file is written.
"""

import csv
import io
import json
import os
import random
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_ray.config.datasets import Data
from reid_ray.datasets.catalogue import LoadedRows, load_rows
from reid_ray.errors import DatasetError

PHOTOS = [f"{name}.jpg" for name in "abcdef"]
BAD_PATHS = ["gone.jpg", "../a.jpg", "/etc/passwd", "empty.jpg", "", "folder"]
ODD = [
    *("007", "1e5", "NA", "NaN", "null", "None", "-0", "1.0", "True", "2024-01-01", "0x1F", "1_000"),
    *("=1+1", 'a"b', "a,b;c", "a\nb", "a\r\nb", "löwe", "lo\u0308we2", "a\u202eb", " x ", "#"),
]
FEW = settings(max_examples=40)


def as_kept(name: str) -> str:
    """Stripped and composed; nobody's name is `unknown`."""
    kept = unicodedata.normalize("NFC", name).strip()
    return "unknown" if kept.casefold() in ("", "unknown") else kept


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
NAMES = st.lists(
    st.sampled_from(ODD) | TEXT | st.just("Unknown"),
    min_size=1,
    max_size=5,
    unique_by=lambda name: as_kept(name).casefold(),
)
PATHS = st.sampled_from(PHOTOS) | st.sampled_from(BAD_PATHS)


@contextmanager
def collection() -> Iterator[Path]:
    """A folder of photos as far as loaders look at them: they are there, and not empty."""
    with tempfile.TemporaryDirectory(prefix="photos") as name:
        root = Path(name)
        for photo in PHOTOS:
            (root / photo).write_bytes(b"x")
        (root / "empty.jpg").touch()
        (root / "folder").mkdir()
        yield root


def load(root: Path, **dataset: Any) -> LoadedRows:
    """Every loaded row has an id of its own, and every row quarantined a reason."""
    raw = {"datasets": [{"name": "d", "root": str(root), **dataset}], "images": {"max_bad_share": 1.0}}
    loaded = load_rows(Data.parse(raw, where="test"), made=root)
    assert loaded.rows["image_id"].is_unique
    assert loaded.rows["key"].is_unique
    assert loaded.quarantine["reason"].str.len().gt(3).all()
    return loaded


def found(loaded: LoadedRows, *columns: str) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(loaded.rows[name] for name in columns), strict=True))


Line = tuple[str, str, str, str]
"""image_id, identity, path, note."""


@st.composite
def lines(draw: st.DrawFn, *, ids: st.SearchStrategy[str] | None = None) -> list[Line]:
    names = draw(NAMES)
    several = draw(st.lists(st.tuples(st.sampled_from(names), PATHS, TEXT), min_size=1, max_size=8))
    if ids is None:
        given_ids = draw(st.permutations([str(number) for number in range(len(several))]))
    else:
        given_ids = [draw(ids) for _ in several]
    return [(name, *rest) for name, rest in zip(given_ids, several, strict=True)]


def usable(table: list[Line]) -> list[Line]:
    """Of each id the first line whose photo is there."""
    good: dict[str, Line] = {}
    for line in table:
        if line[0] and line[2] in PHOTOS:
            good.setdefault(line[0], line)
    return list(good.values())


def as_csv(table: list[Line], delimiter: str, end: str, quoting: Any, before: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["image_id", "identity", "path", "note"])
    writer.writerows(table)
    return (before + text.getvalue()).encode()


def as_parquet(table: list[Line], kind: pa.DataType) -> bytes:
    columns = zip(*table, strict=True)
    names = ("image_id", "identity", "path", "note")
    buffer = io.BytesIO()
    arrays = {
        name: pa.array(list(column), pa.string()).cast(kind)
        for name, column in zip(names, columns, strict=True)
    }
    pyarrow.parquet.write_table(pa.table(arrays), buffer)
    return buffer.getvalue()


KINDS = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
FILES = st.one_of(
    st.tuples(
        st.just("t.csv"),
        st.sampled_from(",;\t"),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        st.sampled_from(["", "\ufeff", "\n", "\r\n\r\n", "\ufeff\n"]),
    ),
    st.tuples(st.just("t.parquet"), st.sampled_from(KINDS)),
)


def write(root: Path, table: list[Line], file: tuple[Any, ...]) -> dict[str, str]:
    make = as_csv if file[0] == "t.csv" else as_parquet
    (root / file[0]).write_bytes(make(table, *file[1:]))
    return {"source": "table", "metadata": file[0]}


@FEW
@given(table=lines(ids=st.sampled_from(["", "1", "02", "2", "x", "1e5"])), file=FILES)
def test_each_line_of_a_table_is_a_photo_as_written_or_put_aside(
    table: list[Line], file: tuple[Any, ...]
) -> None:
    with collection() as root:
        source, good = write(root, table, file), usable(table)
        if not good:
            with pytest.raises(DatasetError, match="none of"):
                load(root, **source)
            return
        loaded = load(root, **source)
        expected = Counter((id_, as_kept(name), path, note) for id_, name, path, note in good)
        assert found(loaded, "image_id", "identity", "path", "note") == expected
        assert len(loaded.rows) + len(loaded.quarantine) == len(table)


@FEW
@given(table=lines(), file=FILES, order=st.randoms(use_true_random=False))
def test_the_order_of_a_tables_lines_changes_nothing(
    table: list[Line], file: tuple[Any, ...], order: random.Random
) -> None:
    with collection() as root:
        if not usable(table):
            return
        first = load(root, **write(root, table, file))
        shuffled = order.sample(table, len(table))
        second = load(root, **write(root, shuffled, file))
        pd.testing.assert_frame_equal(first.rows, second.rows)
        columns = ["image_id", "path", "reason"]
        assert sorted(first.quarantine[columns].to_numpy().tolist()) == sorted(
            second.quarantine[columns].to_numpy().tolist()
        )
        assert list(first.rows["image_id"].astype(int)) == sorted(int(line[0]) for line in usable(table))


@st.composite
def coco(draw: st.DrawFn) -> dict[str, Any]:
    """Images and annotations, both numbered from 1 as they often are, or by text."""
    kind = draw(st.sampled_from([int, str]))
    names = draw(NAMES)
    images = [
        {"id": kind(draw(st.integers(1, 6))), "file_name": draw(PATHS)}
        for _ in range(draw(st.integers(1, 6)))
    ]
    annotations = [
        {
            "id": kind(number),
            "image_id": kind(draw(st.integers(1, 7))),
            "category_id": draw(st.integers(0, 1)),
            "individual_id": draw(st.sampled_from(names)),
        }
        for number in range(1, 1 + draw(st.integers(1, 6)))
    ]
    categories = [{"id": 0, "name": "lynx"}, {"id": 1, "name": "Person"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@FEW
@given(raw=coco())
def test_each_image_and_annotation_of_coco_is_a_photo_or_put_aside(raw: dict[str, Any]) -> None:
    images: dict[Any, str] = {}
    for image in raw["images"]:
        images.setdefault(image["id"], image["file_name"])
    quarantined = len(raw["images"]) - len(images)  # listed twice
    photos = [
        ("unknown", path)
        for number, path in images.items()
        if number not in {one["image_id"] for one in raw["annotations"]}
    ]
    for one in raw["annotations"]:
        if one["image_id"] not in images:
            quarantined += 1
        elif one["category_id"] == 0:
            photos.append((as_kept(one["individual_id"]), images[one["image_id"]]))
    good = [photo for photo in photos if photo[1] in PHOTOS]
    with collection() as root:
        (root / "a.json").write_text(json.dumps(raw), encoding="utf-8")
        if not good:
            with pytest.raises(DatasetError, match=r"none of|no photo found"):
                load(root, source="coco", annotations="a.json")
            return
        loaded = load(root, source="coco", annotations="a.json")
        assert found(loaded, "identity", "path") == Counter(good)
        assert len(loaded.quarantine) == quarantined + len(photos) - len(good)


MEDIA = ["Encounter.mediaAsset0", "encounter.MediaAsset1", "Encounter.mediaAsset.2"]


@FEW
@given(names=NAMES, data=st.data())
def test_each_media_asset_of_a_wildbook_sheet_is_a_photo_or_put_aside(
    names: list[str], data: st.DataObject
) -> None:
    cell = st.sampled_from(["", *PHOTOS, "gone.jpg"])
    row = st.tuples(st.sampled_from(names), cell, cell, cell)
    sheet = data.draw(st.lists(row, min_size=1, max_size=5))
    encounters: dict[tuple[str, str], int] = {}
    for column in (1, 2, 3):  # a photo that is named again for the same animal counts once
        for number, one in enumerate(sheet):
            if one[column] in PHOTOS:
                encounters.setdefault((as_kept(one[0]), one[column]), number)
    with collection() as root:
        with (root / "w.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["Encounter.individualID", *MEDIA])
            writer.writerows(sheet)
        if not encounters:
            with pytest.raises(DatasetError, match=r"none of|no photo found"):
                load(root, source="wildbook", metadata="w.csv")
            return
        loaded = load(root, source="wildbook", metadata="w.csv")
        assert found(loaded, "identity", "path") == Counter(encounters.keys())
        named = sum(path != "" for one in sheet for path in one[1:])
        assert len(loaded.rows) + len(loaded.quarantine) == named
        encounters = loaded.rows.set_index(["identity", "path"])["encounter"]
        for seen, number in encounters.items():
            for other, of_other in encounters.items():
                assert (encounters[seen] == encounters[other]) == (number == of_other)


FILE_NAMES = st.sampled_from(
    ["1.jpg", "2.JPG", "x.jpeg", "sub/1.jpg", "sub/deep/3.png", ".hidden.jpg", "notes.txt", "4.heic", "5.nef"]
)
FOLDERS = st.sampled_from(["007", "1e5", "NA", "löwe", "a b", "#1", "<b>", ".trash"])


@FEW
@given(
    tree=st.dictionaries(st.tuples(FOLDERS, FILE_NAMES), st.booleans(), max_size=10),
    beside=st.sets(st.sampled_from(["loose.jpg", "readme.md"])),
    linked=st.sets(st.sampled_from(["mia", "007/more"])),
)
def test_each_photo_below_a_folder_is_in_the_table_or_put_aside(
    tree: dict[tuple[str, str], bool], beside: set[str], linked: set[str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="photos") as name, collection() as elsewhere:
        root = Path(name)
        for (folder, file), filled in tree.items():
            (root / folder / file).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / file).write_bytes(b"x" if filled else b"")
        for file in beside:
            (root / file).write_bytes(b"x")
        for link in linked:
            (root / link).parent.mkdir(exist_ok=True)
            (root / link).symlink_to(elsewhere)
        seen = [
            (folder, file, filled)
            for (folder, file), filled in tree.items()
            if folder[0] != "." and file[0] != "." and not file.endswith(".txt")
        ]
        photos = [one for one in seen if not one[1].endswith(".nef")]
        good = [(folder, f"{folder}/{file}") for folder, file, filled in photos if filled]
        good += [("unknown", file) for file in beside if file == "loose.jpg"]
        quarantined = [one for one in seen if one[1].endswith(".nef") or not one[2]]
        if not good:
            with pytest.raises(DatasetError, match=r"none of|no photo found"):
                load(root, source="folder")
            return
        loaded = load(root, source="folder")
        assert found(loaded, "identity", "path") == Counter(good)
        assert len(loaded.quarantine) == len(quarantined) + len(linked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another")
def test_a_folder_that_may_not_be_read_is_put_aside(tmp_path: Path) -> None:
    for animal in ("leo", "mia"):
        (tmp_path / animal).mkdir()
        (tmp_path / animal / "1.jpg").write_bytes(b"x")
    (tmp_path / "mia").chmod(0o700)
    for folder in (tmp_path, *tmp_path.parents):
        if len(folder.parts) > 2:
            folder.chmod(0o755)
    here = os.geteuid()
    os.seteuid(65534)
    try:
        loaded = load(tmp_path, source="folder")
    finally:
        os.seteuid(here)
    assert loaded.rows["path"].tolist() == ["leo/1.jpg"]
    assert loaded.quarantine["path"].tolist() == ["mia/"]
