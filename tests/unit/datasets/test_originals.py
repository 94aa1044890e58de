"""Originals are read once; whatever might have changed is read again."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_ray.config.datasets import Images
from reid_ray.datasets import originals, store
from reid_ray.datasets.originals import NONE, Originals, remember
from reid_ray.datasets.store import Placed, PreparedStore, Row

SETTINGS = Images(short_px=32)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Three photos that were written long enough ago."""
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(originals, "SETTLED_NS", -(10**9))
    return [Row(str(tmp_path), f"{name}.png", None) for name in "abc"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were read."""
    paths: list[str] = []
    original = store.read_source

    def counted(root: str, path: str, **how: object) -> object:
        paths.append(path)
        return original(root, path, **how)

    monkeypatch.setattr(store, "read_source", counted)
    return paths


def start(folder: Path, rows: list[Row], settings: Images = SETTINGS) -> list[Placed]:
    """What one start of a study does."""
    kept = PreparedStore(folder, settings)
    known = Originals.read(kept.originals_path)
    placed = kept.prepare(rows, kept.index(), known)
    remember(kept.originals_path, known, [(one.address, one.stamp, one.read) for one in placed if one.stamp])
    return placed


def plain(placed: list[Placed]) -> list[tuple[str, str, int]]:
    return [(one.content, one.shard, one.start) for one in placed]


def test_a_second_start_reads_nothing_and_finds_the_same(
    tmp_path: Path, rows: list[Row], read: list[str]
) -> None:
    first = start(tmp_path / "kept", rows)
    assert read == ["a.png", "b.png", "c.png"]
    read.clear()
    again = start(tmp_path / "kept", rows)
    assert read == []
    assert plain(again) == plain(first)
    assert all(one.reused for one in again)


def test_what_is_known_says_what_reading_says(tmp_path: Path, rows: list[Row]) -> None:
    start(tmp_path / "kept", rows)
    kept = PreparedStore(tmp_path / "kept", SETTINGS)
    without = kept.prepare(rows, kept.index(), NONE)
    assert plain(start(tmp_path / "kept", rows)) == plain(without)


def test_a_changed_file_is_read_also_where_its_size_and_time_were_set_back(
    tmp_path: Path, rows: list[Row], read: list[str]
) -> None:
    first = start(tmp_path / "kept", rows)
    path = tmp_path / "b.png"
    before = path.stat()
    data = path.read_bytes()
    time.sleep(0.02)  # the clock of the file system may tick but a hundred times a second
    path.write_bytes((tmp_path / "a.png").read_bytes()[: len(data)].ljust(len(data), b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    read.clear()
    again = start(tmp_path / "kept", rows)
    assert read == ["b.png"]
    assert again[1].content != first[1].content


def test_a_file_that_was_written_just_now_is_read_once_more(
    tmp_path: Path, rows: list[Row], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "SETTLED_NS", 10**12)
    start(tmp_path / "kept", rows)
    read.clear()
    start(tmp_path / "kept", rows)
    assert read == ["a.png", "b.png", "c.png"]


def test_another_size_another_box_and_a_lost_shard_are_read(
    tmp_path: Path, rows: list[Row], read: list[str]
) -> None:
    first = start(tmp_path / "kept", rows)
    read.clear()
    start(tmp_path / "kept", rows, Images(short_px=40))
    assert read == ["a.png", "b.png", "c.png"]
    read.clear()
    boxed = start(tmp_path / "kept", [rows[0]._replace(bbox=[0, 0, 40, 40], crop="bbox")])
    assert read == ["a.png"]
    assert boxed[0].content != first[0].content
    read.clear()
    for path in (tmp_path / "kept" / "32px").glob(f"{first[0].shard}.*"):
        path.unlink()
    start(tmp_path / "kept", rows)
    assert read == ["a.png", "b.png", "c.png"]


def test_a_damaged_or_missing_list_costs_reading_and_nothing_else(
    tmp_path: Path, rows: list[Row], read: list[str]
) -> None:
    first = start(tmp_path / "kept", rows)
    path = PreparedStore(tmp_path / "kept", SETTINGS).originals_path
    for data in (b"", b"PAR1 and nothing more", path.read_bytes()[:-20]):
        path.write_bytes(data)
        read.clear()
        assert plain(start(tmp_path / "kept", rows)) == plain(first)
        assert len(read) == 3


def look(folder: Path, rows: list[Row]) -> tuple[list[Placed | None], list[tuple[str, str, str]]]:
    """What a start finds without reading a photo, and the shards that it reads; these are remembered."""
    kept = PreparedStore(folder, SETTINGS)
    known = Originals.read(kept.originals_path)
    found, shards = kept.known(rows, kept.index(), known)
    remember(kept.originals_path, known, shards)
    return found, shards


def test_looking_finds_what_preparing_finds_and_leaves_what_it_must_read(
    tmp_path: Path, rows: list[Row], read: list[str]
) -> None:
    start(tmp_path / "kept", rows[:2])
    read.clear()
    (tmp_path / "second").mkdir()
    (tmp_path / "c.png").rename(tmp_path / "second/c.png")
    masked = rows[0]._replace(segmentation="[[0, 0, 40, 0, 40, 40]]", crop="mask")
    elsewhere = Row(str(tmp_path / "second"), "c.png", None)
    found, _ = look(tmp_path / "kept", [rows[1], elsewhere, masked, rows[0]])
    assert [one is None for one in found] == [False, True, True, False]
    assert read == []
    assert [found[0], found[3]] == start(tmp_path / "kept", [rows[1], rows[0]])


def test_a_shard_is_read_to_see_whether_it_is_whole_until_that_is_known(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shard,) = {one.shard for one in start(tmp_path / "kept", rows)}
    digested: list[Path] = []
    digest = store._digest.__wrapped__
    monkeypatch.setattr(store, "_digest", lambda path, stamp: digested.append(path) or digest(path, stamp))
    first, read_now = look(tmp_path / "kept", rows)
    again, read_later = look(tmp_path / "kept", rows)
    pixels = tmp_path / "kept/32px" / f"{shard}.pixels"
    assert digested == [pixels]
    assert (len(read_now), len(read_later)) == (1, 0)
    assert first == again == [one._replace(reused=True) for one in start(tmp_path / "kept", rows)]
    data = bytearray(pixels.read_bytes())
    data[100] ^= 1
    before = pixels.stat()
    time.sleep(0.02)
    pixels.write_bytes(data)
    os.utime(pixels, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look(tmp_path / "kept", rows)[0] == [None] * 3
    assert not pixels.exists()


def test_in_object_storage_an_object_is_known_by_its_size_and_time(bucket: str) -> None:
    from reid_ray.datasets.roots import open_root
    from reid_ray.runs.storage import open_filesystem

    filesystem, base = open_filesystem(bucket)

    def put(data: bytes) -> None:
        with filesystem.open_output_stream(f"{base}/photos/a.png") as file:
            file.write(data)

    put(b"1234")
    root = open_root(f"{bucket}/photos")
    (stamp,) = root.stamps(["a.png"])
    assert stamp.startswith("4:")
    assert root.stamps(["a.png"]) == [stamp]
    put(b"12345")
    assert root.stamps(["a.png"]) != [stamp]
    assert root.stamps(["missing.png", "a.png"])[0] == ""
    assert not originals.settled("")
