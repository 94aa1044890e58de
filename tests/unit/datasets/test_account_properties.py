"""Any mix of separators, letter case, Unicode forms and stray files is read whole, or each loss is counted.

`INTAKE_EXAMPLES=10000` tries as many collections; by default there are few.
"""

import json
import os
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from reid_ray.config.datasets import CocoDataset, Data, Detections, FolderDataset, Images
from reid_ray.datasets.catalogue import load_rows, root_of
from reid_ray.datasets.intake import close_account
from reid_ray.datasets.understand import understand
from reid_ray.errors import DatasetError

EXAMPLES = int(os.environ.get("INTAKE_EXAMPLES", "60"))
JPEG = b"\xff\xd8\xff\xe0" + bytes(60)

FOLDER = st.sampled_from(
    ["A0", "a0", "Zoé", "Zoe\u0301", "B 1", "C_L", "2020", "#recycle", ".cache", "_trash"]
)
NAME = st.sampled_from(
    [
        *("1.jpg", "1.JPG", "2.jpeg", "ü.png", "x", "y.jfif", "notes.txt", "r.nef", "r.jpg", "v.mp4"),
        *("~$t.xlsx", "odd.qqq"),
    ]
)
FILES = st.sets(st.tuples(st.lists(FOLDER, max_size=3).map(tuple), NAME), min_size=1, max_size=12)
WAYS = (
    lambda path: path,
    lambda path: path.replace("/", "\\"),
    lambda path: f" {path}",
    lambda path: path.swapcase(),
    lambda path: unicodedata.normalize("NFD", path),
    lambda path: unicodedata.normalize("NFC", path),
    lambda path: f"D:\\trip\\{path}",
    lambda path: path.rpartition("/")[2],
    lambda path: f"gone/{path}x",
)


def hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "~$")) for part in parts)


def binned(folders: tuple[str, ...]) -> bool:
    return any(name in ("#recycle", "_trash") for name in folders)


def form(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_photo(name: str) -> bool:
    return name.endswith((".jpg", ".JPG", ".jpeg", ".png", ".jfif")) or name in ("x", "odd.qqq")


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    tree=FILES, listed=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8)), max_size=12), data=st.data()
)
def test_every_file_and_every_row_is_used_or_named_as_lost(
    tree: set[tuple[tuple[str, ...], str]], listed: list[tuple[int, int]], data: st.DataObject
) -> None:
    order = sorted(tree)
    paths = ["/".join((*folders, name)) for folders, name in order]
    with tempfile.TemporaryDirectory(prefix="photos") as home:
        root = Path(home)
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(JPEG)
        names = [WAYS[way](paths[place % len(paths)]) for place, way in listed]
        animals = data.draw(
            st.lists(st.sampled_from(["leo", "mia"]), min_size=len(names), max_size=len(names))
        )
        table = pd.DataFrame({"path": names, "identity": animals, "site": "x"})
        if names:
            table.to_csv(root / "metadata.csv", index=False)
        try:
            found = understand(root)
            data_of = Data(datasets=(found.dataset,), images=Images(max_bad_share=1.0))
            loaded = load_rows(data_of, made=root)
        except DatasetError as told:
            event("refused as a whole")
            said = str(told)
            assert any(part in said for part in (str(root), "none of", "more than one way"))
            return
        event(f"read by {found.dataset.source}")
        shown = [
            (folders, name) for folders, name in order if not hidden((*folders, name)) and not binned(folders)
        ]
        account = close_account(loaded.rows, loaded.quarantine, root_of(found.dataset))
        in_hidden = {row for row in loaded.rows["path"] if row not in {"/".join((*f, n)) for f, n in shown}}
        assert account.files == len(shown) + bool(names) + len(in_hidden)
        parts = (account.used, account.quarantined, len(account.unlisted))
        assert sum(parts) + account.unread.total() + account.others.total() == account.files
        assert account.used == loaded.rows["path"].nunique()
        if found.dataset.source == "table":
            assert len(loaded.rows) + len(loaded.quarantine) == len(table)
            resolved = loaded.intakes[0].paths
            assert resolved is not None
            assert set(resolved.by_name) == set(names)
            used = set(loaded.rows["path"])
            for match in resolved.by_name.values():
                # A lost name is counted as such; a found one is a row.
                assert (match.path in used) == (match.how in ("exact", "spelling", "name"))
            seen = ["/".join((*folders, name)) for folders, name in shown]
            forms = [form(path) for path in seen]
            for place, way in listed:
                path = paths[place % len(paths)]
                as_it_is = way < 3 or (way < 6 and forms.count(form(path)) == 1)
                if path in seen and as_it_is:
                    assert path in used
        else:
            photos = ["/".join((*folders, name)) for folders, name in shown if is_photo(name)]
            assert set(loaded.rows["path"]) == set(photos)
            for told in found.reasons:
                if "metadata.csv" in told:
                    assert told.startswith("not used: metadata.csv, because ")
            assert not names or any("metadata.csv" in told for told in found.reasons)


def written(root: Path, tree: set[tuple[tuple[str, ...], str]]) -> list[str]:
    """Empty photos and others below `root`; their paths."""
    paths = ["/".join((*folders, name)) for folders, name in sorted(tree)]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(JPEG)
    return paths


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    tree=FILES,
    listed=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8)), min_size=1, max_size=12),
    animals=st.lists(st.sampled_from(["leo", "mia"]), min_size=12, max_size=12),
)
def test_every_annotation_of_a_coco_file_is_used_or_named_as_lost(
    tree: set[tuple[tuple[str, ...], str]], listed: list[tuple[int, int]], animals: list[str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="photos") as home:
        root = Path(home)
        paths = written(root, tree)
        names = [WAYS[way](paths[place % len(paths)]) for place, way in listed]
        raw = {
            "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1, "individual_id": animal}
                for number, animal in enumerate(animals[: len(names)])
            ],
            "categories": [{"id": 1, "name": "lynx"}],
        }
        (root / "coco.json").write_text(json.dumps(raw), encoding="utf-8")
        dataset = CocoDataset(source="coco", name="c", root=home, annotations="coco.json")
        try:
            loaded = load_rows(Data(datasets=(dataset,), images=Images(max_bad_share=1.0)), made=root)
        except DatasetError as told:
            event("refused as a whole")
            said = str(told)
            assert "none of" in said or "more than one way" in said
            return
        assert len(loaded.rows) + len(loaded.quarantine) == len(names)
        resolved = loaded.intakes[0].paths
        assert resolved is not None
        assert set(resolved.by_name) == set(names)
        used = set(loaded.rows["path"])
        assert used <= set(paths)
        for match in resolved.by_name.values():
            assert (match.path in used) == (match.how in ("exact", "spelling", "name"))


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    tree=FILES,
    listed=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8)), min_size=1, max_size=12),
    found=st.lists(st.sampled_from(["animal", "empty", "failed"]), min_size=12, max_size=12),
)
def test_every_photo_has_its_own_box_or_is_counted_as_without(
    tree: set[tuple[tuple[str, ...], str]], listed: list[tuple[int, int]], found: list[str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="photos") as home:
        root = Path(home)
        paths = written(root, tree)
        entry: dict[str, dict[str, Any]] = {
            "animal": {"detections": [{"category": "1", "conf": 0.9, "bbox": [0, 0, 0.5, 0.5]}]},
            "empty": {"detections": []},
            "failed": {"failure": "cannot be opened", "detections": None},
        }
        names = [WAYS[way](paths[place % len(paths)]) for place, way in listed]
        images = [{"file": name, **entry[what]} for name, what in zip(names, found, strict=False)]
        raw = {"images": images, "detection_categories": {"1": "animal"}}
        (root / "md.json").write_text(json.dumps(raw), encoding="utf-8")
        detections = Detections(file="md.json")
        dataset = FolderDataset(source="folder", name="f", root=home, detections=detections)
        data = Data(datasets=(dataset,), images=Images(max_bad_share=1.0, crop="bbox"))
        try:
            loaded = load_rows(data, made=root)
        except DatasetError as told:
            event("refused as a whole")
            said = str(told)
            assert any(part in said for part in ("none of", "no photo", "more than one way"))
            return
        intake = loaded.intakes[0]
        assert intake.detected is not None
        assert intake.boxes is not None
        assert set(intake.detected.by_name) == set(names)
        boxed = loaded.rows[loaded.rows["bbox"].notna()]
        counts = intake.boxes
        assert (counts.photos, counts.boxed) == (len(loaded.rows), len(boxed))
        assert counts.boxed + counts.unlisted + counts.failed + counts.empty == counts.photos
        parts = [tuple(path.split("/")) for path in paths]
        seen = ["/".join(one) for one in parts if not binned(one[:-1]) and not hidden(one)]
        meant = {match.path for match in intake.detected.by_name.values() if match.path}
        assert set(boxed["path"]) <= meant
        for name, match in intake.detected.by_name.items():
            bare = name.rpartition("/")[2]
            if name == bare and sum(form(path).endswith("/" + form(bare)) for path in seen) > 1:
                # A name without its folder fits several photos, unless one lies at the root itself.
                assert match.how != "name"
