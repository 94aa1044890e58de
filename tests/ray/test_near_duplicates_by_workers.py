"""Near duplicates among many photos are found by workers, once."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_ray.config.datasets import Images
from reid_ray.datasets.store import PreparedStore, Row
from reid_ray.on_ray import near_duplicates as module
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.progress import Display
from reid_ray.splits.near_duplicates import find_near_duplicates

pytestmark = pytest.mark.ray


def test_workers_find_what_one_process_finds_and_a_later_start_asks_none(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        blobs = cv2.GaussianBlur(rng.integers(0, 256, (80, 110, 3), np.uint8), (0, 0), 6)
        photo = cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX)
        for name, shown in ((f"{number}.png", photo), (f"{number}-copy.png", photo[2:-1, 3:])):
            cv2.imwrite(str(tmp_path / name), shown)
        rows.append(Row(str(tmp_path), f"{number}.png", None))
    rows += [Row(str(tmp_path), f"{number}-copy.png", None) for number in (7, 3, 31)]
    store = PreparedStore(tmp_path / "kept", Images(short_px=64))
    index = store.index()
    placed = [one for at in range(0, len(rows), 9) for one in store.prepare(rows[at : at + 9], index)]
    images = store.open(placed)
    queries, others = np.array([2, 40, 41, 42]), np.setdiff1d(np.arange(40), [2])
    monkeypatch.setattr(module, "HERE", 0)
    monkeypatch.setattr(module, "AT_ONCE", 8)

    def found() -> list[tuple[int, int]]:
        return module.near_duplicates(images, queries, others, folder=tmp_path / "done", display=Display())

    assert found() == find_near_duplicates(images, queries, others) == [(40, 7), (41, 3), (42, 31)]
    monkeypatch.setattr(
        module.Pool, "_start", lambda self: pytest.fail("a worker was started"), raising=False
    )
    assert found() == [(40, 7), (41, 3), (42, 31)]
