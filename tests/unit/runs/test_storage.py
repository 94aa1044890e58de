"""Files of a study behave alike on disk and in object storage, which another machine sees at once."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_ray.config.datasets import Images, SyntheticDataset
from reid_ray.config.named import results_folder
from reid_ray.datasets.roots import open_root
from reid_ray.datasets.store import PreparedStore, Row
from reid_ray.datasets.synthetic import synthetic_root
from reid_ray.embedding.vectors import VectorStore
from reid_ray.errors import ConfigError, StorageError
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.runs.storage import address, remote
from reid_ray.runs.study import find_study


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of results, on disk or in object storage."""
    if request.param == "disk":
        return tmp_path / "runs"
    return results_folder(request.getfixturevalue("bucket") + "/some/runs")


def on_another_machine(path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """The same place as a machine with an empty cache knows it."""
    monkeypatch.setenv("REID_RAY_CACHE", str(folder))
    return results_folder(address(path))


def test_a_file_is_read_listed_appended_to_moved_and_removed(place: Path) -> None:
    path = place / "a" / "log.txt"
    assert not files.exists(path)
    assert files.entries(place / "a") == {}
    with pytest.raises(FileNotFoundError):
        files.read_bytes(path)
    files.append(path, "first\n")
    files.append(path, "second\n")
    files.write_bytes(place / "a" / "b" / "deep.bin", b"12", memoryview(b"345"))
    assert files.read_bytes(path) == b"first\nsecond\n"
    assert {name: entry.size for name, entry in files.entries(place / "a").items()} == {"log.txt": 13}
    files.move_folder(place / "a", place / "old")
    assert files.entries(place / "a") == {}
    assert files.read_bytes(place / "old" / "b" / "deep.bin") == b"12345"
    files.remove(place / "old" / "log.txt")
    files.remove(place / "old" / "log.txt")
    assert not files.exists(place / "old" / "log.txt")


def test_the_ledger_is_the_same_on_both(place: Path) -> None:
    folder = MethodFolder(place / "study" / "methods" / "abc")
    assert not folder.finished()
    assert folder.history() == []
    folder.append_history({"epoch": 1, "loss": 2.5})
    folder.append_history({"epoch": 1, "loss": 2.0})
    answers = pd.DataFrame({"query": ["q1"], "correct": [True]})
    result = Result("abc", "SIFT", "baseline", "local features", "zebra", metrics={"seen/top1": 0.5})
    folder.finish(result, answers)
    assert folder.done()
    assert folder.result() == result
    assert folder.history() == [{"epoch": 1, "loss": 2.0}]
    pd.testing.assert_frame_equal(folder.predictions(), answers)
    assert folder.reported() == ["result.json", "predictions.parquet", "history.jsonl"]
    files.write_bytes(folder.path / "result.json", b'{"key": "ab')
    assert not folder.finished()
    folder.forget()
    with pytest.raises(StorageError, match=r"result\.json: cannot be read"):
        folder.result()


def test_a_study_is_found_by_its_name_or_its_place(place: Path) -> None:
    files.write_json(place / "mine" / "study.json", {})
    assert find_study("mine", place).path == place / "mine"
    assert find_study(address(place / "mine"), Path("elsewhere")).path == place / "mine"
    with pytest.raises(ConfigError, match="no study 'other'; there are: mine"):
        find_study("other", place)


def test_prepared_photos_and_vectors_are_seen_from_another_machine(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synthetic = SyntheticDataset(
        source="synthetic", name="z", species="zebra", identities=2, photos=2, size_px=64
    )
    here = results_folder(f"{bucket}/runs")
    root = synthetic_root(here / "synthetic", synthetic)
    assert root.startswith("s3://results/runs/synthetic/zebra-")
    photos = [path for path in open_root(root).inventory().files if path.endswith(".jpg")]
    rows = [Row(root, path, None) for path in photos]
    store = PreparedStore(here / "prepared", Images(short_px=48))
    placed = store.prepare(rows, store.index())
    assert [one.error for one in placed] == [""] * 4
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    keys = [bytes([number] * 16) for number in range(4)]
    VectorStore(here / "vectors").add(keys, vectors)

    there = on_another_machine(here, monkeypatch, tmp_path / "other")
    assert there != here
    assert synthetic_root(there / "synthetic", synthetic) == root
    assert not (there / "synthetic").exists()  # it was not rendered a second time
    other = PreparedStore(there / "prepared", Images(short_px=48))
    again = other.prepare(rows, other.index())
    assert [one.reused for one in again] == [True] * 4
    for one, theirs in zip(store.open(placed), other.open(again), strict=True):
        np.testing.assert_array_equal(one, theirs)
    np.testing.assert_array_equal(VectorStore(there / "vectors").read(keys), vectors)


def test_a_damaged_copy_of_photos_is_fetched_again_and_a_damaged_original_made_again(
    bucket: str, tmp_path: Path
) -> None:
    photo = Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3))
    photo.save(tmp_path / "a.png")
    store = PreparedStore(results_folder(f"{bucket}/runs"), Images(short_px=48))
    row = Row(str(tmp_path), "a.png", None)
    shard = store.prepare([row], store.index())[0].shard
    copy = store.folder / f"{shard}.pixels"
    whole = copy.read_bytes()
    copy.write_bytes(b"x" * len(whole))
    assert store.prepare([row], store.index())[0].reused
    assert copy.read_bytes() == whole
    files.write_bytes(copy, b"y" * len(whole))
    copy.unlink()
    placed = store.prepare([row], store.index())[0]
    assert not placed.reused
    assert placed.shard != shard
    assert files.read_bytes(store.folder / f"{placed.shard}.pixels") == whole


def test_a_folder_is_published_with_its_last_file_last(bucket: str, tmp_path: Path) -> None:
    folder = results_folder(f"{bucket}/made")
    for name in ("photos/1.jpg", "photos/2.jpg", "metadata.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    files.publish_folder(folder, last="metadata.csv")
    found = remote(folder)
    assert found is not None
    assert found.below() == {"photos/1.jpg": 12, "photos/2.jpg": 12, "metadata.csv": 12}
    times = [
        info.mtime_ns
        for info in found.filesystem.get_file_info(
            [f"{found.key}/{name}" for name in ("photos/1.jpg", "photos/2.jpg", "metadata.csv")]
        )
    ]
    assert times[2] >= max(times[:2])


def test_what_cannot_be_written_says_where(bucket: str) -> None:
    with pytest.raises(StorageError, match=r"s3://nowhere/runs/a: cannot be written"):
        files.write_bytes(results_folder("s3://nowhere/runs") / "a", b"x")
    with pytest.raises(StorageError, match=r"nothing://here: cannot be opened"):
        files.write_bytes(results_folder("nothing://here/runs") / "a", b"x")


def test_filesystems_of_fsspec_serve_as_well() -> None:
    path = results_folder("memory://place/runs") / "a.npy"
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    files.write_bytes(path, buffer.getvalue())
    assert np.load(io.BytesIO(files.read_bytes(path))).tolist() == [0, 1, 2]
    assert list(files.entries(path.parent)) == ["a.npy"]
    assert not path.exists()


@pytest.mark.parametrize("uri", ["s3://", "s3:///runs", "s3://b/../c", "S3://b", "s3://b//c"])
def test_a_uri_that_is_no_place_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="not a place for results"):
        results_folder(uri)


def test_options_belong_into_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"):
        results_folder("s3://bucket/runs?endpoint_override=http://x")
    assert results_folder(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
