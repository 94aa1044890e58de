"""Photos are prepared one task at a time where memory ran out, and what to lower is told if that fails."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ray.data import TaskPoolStrategy
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


class OfRay:
    """A dataset whose tasks Ray's memory monitor ends, unless so many or fewer work at a time."""

    def __init__(self, fits: int) -> None:
        self.fits, self.tried, self.context = fits, [], SimpleNamespace()

    def map_batches(self, *_: Any, compute: TaskPoolStrategy, **__: Any) -> "OfRay":
        self.tried.append(compute.size)
        return self

    def iter_batches(self, **_: Any) -> Iterator[Any]:
        if (self.tried[-1] or 8) > self.fits:
            raise OutOfMemoryError(DUMP)
        return iter(())


def test_what_ray_data_says_of_memory_leads_to_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told = OfRay(1)
    monkeypatch.setattr(photos, "index", lambda rows: told)
    monkeypatch.setattr(photos.ray, "put", lambda value: value)
    store = SimpleNamespace(index=dict)
    photos._place(pd.DataFrame({"path": ["a.jpg"]}), store, lambda _: None)  # type: ignore[arg-type]
    assert told.tried == [None, 1]
    told.fits = 0
    with pytest.raises(ResourceError, match="one task at a time"):
        photos._place(pd.DataFrame({"path": ["a.jpg"]}), store, lambda _: None)  # type: ignore[arg-type]
