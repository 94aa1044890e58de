"""Photos are prepared one task at a time where memory ran out, and what to lower is told if that fails."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.exceptions import OutOfMemoryError

from reid_ray.config.datasets import Images
from reid_ray.datasets.originals import NONE
from reid_ray.datasets.store import Placed, PreparedStore
from reid_ray.errors import ResourceError
from reid_ray.on_ray import photos

DUMP = "Task was killed due to the node running low on memory.\n3141 alice --password hunter2"


def prepared(fits: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[int | None]:
    """How many tasks at a time were tried."""
    tried: list[int | None] = []

    def placed(*_: Any, at_once: int | None) -> list[Any]:
        tried.append(at_once)
        if (at_once or 8) > fits:
            raise OutOfMemoryError(DUMP)
        return [Placed()]

    monkeypatch.setattr(photos, "_placed", placed)
    rows = pd.DataFrame({"root": [str(folder)], "path": ["a.jpg"]})
    photos._place(rows, PreparedStore(folder, Images()), NONE, lambda _: None)
    return tried


def test_after_memory_ran_out_tasks_go_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert prepared(8, monkeypatch, tmp_path) == [None]
    assert prepared(1, monkeypatch, tmp_path) == [None, 1]


def test_what_never_fits_is_told_without_rays_dump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"one task at a time; lower data\.images\.max_pixels") as told:
        prepared(0, monkeypatch, tmp_path)
    assert "hunter2" not in str(told.value)


def test_a_large_collection_has_few_files_of_a_bounded_size() -> None:
    """A process may map 65 530 files; a task holds its file's pixels, 262 KB a photo of 4:3 at 256 px."""
    assert photos.photos_per_file(700, 256) == photos.BATCH
    for many in (10**6, 10**7):
        per_file = photos.photos_per_file(many, 256)
        assert many / per_file < 65_530 / 4
        assert per_file * 256 * 341 * 3 <= photos.FILE_BYTES
    assert photos.photos_per_file(10**7, 2048) == photos.BATCH
