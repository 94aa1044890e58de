"""The members of a group may work on one folder after another."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid_ray.errors import StorageError
from reid_ray.runs import files
from reid_ray.runs.lock import only_one


@pytest.fixture
def of_a_group() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_locks_and_files_can_be_written_by_the_group(of_a_group: None, tmp_path: Path) -> None:
    with only_one(tmp_path / "study"):
        pass
    files.write_bytes(tmp_path / "study" / "a.json", b"{}")
    files.append(tmp_path / "study" / "history.jsonl", "{}\n")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {".study.lock": 0o664, "study": 0o775, "a.json": 0o664, "history.jsonl": 0o664}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_lock_that_another_user_may_only_read_is_held_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for path in (folder, *folder.parents):
        if path != Path("/tmp") and Path("/tmp") in path.parents:
            path.chmod(0o777)
    with only_one(folder / "study"):
        lock = folder / ".study.lock"
        lock.chmod(0o644)
        os.seteuid(65534)
        try:
            with pytest.raises(StorageError, match="is being run already"):
                only_one(folder / "study").__enter__()
        finally:
            os.seteuid(0)
    os.seteuid(65534)
    try:
        with only_one(folder / "study"):
            pass
    finally:
        os.seteuid(0)
