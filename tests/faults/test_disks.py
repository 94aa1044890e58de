"""Disks that are full, read-only or not ours: a clear error, old files whole, and work goes on afterwards."""

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty import Record, fill, forked
from PIL import Image
from test_kept_files import _training

from reid_ray.config.datasets import Images
from reid_ray.datasets.images import BadImage, read_bytes
from reid_ray.datasets.store import PreparedStore, Row
from reid_ray.embedding import checkpoint
from reid_ray.errors import StorageError
from reid_ray.runs import files
from reid_ray.runs.lock import only_one
from reid_ray.runs.methods import MethodFolder, Result

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk or be another")


def _use_up_names(disk: Path) -> Path:
    path = disk / "names"
    path.mkdir()
    try:
        for number in range(1000):
            (path / str(number)).touch()
    except OSError:
        pass
    return path


def _free(path: Path) -> None:
    for inside in path.iterdir() if path.is_dir() else ():
        inside.unlink()
    path.rmdir() if path.is_dir() else path.unlink()


def _method(disk: Path) -> tuple[Callable[[int], None], Callable[[], int]]:
    folder = MethodFolder(disk / "m")

    def write(number: int) -> None:
        result = Result("m", "m", "trial", "ArcFace", "z", metrics={"seen/top1": float(number)})
        folder.finish(result, pd.DataFrame({"score": np.arange(500) + number}))

    def read() -> int:
        assert folder.finished()
        return int(folder.result().metrics["seen/top1"])

    return write, read


def _checkpoint(disk: Path) -> tuple[Callable[[int], None], Callable[[], int]]:
    folder = disk / "c"
    return (
        lambda number: checkpoint.Snapshot.take(_training(), epoch=number).write(folder),
        lambda: checkpoint.resume(folder, _training()),
    )


def _history(disk: Path) -> tuple[Callable[[int], None], Callable[[], int]]:
    folder = MethodFolder(disk / "m")

    def write(number: int) -> None:
        for _ in range(300):  # more than what is left of the file's last page
            folder.append_history({"epoch": number, "loss": 0.123456789012345})

    return write, lambda: int(folder.history()[0]["epoch"])


WRITERS = {"a result": _method, "a checkpoint": _checkpoint, "a history": _history}


@root_only
@pytest.mark.parametrize("fault", ["full", "no name left", "read-only"])
@pytest.mark.parametrize("what", WRITERS)
def test_what_was_there_survives_a_disk_that_takes_no_more(
    what: str, fault: str, disk: Path, record: Record
) -> None:
    if (what, fault) == ("a history", "no name left"):
        pytest.skip("a line needs no new name")
    write, read = WRITERS[what](disk)
    write(1)
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    else:
        filling = fill(disk) if fault == "full" else _use_up_names(disk)
    with pytest.raises(StorageError, match=r"cannot be written .*check space and permissions"):
        write(2)
    assert read() == 1
    assert not list(disk.rglob("*.tmp"))
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    else:
        _free(filling)
    write(2)
    assert read() == (1 if what == "a history" else 2)
    record(
        f"disk: {fault}",
        "a tmpfs of half a MiB, while results, checkpoints or histories are written",
        tried=1,
        survived=1,
        trials=0,
        epochs=0,
    )


@root_only
def test_photos_are_prepared_once_there_is_room_again(disk: Path, tmp_path: Path, record: Record) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for number in range(8):
        Image.fromarray(noise + np.uint8(number)).save(tmp_path / f"{number}.png")
    rows = [Row(str(tmp_path), f"{number}.png", None) for number in range(8)]
    store = PreparedStore(disk, Images(short_px=200))
    with pytest.raises(StorageError, match="No space left on device"):
        store.prepare(rows, store.index())
    assert len(store.index().keys) == 0
    placed = store.prepare(rows[:1], store.index())
    np.testing.assert_array_equal(store.open(placed)[0], noise)
    record("disk: full", "a tmpfs of half a MiB, while photos are prepared", tried=1, survived=1)


def test_a_limit_on_the_size_of_files_is_told(tmp_path: Path, record: Record) -> None:
    write, read = _method(tmp_path)
    write(1)

    def beyond() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(StorageError, match="File too large"):
            write(2)
        assert read() == 1

    with forked(beyond) as child:
        assert os.waitpid(child, 0)[1] == 0
    assert read() == 1
    record("files limited in size", "RLIMIT_FSIZE of 1000 bytes", tried=1, survived=1, trials=0)


@root_only
def test_what_is_not_ours_is_told(tmp_path: Path, record: Record) -> None:
    write, _ = _method(tmp_path)
    write(1)
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    (tmp_path / "photo.png").chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and len(folder.parts) > 2:
            folder.chmod(0o755)

    def as_nobody() -> None:
        os.setuid(NOBODY)
        with pytest.raises(StorageError, match="Permission denied"):
            write(2)
        with pytest.raises(StorageError, match="Permission denied"):
            only_one(tmp_path / "study").__enter__()
        with pytest.raises(BadImage, match="Permission denied"):
            read_bytes(str(tmp_path), "photo.png")

    with forked(as_nobody) as child:
        assert os.waitpid(child, 0)[1] == 0
    record(
        "wrong permissions",
        "results and photos of root, read and written by nobody",
        tried=3,
        survived=3,
        trials=0,
    )


def test_a_device_without_room_is_told(record: Record) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        files.append(Path("/dev/full"), "x" * 100_000)
    record("disk: full", "/dev/full, while a history is written", tried=1, survived=1)
