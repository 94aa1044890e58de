"""Collections become one checked table; what cannot be used is quarantined with its reason."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pyarrow import fs

from reid_ray.config.datasets import Data
from reid_ray.datasets import roots
from reid_ray.datasets.catalogue import LoadedRows, load_rows
from reid_ray.datasets.images import BadImage, read_bytes
from reid_ray.datasets.schema import id_of_path
from reid_ray.errors import DatasetError

Write = Callable[..., Path]


def load(*datasets: dict[str, Any], made: Path = Path("unused"), **images: Any) -> LoadedRows:
    images.setdefault("max_bad_share", 1.0)
    raw = {"datasets": [{"name": "d", **dataset} for dataset in datasets], "images": images}
    return load_rows(Data.parse(raw, where="test"), made=made)


def table(root: Path, text: str | bytes, name: str = "metadata.csv") -> dict[str, Any]:
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"source": "table", "root": str(root), "metadata": name}


def reasons(loaded: LoadedRows) -> dict[str, str]:
    return dict(zip(loaded.quarantine["path"], loaded.quarantine["reason"], strict=True))


@pytest.fixture
def root(tmp_path: Path, write_photo: Write) -> Path:
    for place, name in enumerate(["a.jpg", "b.jpg", "c.jpg"]):
        write_photo(tmp_path / name, place)
    return tmp_path


def test_a_folder_per_animal_gives_a_row_per_photo(tmp_path: Path, write_photo: Write) -> None:
    for path in ["leo/1.jpg", "leo/deeper/2.JPEG", "007/3.png", "beside.jpg"]:
        write_photo(tmp_path / path)
    rows, quarantine, _ = load({"source": "folder", "root": str(tmp_path)})
    assert dict(zip(rows["path"], rows["identity"], strict=True)) == {
        "leo/1.jpg": "leo",
        "leo/deeper/2.JPEG": "leo",
        "007/3.png": "007",
        "beside.jpg": "unknown",
    }
    assert list(rows["image_id"]) == sorted(map(id_of_path, rows["path"]))
    assert list(rows["key"]) == [f"d/{image_id}" for image_id in rows["image_id"]]
    assert set(rows["group"]) == {"d"}
    assert quarantine.empty
    assert list(quarantine) == ["dataset", "image_id", "path", "reason"]


def test_hidden_files_and_other_suffixes_are_no_photos(tmp_path: Path, write_photo: Write) -> None:
    for path in ["leo/1.jpg", "leo/.2.jpg", "@eaDir/leo/1.jpg", ".git/leo/1.jpg", "leo/n.txt"]:
        write_photo(tmp_path / path)
    (tmp_path / "leo/.DS_Store").write_bytes(b"x")
    loaded = load({"source": "folder", "root": str(tmp_path)})
    assert list(loaded.rows["path"]) == ["leo/1.jpg"]
    assert loaded.quarantine.empty


def test_a_file_name_that_is_no_text_is_put_aside(tmp_path: Path, write_photo: Write) -> None:
    write_photo(tmp_path / "leo/1.jpg")
    write_photo(tmp_path / os.fsdecode(b"leo/\xff.jpg"))
    loaded = load({"source": "folder", "root": str(tmp_path)})
    assert list(loaded.rows["path"]) == ["leo/1.jpg"]
    assert "not valid UTF-8" in loaded.quarantine["reason"].iloc[0]


def test_folders_of_a_split_are_not_taken_for_animals(tmp_path: Path, write_photo: Write) -> None:
    write_photo(tmp_path / "train/leo/1.jpg")
    write_photo(tmp_path / "val/leo/2.jpg")
    with pytest.raises(DatasetError, match="parts of a split and not animals"):
        load({"source": "folder", "root": str(tmp_path)})


def test_cells_survive_as_written(root: Path) -> None:
    text = "image_id,identity,path,note\n01,007,a.jpg,NA\n1e5,NA,b.jpg,\n2,1e5,c.jpg,0.10\n"
    rows = load(table(root, text)).rows
    assert dict(zip(rows["image_id"], rows["identity"], strict=True)) == {
        "01": "007",
        "1e5": "NA",
        "2": "1e5",
    }
    assert set(rows["note"]) == {"NA", "", "0.10"}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_delimiter_and_byte_order_mark_are_found(root: Path, mark: str) -> None:
    lines = [["identity", "path", "note"], ["leo", "a.jpg", '"x,y;z"'], ["mia", "b.jpg", "Ä"]]
    text = "\r\n".join(mark.join(line) for line in lines)
    rows = load(table(root, b"\xef\xbb\xbf" + text.encode(), "m.tsv")).rows
    assert set(rows["identity"]) == {"leo", "mia"}
    assert set(rows["note"]) == {"x,y;z", "Ä"}


def test_columns_are_found_under_other_names_and_clashes_are_kept_apart(root: Path) -> None:
    text = "file,animal,root,identity,part\na.jpg,leo,R,old,train\n"
    columns = {"path": "file", "identity": "animal", "split": "part"}
    rows = load({**table(root, text), "columns": columns}).rows
    first = rows.iloc[0]
    assert first[["identity", "path", "split_given", "table_root", "table_identity"]].tolist() == [
        "leo",
        "a.jpg",
        "train",
        "R",
        "old",
    ]
    assert first["root"] == str(root)


def test_parquet_integers_are_decimal_strings(root: Path) -> None:
    columns = {
        "image_id": pa.array([30, 4, 200]),
        "identity": pa.array([7.0, None, 12.5]),
        "path": pa.array(["a.jpg", "b.jpg", "c.jpg"]).dictionary_encode(),
        "bbox": pa.array([[1.0, 2.0, 40.0, 30.0], None, [0.0, 0.0, 5.5, 6.0]]),
    }
    pyarrow.parquet.write_table(pa.table(columns), root / "m.parquet")
    rows = load({"source": "table", "root": str(root), "metadata": "m.parquet"}).rows
    assert list(rows["image_id"]) == ["4", "30", "200"]
    assert list(rows["identity"]) == ["unknown", "7", "12.5"]
    assert list(rows["bbox"]) == [None, [1, 2, 40, 30], [0, 0, 5.5, 6]]


def test_every_bad_row_is_put_aside_with_its_reason(root: Path, write_photo: Write) -> None:
    outside = write_photo(root.parent / f"{root.name}-outside.jpg")
    (root / "out.jpg").symlink_to(outside)
    (root / "up").symlink_to(root.parent)
    (root / "in.jpg").symlink_to(root / "a.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "empty.jpg").touch()
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    expected = {
        "missing.jpg": "missing file",
        "sub\\a.jpg": "missing file (paths are written with /, not \\)",
        "a.jpg/gone.jpg": "missing file",
        "../x.jpg": "path leaves the root",
        str(root / "a.jpg"): "path is absolute; expected one relative to the root",
        "C:\\a.jpg": "path is absolute; expected one relative to the root",
        "nul\0.jpg": "path contains a NUL character",
        "": "no path",
        "out.jpg": "path leaves the root through a link",
        f"up/{outside.name}": "path leaves the root through a link",
        "loop.jpg": "cannot be reached: Too many levels of symbolic links",
        "empty.jpg": "empty file",
        "folder.jpg": "not a regular file",
        "pipe.jpg": "not a regular file",
        "x" * 300 + ".jpg": "cannot be reached: File name too long",
    }
    good = ["a.jpg", "in.jpg"]
    lines = [f"{n},leo,{path}" for n, path in enumerate([*good, *expected])]
    loaded = load(table(root, "image_id,identity,path\n" + "\n".join(lines)))
    assert list(loaded.rows["path"]) == good
    assert reasons(loaded) == expected


def test_a_photo_read_again_later_is_checked_again(root: Path) -> None:
    os.mkfifo(root / "pipe.jpg")
    for path in ["pipe.jpg", "../x.jpg", "missing.jpg"]:
        with pytest.raises(BadImage):
            read_bytes(str(root), path)
    assert read_bytes(str(root), "a.jpg") == (root / "a.jpg").read_bytes()
    assert read_bytes(root.as_uri(), "a.jpg") == (root / "a.jpg").read_bytes()


def test_of_two_rows_with_one_id_the_first_good_one_stays(root: Path) -> None:
    text = "image_id,identity,path\n1,leo,gone.jpg\n1,leo,a.jpg\n1,mia,b.jpg\n,leo,c.jpg\n"
    loaded = load(table(root, text))
    assert list(loaded.rows["path"]) == ["a.jpg"]
    assert reasons(loaded) == {
        "gone.jpg": "missing file",
        "b.jpg": "image_id is given twice; the first row is kept",
        "c.jpg": "no image_id",
    }


def test_a_ragged_line_is_put_aside_and_the_others_go_on(root: Path) -> None:
    loaded = load(table(root, "identity,path\nleo,a.jpg,x\nmia,b.jpg\n"))
    assert list(loaded.rows["identity"]) == ["mia"]
    assert list(loaded.quarantine["reason"]) == ["line 2 has 3 cells, expected 2"]


@pytest.mark.parametrize(
    "cell",
    ['"[1,2,3]"', '"[0,0,NaN,5]"', '"[0,0,0,5]"', "__import__('os')", '"' + "[" * 300 + '"', "1" * 999],
)
def test_a_box_that_is_none_counts_only_where_photos_are_cropped(root: Path, cell: str) -> None:
    source = table(root, f'identity,path,bbox\nleo,a.jpg,{cell}\nmia,b.jpg,"[0, 1.5, 40, 39]"\n')
    assert len(load(source).rows) == 2
    cropped = load(source, crop="bbox")
    assert list(cropped.rows["bbox"]) == [[0, 1.5, 40, 39]]
    assert cropped.quarantine["reason"].iloc[0].startswith("bbox")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("image_id,path\n1,a.jpg\n", "no column 'identity'"),
        ("identity,file\nleo,a.jpg\n", "no column 'path'"),
        ("identity,path,path\nleo,a.jpg,b.jpg\n", "columns are given twice"),
        ("identity,path\n", "no photo found"),
        ("", "cannot be read (empty file)"),
        ("\n\n", "not a readable table"),
        (b"identity,path\nl\x81o,a.jpg\n", "expected UTF-8"),
        ("identity,path\nleo,x.jpg\n", "none of 1 photos can be used: missing file"),
        ("identity,path\nleo,a.jpg\nLeo,b.jpg\n", "Leo / leo"),
    ],
)
def test_a_fault_of_the_whole_table_is_told(root: Path, text: str | bytes, part: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(part)):
        load(table(root, text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_as_excel_writes_it_is_read_and_a_code_page_is_told(root: Path, encoding: str) -> None:
    loaded = load(table(root, "identity,path\nlöwe,a.jpg\nZoë,b.jpg\n".encode(encoding)))
    assert list(loaded.rows["identity"]) == ["löwe", "Zoë"]
    told = "not UTF-8, so it was read as Windows-1252 (Western European): 'löwe', for example"
    assert loaded.intakes[0].text_note == (told if encoding == "cp1252" else "")


def test_a_missing_root_and_a_missing_table_are_told(root: Path) -> None:
    with pytest.raises(DatasetError, match="d: no folder /nowhere"):
        load({"source": "folder", "root": "/nowhere"})
    with pytest.raises(DatasetError, match=r"gone\.csv: the table of d cannot be read"):
        load({"source": "table", "root": str(root), "metadata": "gone.csv"})
    (root / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match="not a readable Parquet file"):
        load({"source": "table", "root": str(root), "metadata": "bad.parquet"})


def test_too_large_a_share_of_bad_photos_stops_the_run(root: Path) -> None:
    source = table(root, "identity,path\nleo,a.jpg\nleo,x.jpg\nleo,y.jpg\n")
    assert len(load(source, max_bad_share=0.67).rows) == 1
    with pytest.raises(DatasetError, match="2 of 3 photos cannot be used, at most 60% may be"):
        load(source, max_bad_share=0.6)


def test_collections_are_joined_in_config_order(root: Path, tmp_path: Path) -> None:
    first = {**table(root, "image_id,identity,path,date\n2,leo,a.jpg,2020\n10,mia,b.jpg,\n")}
    text = 'image_id,identity,path,bbox\n5,leo,c.jpg,"[0,0,40,40]"\n'
    second = {**table(root, text, "other.csv"), "name": "a", "group": "cats"}
    rows = load(first, second).rows
    assert list(rows["key"]) == ["d/2", "d/10", "a/5"]
    assert list(rows["group"]) == ["d", "d", "cats"]
    assert list(rows["date"]) == ["2020", "", ""]
    assert list(rows["bbox"]) == [None, None, [0, 0, 40, 40]]
    assert rows.index.equals(pd.RangeIndex(3))
    rows.to_parquet(tmp_path / "rows.parquet")
    assert len(pd.read_parquet(tmp_path / "rows.parquet")) == 3


def test_object_storage_is_read_like_a_folder(
    root: Path, write_photo: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo(root / "leo/1.jpg")
    (root / "leo/0.jpg").touch()
    # Stands for a bucket: the same pyarrow interface on local files.
    bucket = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
    monkeypatch.setattr(roots, "open_filesystem", lambda uri: (bucket, uri.partition("://x")[2]))
    loaded = load({"source": "folder", "root": "s3://x"})
    assert set(loaded.rows["path"]) == {"a.jpg", "b.jpg", "c.jpg", "leo/1.jpg"}
    assert reasons(loaded) == {"leo/0.jpg": "empty file"}
    assert set(loaded.rows["root"]) == {"s3://x"}
    assert read_bytes("s3://x", "leo/1.jpg") == (root / "leo/1.jpg").read_bytes()
    with pytest.raises(BadImage, match="leaves the root"):
        read_bytes("s3://x", "../y.jpg")
    metadata = table(root, "identity,path\nleo,a.jpg\nleo,gone.jpg\n")
    loaded = load({**metadata, "root": "s3://x"})
    assert list(loaded.rows["path"]) == ["a.jpg"]
    assert reasons(loaded) == {"gone.jpg": "missing file"}


def test_an_address_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DatasetError, match="ftp://x/y: cannot be opened"):
        load({"source": "folder", "root": "ftp://x/y"})


def test_a_herd_is_made_and_loaded(tmp_path: Path) -> None:
    synthetic = {"source": "synthetic", "species": "zebra", "identities": 2, "photos": 3, "size_px": 64}
    rows, quarantine, _ = load(synthetic, made=tmp_path)
    assert rows["identity"].nunique() == 2
    assert quarantine.empty
    assert rows["root"].str.startswith(str(tmp_path)).all()


def test_a_table_can_hold_several_species_groups(root: Path) -> None:
    text = "identity,path,species\n1,a.jpg,Bos taurus\n2,b.jpg,Bos indicus\n3,c.jpg,\n"
    found = load(
        {**table(root, text), "group": "rest", "group_by": "species", "group_names": {"Bos indicus": "zebu"}}
    )
    groups = dict(zip(found.rows["path"], found.rows["group"], strict=True))
    assert groups == {"a.jpg": "Bos_taurus", "b.jpg": "zebu", "c.jpg": "rest"}
    assert set(found.rows["species"]) == {"Bos taurus", "Bos indicus", ""}


@pytest.mark.parametrize("column", ["group", "domain", "taxon"])
def test_groups_may_come_from_any_column(root: Path, column: str) -> None:
    text = f"identity,path,{column}\n1,a.jpg,x\n2,b.jpg,y\n"
    found = load({**table(root, text), "group_by": column})
    assert list(found.rows.sort_values("path")["group"]) == ["x", "y"]


def test_a_column_for_groups_that_is_not_there_is_told(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no column 'taxon' \(group_by\); found"):
        load({**table(root, "identity,path\n1,a.jpg\n"), "group_by": "taxon"})


def test_an_animal_of_two_groups_is_refused_but_the_unknown_are_many(root: Path) -> None:
    text = "identity,path,species\n1,a.jpg,x\n1,b.jpg,y\nunknown,c.jpg,x\n"
    with pytest.raises(DatasetError, match=r"1 identities have photos .* group: 1 \(x, y\)"):
        load({**table(root, text), "group_by": "species"})
    fine = text.replace("1,b.jpg,y", "unknown,b.jpg,y")
    assert len(load({**table(root, fine), "group_by": "species"}).rows) == 3
