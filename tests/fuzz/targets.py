"""What is fuzzed: bytes from outside go in, and nothing but a sentence for the user may come out."""

# ruff: noqa: E501  (seeds are as they are)

import io
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pyarrow as pa

from reid_ray.config import base
from reid_ray.config.datasets import Data, Images
from reid_ray.config.tune import Study
from reid_ray.datasets import catalogue, images, listed, masks
from reid_ray.datasets.roots import Inventory
from reid_ray.errors import ReidError

CAP = 1_000_000


class MemoryRoot:
    """A collection whose list of photos is the input; every path that is allowed is a photo."""

    text = "/fuzz"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def exists(self) -> bool:
        return True

    def inventory(self) -> Inventory:
        return Inventory(())

    def head(self, path: str) -> bytes:
        return b""

    def fault(self, path: str) -> str | None:
        from reid_ray.datasets.roots import path_fault

        return path_fault(path)

    def read(self, path: str) -> bytes:
        if not self.data:
            raise ValueError("empty file")
        return self.data


def loaded(data: bytes, dataset: dict[str, object]) -> catalogue.LoadedRows:
    """A collection whose list of photos is `data`."""
    root = MemoryRoot(data)
    raw = {"datasets": [{"name": "d", "root": "/fuzz", **dataset}], "images": {"max_bad_share": 1.0}}
    with (
        patch.object(catalogue, "open_root", lambda *_, **__: root),
        patch.object(listed, "open_root", lambda *_, **__: root),
    ):
        return catalogue.load_rows(Data.parse(raw, where="fuzz"), made=Path("/fuzz"))


def _load(data: bytes, dataset: dict[str, object]) -> None:
    """Read a collection, and see that its table can be kept and is what everything builds on."""
    try:
        found = loaded(data, dataset)
    except ReidError:
        return
    assert found.rows["key"].is_unique
    for identity in found.rows["identity"]:
        assert identity == unicodedata.normalize("NFC", identity).strip() != ""
    for table in (found.rows, found.quarantine):
        assert len(_kept(table)) == len(table)


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_parquet(pa.BufferReader(table.to_parquet(index=False)))


def table(data: bytes) -> None:
    _load(data, {"source": "table", "metadata": "t.csv"})


def parquet(data: bytes) -> None:
    _load(data, {"source": "table", "metadata": "t.parquet"})


def wildbook(data: bytes) -> None:
    _load(data, {"source": "wildbook", "metadata": "t.csv"})


def coco(data: bytes) -> None:
    _load(data, {"source": "coco", "annotations": "a.json"})


def detections(data: bytes) -> None:
    from reid_ray.datasets.megadetector import read_boxes

    try:
        boxes = read_boxes(listed.parse_json(data, "md.json"), "md.json", min_confidence=0.2)
    except ReidError:
        return
    assert all(box.confidence >= 0.2 for found in boxes.values() for box in found)


_CONFIG = Path(tempfile.gettempdir()) / "fuzzed.yaml"


def config(data: bytes) -> None:
    _CONFIG.write_bytes(data)
    try:
        study = base.load(Study, _CONFIG)
    except ReidError:
        return
    assert Study.parse(study.model_dump(mode="json"), where="again") == study


def photo(data: bytes) -> None:
    try:
        pixels = images.decode(data, max_pixels=CAP)
        small = images.prepare(pixels, short_px=32)
    except images.BadImage:
        return
    assert pixels.ndim == 3
    assert min(small.shape[:2]) == 32


_PHOTO = Path(tempfile.mkdtemp(prefix="fuzz"))


def mask(data: bytes) -> None:
    from PIL import Image

    if not (_PHOTO / "p.png").exists():
        Image.new("RGB", (48, 40)).save(_PHOTO / "p.png")
    row = {"root": str(_PHOTO), "path": "p.png", "segmentation": data.decode("utf-8", "replace")}
    settings = Images(short_px=32, max_pixels=CAP)
    found = masks.read_background(row, settings, size_hw=(32, 38), boxes=False)
    assert found is None or found.shape == (32, 38)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "table": table,
    "parquet": parquet,
    "wildbook": wildbook,
    "coco": coco,
    "detections": detections,
    "config": config,
    "photo": photo,
    "mask": mask,
}


def _pictures() -> list[bytes]:
    from PIL import Image

    picture = Image.effect_noise((48, 40), 60).convert("RGB")
    made = []
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        made.append(buffer.getvalue())
    return made


def _parquets() -> list[bytes]:
    columns = {"identity": ["007", "leo"], "path": ["a.jpg", "b.jpg"], "bbox": [[0.0, 1.0, 9.0, 9.0], None]}
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return [buffer.getvalue()]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "table": lambda: [
        b'image_id,identity,path,bbox,date\n1,leo,a.jpg,"[0,0,9,9]",2020-01-01\n2,007,b/c.jpg,,\n',
        b"\xef\xbb\xbfidentity;path\nNA;a.jpg\n",
        b'identity\tpath\n"a\nb"\ta.jpg\n',
    ],
    "parquet": _parquets,
    "wildbook": lambda: [
        b"Encounter.mediaAsset0,Encounter.individualID,Encounter.year,Encounter.genus\na.jpg,leo,2020,Panthera\n"
    ],
    "coco": lambda: [
        b'{"images":[{"id":1,"file_name":"a.jpg","datetime":"2020"}],"annotations":[{"id":1,"image_id":1,'
        b'"category_id":1,"bbox":[0,0,9,9],"name":"leo"}],"categories":[{"id":1,"name":"lion"}]}'
    ],
    "detections": lambda: [
        b'{"images":[{"file":"a.jpg","detections":[{"category":"1","conf":0.9,"bbox":[0,0,0.5,1]}]}],'
        b'"detection_categories":{"1":"animal"}}',
        b'[{"file":"a.jpg","detections":[{"category":"animal","confidence":0.9,"bbox":[0,0,9,9]}]}]',
    ],
    "config": lambda: [
        b"name: s\ndata: {datasets: [{source: folder, name: d, root: /x}], unseen: []}\ntraining: {epochs: 3}\n",
        b'a: &a {b: 1}\nc: [*a, ~, 1e-4, no, 012, "${X:-y}"]\n',
    ],
    "photo": _pictures,
    "mask": lambda: [b'{"size": [40, 48], "counts": [900, 20, 1000]}', b"[[1, 2, 30, 2, 30, 30]]"],
}
