"""Photos are prepared one task at a time where memory ran out, and what to lower is told if that fails."""

from typing import Any

import pandas as pd
import pytest
from ray.exceptions import OutOfMemoryError

from reid_ray.errors import ResourceError
from reid_ray.on_ray import photos

DUMP = "Task was killed due to the node running low on memory.\n3141 alice --password hunter2"


def prepared(fits: int, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many tasks at a time were tried."""
    tried: list[int | None] = []

    def placed(*_: Any, at_once: int | None) -> list[Any]:
        tried.append(at_once)
        if (at_once or 8) > fits:
            raise OutOfMemoryError(DUMP)
        return []

    monkeypatch.setattr(photos, "_placed", placed)
    photos._place(pd.DataFrame(), None, lambda _: None)  # type: ignore[arg-type]
    return tried


def test_after_memory_ran_out_tasks_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(8, monkeypatch) == [None]
    assert prepared(1, monkeypatch) == [None, 1]


def test_what_never_fits_is_told_without_rays_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match=r"one task at a time; lower data\.images\.max_pixels") as told:
        prepared(0, monkeypatch)
    assert "hunter2" not in str(told.value)
