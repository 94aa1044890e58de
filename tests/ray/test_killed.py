"""Processes of a study's own Ray are killed or stopped while it trains: the figures stay what they are."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from PIL import Image
from small_study import run, study_of

from reid_ray.config.datasets import Images
from reid_ray.config.tune import Study
from reid_ray.datasets.store import PreparedStore
from reid_ray.errors import DatasetError
from reid_ray.on_ray import photos as data
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.reporting.mlflow_store import KEY, Store
from reid_ray.runs.methods import MethodFolder, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from faulty import write_record

pytestmark = pytest.mark.ray

EPOCHS = 8


def trials_alone(folder: Path, workers: int = 0) -> Study:
    return study_of(
        folder,
        training={
            "weights": "random",
            "input_px": 64,
            "epochs": EPOCHS,
            "batch_size": 16,
            "checkpoint_every_s": 0.0,
        },
        baselines={"matching": [], "random_init": False},
        fusion=[],
        scaling={"workers": workers, "confirmation_workers": 0},
    )


def ours(title: str) -> Iterator[psutil.Process]:
    """Processes of this test's own Ray that are called so."""
    for process in psutil.Process().children(recursive=True):
        try:
            if (process.cmdline() or [""])[0].startswith(title):
                yield process
        except psutil.Error:
            continue


class Attack(threading.Thread):
    """Once a trial has reported two epochs, do something to each of some processes, one time."""

    def __init__(self, methods: Path, title: str, signals: tuple[int, ...], times: int) -> None:
        super().__init__(daemon=True)
        self.methods, self.title, self.signals, self.times = methods, title, signals, times
        self.hit = 0
        self.over = False

    def run(self) -> None:
        while not self.over and self.hit < self.times:
            time.sleep(0.05)
            open_ = [
                MethodFolder(p.parent)
                for p in self.methods.glob("*/history.jsonl")
                if not (p.parent / "result.json").exists()
            ]
            if any(len(method.history()) >= 2 for method in open_):
                for process in list(ours(self.title))[:1]:
                    for sign in self.signals:
                        os.kill(process.pid, sign)
                        time.sleep(1.0 if len(self.signals) > 1 else 0)
                    self.hit += 1
                    time.sleep(1.0)


def results(study: Study) -> dict[str, Result]:
    return {m.result.key: m.result for m in run(study)[0].record.methods if m.result.kind == "trial"}


def attacked(study: Study, title: str, signals: tuple[int, ...], times: int) -> tuple[dict[str, Result], int]:
    """The trials' results, and how many epochs were trained again."""
    methods = Path(study.storage) / "small" / "methods"
    attack = Attack(methods, title, signals, times)
    attack.start()
    found = results(study)
    attack.over = True
    attack.join()
    assert attack.hit == times
    lines = [line for p in methods.glob("*/history.jsonl") for line in p.read_text().splitlines() if line]
    store = Store.existing(f"sqlite:///{study.storage}/mlflow.db", "small")
    keys = [run.data.tags[KEY] for run in store.runs()]
    assert len(keys) == len(set(keys))
    assert set(found) < set(keys)
    return found, len(lines) - EPOCHS * len(found)


def assert_same(found: dict[str, Result], expected: dict[str, Result], tolerance: float) -> None:
    assert set(found) == set(expected)
    for key, result in expected.items():
        assert found[key].status == result.status == "finished"
        assert found[key].metrics == pytest.approx(result.metrics, abs=tolerance)


@pytest.fixture(scope="module")
def undisturbed(running_ray: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    return results(trials_alone(tmp_path_factory.mktemp("calm")))


def test_killed_trials_go_on_from_their_last_epoch_to_the_same_figures(
    undisturbed: dict[str, Result], tmp_path: Path
) -> None:
    found, again = attacked(trials_alone(tmp_path), "ray::ImplicitFunc", (signal.SIGKILL,), times=2)
    assert_same(found, undisturbed, 1e-9)
    assert 0 <= again <= 2
    write_record(
        "SIGKILL of a trial's process",
        "twice in a study, by its id",
        tried=2,
        survived=2,
        epochs=again + 2,
        trials=0,
        doubled=0,
    )


def test_a_photo_that_kills_its_process_is_told_and_one_that_does_so_once_is_prepared(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fault in a decoder would."""
    for name in ("a.png", "deadly.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    rows = pd.DataFrame(
        {"dataset": "d", "image_id": ["1", "2"], "root": str(tmp_path), "path": ["a.png", "deadly.png"]}
    )
    prepare, tries = data._prepare_batch, tmp_path / "tries"
    tries.mkdir()

    def deadly(times: int) -> Callable[..., Any]:
        def batch(table: Any, **arguments: Any) -> Any:
            tried = len(list(tries.iterdir()))
            (tries / str(tried)).touch()
            if "deadly.png" in table["path"].to_pylist() and tried < times:
                os.kill(os.getpid(), signal.SIGKILL)
            return prepare(table, **arguments)

        return batch

    monkeypatch.setattr(data, "_RETRIES", 2)
    monkeypatch.setattr(data, "_prepare_batch", deadly(times=1))
    images, kept, _, _ = data.prepare_images(rows, PreparedStore(tmp_path / "one", Images(short_px=32)))
    assert (len(images), kept["path"].tolist()) == (2, ["a.png", "deadly.png"])
    assert len(list(tries.iterdir())) == 2
    monkeypatch.setattr(data, "_prepare_batch", deadly(times=99))
    with pytest.raises(DatasetError, match=r"was lost 3 times: .* a photo kills it, .*deadly\.png"):
        data.prepare_images(rows, PreparedStore(tmp_path / "two", Images(short_px=32)))
    write_record(
        "a photo that kills the process that decodes it",
        "SIGKILL of itself, once and always",
        tried=2,
        survived=2,
    )


@pytest.mark.soak
@pytest.mark.parametrize(
    "signals", [(signal.SIGKILL,), (signal.SIGSTOP, signal.SIGCONT)], ids=["killed", "stopped"]
)
def test_a_ddp_worker_that_is_lost_or_halts_changes_nothing(
    running_ray: Cluster, tmp_path: Path, signals: tuple[int, ...]
) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    expected = results(trials_alone(calm, workers=2))
    found, again = attacked(trials_alone(wild, workers=2), "ray::RayTrainWorker", signals, times=1)
    # Sums over two workers are rounded as they happen to come.
    assert_same(found, expected, 0.05)
    assert 0 <= again <= 1
    name = "SIGKILL" if len(signals) == 1 else "SIGSTOP"
    write_record(
        f"{name} of a DDP worker",
        "one of two, by its id",
        tried=1,
        survived=1,
        epochs=again + (len(signals) == 1),
        trials=0,
        doubled=0,
    )
