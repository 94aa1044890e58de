"""Whatever is put in: a use of it or a sentence on it, in little time and memory, and never a traceback."""

# ruff: noqa: E501  (one line per kind)

import contextlib
import json
import os
import socket
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
from bad_photos import JPEG, PHOTOS
from faulty import Record
from limits import told

from reid_ray.config.base import load
from reid_ray.config.datasets import Data, Images
from reid_ray.config.tune import Study
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.store import PreparedStore, Row
from reid_ray.errors import DatasetError
from reid_ray.splits.assign import assign

MEANT_TO_BE_OPEN = (
    "JPEG of a header alone",
    "PNG of no width",
    "PNG with a text that unpacks to 200 MB",
    "GIF of 65535 x 65535",
    "BMP of a negative size",
    "TIFF whose pages go in a circle",
    "TIFF with 4 thousand million values",
    "TIFF of 4294967295 pixels a side",
)
"""Of these it is enough that they end, with pixels or with any reason."""


def test_every_kind_of_photo_is_used_or_put_aside_with_a_reason(tmp_path: Path, record: Record) -> None:
    names = list(PHOTOS)
    for number, (data, _) in enumerate(PHOTOS.values()):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    outside = tmp_path.parent / f"{tmp_path.name}-outside.jpg"
    outside.write_bytes(JPEG)
    odd: dict[str, tuple[Callable[[Path], object], str]] = {
        "a pipe": (os.mkfifo, "not a regular file"),
        "a folder": (Path.mkdir, "not a regular file"),
        "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
        "a link out of the collection": (lambda path: path.symlink_to(outside), "leaves the root"),
        "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), "leaves the root"),
        "a file of a terabyte": (lambda path: (path.touch(), os.truncate(path, 1 << 40)), "too large"),
        "a socket": (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "not a regular file"),
        "nothing there": (lambda path: None, "missing file"),
    }
    here = Path.cwd()
    os.chdir(tmp_path)  # a socket's name must be short
    for number, (make, _) in enumerate(odd.values(), len(PHOTOS)):
        make(Path(f"{number}.jpg"))
    os.chdir(here)
    kinds = [*names, *odd]
    expected = [part for _, part in [*PHOTOS.values(), *odd.values()]]
    rows = [Row(str(tmp_path), f"{number}.jpg", None) for number in range(len(kinds))]
    store = PreparedStore(tmp_path / "kept", Images(short_px=32))

    def prepare() -> str:
        return json.dumps([placed.error for placed in store.prepare(rows, store.index())])

    code, text = told_long(prepare, tmp_path)
    assert code == 0
    for kind, part, found in zip(kinds, expected, json.loads(text), strict=True):
        if kind in MEANT_TO_BE_OPEN:
            assert len(found) < 300
        elif part:
            assert part in found, kind
        else:
            assert found == "", kind
    record("bad photos", f"{len(kinds)} kinds, with 20 s and 2 GiB", tried=len(kinds), survived=len(kinds))


def told_long(action: Callable[[], str], folder: Path) -> tuple[int, str]:
    """As `told`, with an answer that may be long."""
    code, text = told(lambda: (folder / "long").write_text(action()) and "", folder)
    assert code == 0, text
    return code, (folder / "long").read_text()


def table(text: str | bytes, name: str = "t.csv") -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return {"source": "table", "name": "d", "root": str(root), "metadata": name}

    return make


def wildbook(text: str) -> Callable[[Path], dict[str, Any]]:
    return lambda root: table(text)(root) | {"source": "wildbook"}


def coco(content: Any) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        (root / "a.json").write_bytes(
            text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        )
        return {"source": "coco", "name": "d", "root": str(root), "annotations": "a.json"}

    return make


def detections(content: Any) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        (root / "md.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return table("identity,path\nleo,0.jpg\n")(root) | {"detections": {"file": "md.json"}}

    return make


def sheet(cells: dict[str, Any]) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        book = openpyxl.Workbook()
        assert book.active is not None
        for place, value in cells.items():
            book.active[place] = value
        book.save(root / "t.xlsx")
        return {"source": "table", "name": "d", "root": str(root), "metadata": "t.xlsx"}

    return make


def long_sheet(root: Path) -> dict[str, Any]:
    """A zip whose only file unpacks to 2 GiB, or so it says."""
    with zipfile.ZipFile(root / "t.xlsx", "w") as packed:
        packed.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
        packed.filelist[0].file_size = 2 << 30
    return {"source": "table", "name": "d", "root": str(root), "metadata": "t.xlsx"}


def entities(root: Path) -> dict[str, Any]:
    """A spreadsheet whose text is a billion laughs."""
    sheet({"A1": "identity", "B1": "path"})(root)
    bomb = (
        "<!DOCTYPE x [<!ENTITY a '"
        + "ha" * 999
        + "'>"
        + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 50}'>" for n in range(6))
        + "]>"
    )
    with zipfile.ZipFile(root / "t.xlsx") as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(root / "t.xlsx", "w") as packed:
        for name, data in parts.items():
            packed.writestr(name, bomb.encode() + b"<sst>&g;</sst>" if "shared" in name else data)
    return {"source": "table", "name": "d", "root": str(root), "metadata": "t.xlsx"}


def parquet(columns: dict[str, Any], **options: Any) -> Callable[[Path], dict[str, Any]]:
    def make(root: Path) -> dict[str, Any]:
        pyarrow.parquet.write_table(pa.table(columns), root / "t.parquet", **options)
        return {"source": "table", "name": "d", "root": str(root), "metadata": "t.parquet"}

    return make


def often(times: int, text: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


def broken_text() -> pa.Array:
    """A column that says it is UTF-8."""
    offsets = pa.py_buffer(struct.pack("<ii", 0, 2))
    return pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xff\xfe"))


IMAGE = {"id": 1, "file_name": "0.jpg"}
GOOD = "identity,path\nleo,0.jpg\n"
USED = "1 rows"
MD = {"file": "0.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1]}]}
HUGE = 10**400

METADATA: dict[str, tuple[Callable[[Path], dict[str, Any]], int, str]] = {
    "an empty table": (table(""), 2, "empty file"),
    "a header alone": (table("identity,path\n"), 2, "no photo found"),
    "zero bytes": (table(bytes(900)), 2, "d"),
    "UTF-16": (table(GOOD.encode("utf-16")), 0, USED),
    "half of UTF-16": (table(GOOD.encode("utf-16")[:-1]), 2, "expected UTF-8"),
    "Latin-1": (table("identity,path\nlöwe,0.jpg\n".encode("latin-1")), 0, USED),
    "a code page of nobody": (table(b"identity,path\nl\x81we,0.jpg\n"), 2, "expected UTF-8"),
    "a picture": (table(JPEG), 2, "not a readable table"),
    "no column identity": (table("who,path\nleo,0.jpg\n"), 2, "no column 'identity'"),
    "no column path": (table("identity,file\nleo,0.jpg\n"), 2, "no column 'path'"),
    "a column twice": (table("identity,path,path\nleo,0.jpg,0.jpg\n"), 2, "given twice"),
    "a column without a name": (table("identity,path,\nleo,0.jpg,x\n"), 0, USED),
    "a header of 200 000 letters": (
        table(f"identity,path,{'x' * 200_000}\nleo,0.jpg,y\n"),
        2,
        "not a readable table",
    ),
    "a column's name in two lines": (table('"a\nb",identity,path\nx,007,0.jpg\n'), 0, "identity 007"),
    "a cell of 20 million letters": (
        table(f"identity,path\n{'x' * 20_000_000},0.jpg\nleo,0.jpg\n"),
        0,
        "identity of 20000000 characters",
    ),
    "a NUL in a name": (table("identity,path\nle\0o,0.jpg\n"), 0, USED),
    "a NUL in a path": (table("identity,path\nleo,0\0.jpg\nleo,0.jpg\n"), 0, USED),
    "a quote that never ends": (table('identity,path\n"leo,0.jpg\n'), 2, "d"),
    "ragged lines": (
        table("identity,path\nleo,0.jpg,9\nleo,0.jpg\nmia\n"),
        2,
        "2 of 3 photos cannot be used",
    ),
    "a ragged line in Latin-1": (
        table("identity,path\nlöwe,0.jpg,9\n".encode("latin-1")),
        2,
        "line 2 has 3 cells",
    ),
    "a formula": (table("identity,path\n\"=cmd|' /C calc'!A0\",0.jpg\n"), 0, "identity =cmd"),
    "markup": (table("identity,path\n<script>alert(1)</script>,0.jpg\n"), 0, "identity <script>"),
    "a right-to-left mark": (table("identity,path\na\u202eb,0.jpg\n"), 0, USED),
    "an id twice": (table("image_id,identity,path\n1,leo,0.jpg\n1,mia,1.jpg\n"), 0, "given twice"),
    "names that are NaN": (table("identity,path\nNaN,0.jpg\n"), 0, "identity NaN"),
    "no names": (table("identity,path\n,0.jpg\n"), 0, "identity unknown"),
    "names that differ in case": (table("identity,path\nLeo,0.jpg\nleo,1.jpg\n"), 2, "Leo / leo"),
    "a path out of the root": (
        table("identity,path\nleo,../../etc/passwd\nleo,0.jpg\n"),
        0,
        "leaves the root",
    ),
    "an absolute path": (table("identity,path\nleo,/etc/passwd\nleo,0.jpg\n"), 0, "path is absolute"),
    "a path of Windows": (table("identity,path\nleo,C:\\a.jpg\nleo,0.jpg\n"), 0, "path is absolute"),
    "a path of 5000 letters": (
        table(f"identity,path\nleo,{'x' * 5000}\nleo,0.jpg\n"),
        0,
        "cannot be reached",
    ),
    "a box that is code": (table("identity,path,bbox\nleo,0.jpg,__import__('os').system('x')\n"), 0, USED),
    "a box nested 9999 deep": (table(f'identity,path,bbox\nleo,0.jpg,"{"[" * 9999}"\n'), 0, USED),
    "a sheet with one cell in the last corner": (
        sheet({"A1": "identity", "B1": "path", "XFD1048576": "x"}),
        2,
        "too many",
    ),
    "a sheet that unpacks to 2 GiB": (long_sheet, 2, "unpacks to"),
    "a sheet of a billion laughs": (entities, 2, "d: "),
    "a sheet of formulas": (sheet({"A1": "identity", "B1": "path", "A2": "=1+1", "B2": "0.jpg"}), 0, USED),
    "a sheet that is none": (table(b"PK\3\4" + bytes(99), "t.xlsx"), 2, "not a readable spreadsheet"),
    "Parquet that says one name 20 million times": (
        parquet({"identity": often(20_000_000, "x" * 200)}, compression="zstd"),
        2,
        "no list of photos",
    ),
    "Parquet of 60 million numbers": (
        parquet({"identity": pa.array([0] * 60_000_000, pa.int8())}),
        2,
        "no list of photos",
    ),
    "Parquet with text that is none": (
        parquet({"identity": broken_text(), "path": ["0.jpg"]}),
        2,
        "not a readable Parquet",
    ),
    "Parquet with lists": (parquet({"identity": [["leo"]], "path": ["0.jpg"]}), 0, USED),
    "Parquet that is none": (table(b"PAR1" + bytes(99) + b"PAR1", "t.parquet"), 2, "not a readable Parquet"),
    "a Wildbook sheet with a column twice": (
        wildbook("Encounter.mediaAsset0,Encounter.year,encounter.Year\n0.jpg,1,2\n"),
        2,
        "given twice",
    ),
    "a Wildbook sheet with two columns of one asset": (
        wildbook("Encounter.mediaAsset0,Encounter.mediaAsset.0\n0.jpg,1.jpg\n"),
        2,
        "has two columns",
    ),
    "a box of text": (table('identity,path,bbox\nleo,0.jpg,"""1234"""\n'), 0, USED),
    "a Wildbook sheet without photos": (
        wildbook("Encounter.year\n1\n"),
        2,
        "no column Encounter.mediaAsset0",
    ),
    "JSON that is none": (coco("{"), 2, "not readable as JSON"),
    "JSON nested 100 000 deep": (coco("[" * 100_000), 2, "not readable as JSON"),
    "JSON with a number of 9999 digits": (
        coco('{"images": [' + "9" * 9999 + "]}"),
        2,
        "not readable as JSON",
    ),
    "COCO that is a list": (coco([1]), 2, "not COCO"),
    "COCO of numbers": (coco({"images": [1], "annotations": [2]}), 2, "not COCO"),
    "COCO without photos": (coco({"images": [], "annotations": []}), 2, "empty"),
    "COCO without names": (
        coco({"images": [IMAGE], "annotations": [{"id": 1, "image_id": 1}]}),
        2,
        "names the individual",
    ),
    "COCO with half a character": (
        coco(
            '{"images": [{"id": 1, "file_name": "0.jpg"}], "annotations": [{"id": 1, "image_id": 1, "name": "le\\ud800o"}]}'
        ),
        0,
        "identity le?o",
    ),
    "COCO with maps for names": (
        coco({"images": [IMAGE], "annotations": [{"id": [1], "image_id": 1, "name": {"a": 1}}]}),
        0,
        USED,
    ),
    "COCO whose photo is not listed": (
        coco({"images": [IMAGE], "annotations": [{"id": 1, "image_id": 9, "name": "leo"}]}),
        0,
        "not listed",
    ),
    "detections that are none": (detections({"a": 1}), 2, "not MegaDetector's results"),
    "detections of other photos": (
        detections({"images": [MD | {"file": "z.jpg"}]}),
        2,
        "has none of the 1 photos",
    ),
    "detections with a box of infinity": (
        detections(
            '{"images": [{"file": "0.jpg", "detections": [{"category": "1", "conf": 1e999, "bbox": [0, 0, 1, 1]}]}]}'
        ),
        2,
        "not MegaDetector's results",
    ),
    "detections with a number of 401 digits": (
        detections(
            {"images": [MD | {"detections": [{"category": "1", "conf": 1, "bbox": [HUGE, 0, 1, 1]}]}]}
        ),
        2,
        "not MegaDetector's results",
    ),
    "detections with text for boxes": (
        detections({"images": [MD | {"detections": [{"category": "1", "conf": 1, "bbox": "abcd"}]}]}),
        2,
        "not MegaDetector's results",
    ),
}
"""Kind: (what makes it, exit code, part of what is said)."""


def test_every_kind_of_metadata_is_used_or_told(tmp_path: Path, record: Record) -> None:
    for number, (kind, (make, code, part)) in enumerate(METADATA.items()):
        root = tmp_path / str(number)
        root.mkdir()
        for name in ("0.jpg", "1.jpg"):
            (root / name).write_bytes(JPEG)
        dataset = make(root)
        crop = {"images": {"crop": "bbox"}} if "detections" in dataset else {}
        data = Data.parse({"datasets": [dataset], **crop}, where="test")

        def read(data: Data = data) -> str:
            loaded = load_rows(data, made=tmp_path)
            reasons = "; ".join(loaded.quarantine["reason"])
            return f"{len(loaded.rows)} rows, identity {loaded.rows['identity'].iloc[0]:.40}; {reasons:.400}"

        found, text = told(read, root)
        assert (found, part in text) == (code, True), (kind, found, text[:500])
    record(
        "bad metadata",
        f"{len(METADATA)} kinds of tables, sheets, COCO and MegaDetector JSON",
        tried=len(METADATA),
        survived=len(METADATA),
    )


SIX = [f"{number}.jpg" for number in range(6)]
COLLECTIONS: dict[str, tuple[list[str], int, str]] = {
    "an empty one": ([], 2, "no photo found"),
    "nobody known": (["a.jpg", "b.jpg"], 2, "all animals unknown"),
    "nobody known by that name": (["Unknown/a.jpg", "unknown/b.jpg"], 2, "all animals unknown"),
    "one photo": (["leo/0.jpg"], 0, "{'reference': 1}"),
    "one photo of each": ([f"{name}/0.jpg" for name in "abc"], 0, "{'reference': 3}"),
    "one animal": ([f"leo/{name}" for name in SIX], 0, "{'query': 1, 'reference': 5}"),
    "one animal and unknown individuals": (
        [f"leo/{name}" for name in SIX] + ["x.jpg"],
        0,
        "{'none': 1, 'query': 1, 'reference': 5}",
    ),
}
"""Kind: (its photos, exit code, part of what is said: photos of each part; of 6, 80 % are reference)."""


def test_collections_with_too_little_in_them_are_split_or_told(tmp_path: Path, record: Record) -> None:
    for number, (kind, (photos, code, part)) in enumerate(COLLECTIONS.items()):
        root = tmp_path / str(number)
        root.mkdir()
        for photo in photos:
            (root / photo).parent.mkdir(exist_ok=True)
            (root / photo).write_bytes(JPEG)
        data = Data.parse({"datasets": [{"source": "folder", "name": "d", "root": str(root)}]}, where="test")

        def split(data: Data = data) -> str:
            rows, _ = assign(load_rows(data, made=tmp_path).rows, data.split)
            return str(dict(sorted(Counter(rows["split"]).items())))

        found, text = told(split, root)
        assert (found, part in text) == (code, True), (kind, found, text[:500])
    record(
        "collections with too little in them",
        f"{len(COLLECTIONS)} kinds",
        tried=len(COLLECTIONS),
        survived=len(COLLECTIONS),
    )


def test_no_wrong_byte_in_a_parquet_files_end_ends_the_process(tmp_path: Path, record: Record) -> None:
    """Found by fuzzing: pyarrow does where one asks for the figures of a column."""
    columns = {"identity": ["007", "leo"], "path": ["0.jpg", "1.jpg"], "bbox": [[0.0, 1.0], None]}
    dataset = parquet(columns)(tmp_path)
    (tmp_path / "0.jpg").write_bytes(JPEG)
    data = (tmp_path / "t.parquet").read_bytes()
    footer = range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data) - 8)

    def read_all() -> str:
        used = 0
        for at in footer:
            spoilt = bytearray(data)
            spoilt[at] ^= 4
            (tmp_path / "t.parquet").write_bytes(bytes(spoilt))
            with contextlib.suppress(DatasetError):
                used += len(load_rows(Data.parse({"datasets": [dataset]}, where="t"), made=tmp_path).rows)
        return f"{used} rows"

    code, text = told(read_all, tmp_path)
    assert code == 0
    assert 0 < int(text.split()[0]) < len(footer)
    record("a wrong byte in a Parquet table", "each byte of its end", tried=len(footer), survived=len(footer))


LAUGHS = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    + [f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
)
STUDY = "name: s\ndata: {datasets: [{source: folder, name: d, root: /x}]}\n"

CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "found nothing"),
    "a list": ("- 1\n", "expected a map"),
    "a billion laughs": (LAUGHS, "its aliases make more than"),
    "an alias of itself": ("a: &a [*a]\n", "not valid YAML"),
    "nested 20 000 deep": ("a: " + "[" * 20_000, "nested too deeply"),
    "two megabytes": ("a: " + "x" * (2 << 20), "no config"),
    "code": ("a: !!python/object/apply:os.system [touch /tmp/owned]\n", "not valid YAML"),
    "an unknown tag": ("a: !x 1\n", "not valid YAML"),
    "a tab": ("a:\n\t- 1\n", "not valid YAML"),
    "bytes that are no text": (b"name: \xff\xfe\n", "cannot be read"),
    "NULs": (b"name: s\0\n", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
    "a key twice": (STUDY + "name: t\n", "given twice"),
    "an unknown key": (STUDY + "colour: red\n", "colour: unknown key"),
    "a number for a name": ("name: 7\n", "name: found 7"),
    "a word for a number": (STUDY + "top_k: many\n", 'top_k: found "many"'),
    "a negative count": (STUDY + "top_k: -1\n", "top_k: found -1"),
    "no number": (STUDY + "training: {lr: .nan}\n", "training"),
    "infinity": (STUDY + "grid: {lrs: [1e999]}\n", "expected a finite number"),
    "a variable that is not set": ("name: ${REID_RAY_NOT_SET}\n", "is not set"),
    "a name that leaves the folder": (STUDY.replace("name: s", "name: ../../etc"), "name: found"),
    "a name of markup": (STUDY.replace("name: s", 'name: "<script>"'), "name: found"),
    "a name of 999 letters": (STUDY.replace("name: s", "name: " + "s" * 999), "name: found"),
    "a dataset's name that leaves the folder": (STUDY.replace("name: d", "name: ../d"), "name"),
}
"""Kind: (file, part of what is said)."""


def test_every_kind_of_config_is_told(tmp_path: Path, record: Record) -> None:
    for kind, (content, part) in CONFIGS.items():
        path = tmp_path / "c.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code, text = told(lambda path=path: load(Study, path), tmp_path)
        assert (code, part in text) == (2, True), (kind, text[:500])
        assert str(path) in text or "not set" in text
    assert not Path("/tmp/owned").exists()
    record("bad configs", f"{len(CONFIGS)} kinds of YAML", tried=len(CONFIGS), survived=len(CONFIGS))


def test_debug_shows_where_and_nothing_else_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from reid_ray import command
    from reid_ray.errors import ConfigError

    def fail(_: argparse.Namespace) -> int:
        raise ConfigError("no such key")

    assert command.guarded(argparse.Namespace(debug=False), fail) == 2
    assert capsys.readouterr().err == "error: no such key\n"
    assert command.guarded(argparse.Namespace(debug=True), fail) == 2
    assert "Traceback" in capsys.readouterr().err
