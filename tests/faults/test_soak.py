"""A study whose processes are killed every few seconds until it is done has the undisturbed figures."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from faulty import Record

from reid_ray.reporting.mlflow_store import KEY, Store
from reid_ray.runs.methods import MethodFolder
from reid_ray.runs.study import StudyFolder

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3000)]

EPOCHS = 12
MOST_KILLS = int(os.environ.get("SOAK_KILLS", "25"))
DRIVER_LIVES_S = 40.0
"""At least so long a driver is left alone, as it takes half of that to start."""


def config(folder: Path) -> Path:
    """Like the quickstart, smaller: three herds, four trials, SIFT, a fusion, the winner again under DDP."""
    herd = {"source": "herd", "identities": 6, "photos": 8, "size_px": 96}
    names = ("zebra", "leopard", "giraffe")
    study = {
        "name": "soak",
        "data": {
            "datasets": [{**herd, "name": name, "species": name} for name in names],
            "unseen": ["giraffe"],
            "images": {"short_px": 96},
        },
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.1],
            "arcface": {"margins_rad": [0.1, 0.25], "scales": [16.0]},
            "triplet": {"minings": ["semi", "all"], "margins": [0.2]},
        },
        "training": {"weights": "random", "input_px": 64, "epochs": EPOCHS, "batch_size": 16,
                     "checkpoint_every_s": 0.0},
        "baselines": {"matching": [{"name": "SIFT"}]},
        "fusion": [{"parts": ["SIFT", "winner"]}],
        "storage": str(folder / "runs"),
        "reports": str(folder / "reports"),
    }  # fmt: skip
    path = folder / "soak.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


@dataclass
class Disturbed:
    """A study under way, and what was done to it."""

    folder: Path
    rng: np.random.Generator
    kills: Counter[str] = field(default_factory=Counter)
    kept: dict[str, int] = field(default_factory=dict)
    """When the result of each finished method was written, as first seen."""
    again: list[str] = field(default_factory=list)

    def run(self, *, disturb: bool) -> int:
        """Start the command, again after each death; its last exit code."""
        command = [sys.executable, "-m", "reid_ray.tune", str(config(self.folder))]
        while True:
            with (self.folder / "log.txt").open("ab") as log, short_folder() as short:
                environment = os.environ | {"RAY_TMPDIR": short}
                driver = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
                killed = self._follow(driver, disturb)
                code = driver.wait()
                leave(driver.pid, short)
            self._look()
            if code == 0 or not (killed or disturb):
                return code
            disturb = disturb and sum(self.kills.values()) < MOST_KILLS

    def _follow(self, driver: subprocess.Popen[bytes], disturb: bool) -> bool:
        """Kill something every few seconds until the driver has ended; whether it was killed itself."""
        began = time.monotonic()
        while driver.poll() is None:
            time.sleep(float(self.rng.uniform(2, 5)))
            self._look()
            if not disturb or driver.poll() is not None or sum(self.kills.values()) >= MOST_KILLS:
                continue
            if time.monotonic() - began > DRIVER_LIVES_S and self.rng.random() < 0.3:
                self.kills["driver"] += 1
                driver.kill()
                return True
            self._kill_one(driver.pid)
        return False

    def _kill_one(self, driver: int) -> None:
        """A worker of this study's own Ray, and now and then all of that."""
        below = psutil.Process(driver).children(recursive=True)
        named = [(title(process), process) for process in below]
        workers = [
            (name, one) for name, one in named if name.startswith("ray::") and "IDLE" not in name
        ]
        rays = [(name, one) for name, one in named if name == "raylet"]
        among = rays if rays and self.rng.random() < 0.05 else workers
        if among:
            name, victim = among[int(self.rng.integers(len(among)))]
            victim.kill()
            self.kills[name.removeprefix("ray::").split(".")[0].split("(")[0].split(" ")[0]] += 1

    def _look(self) -> None:
        """No result that was there may be gone or written anew."""
        for path in self.methods().glob("*/result.json"):
            folder = MethodFolder(path.parent)
            if folder.done():
                written = path.stat().st_mtime_ns
                if self.kept.setdefault(folder.path.name, written) != written:
                    self.again.append(folder.path.name)
        self.again += [
            key for key in self.kept if not (self.methods() / key / "result.json").exists()
        ]

    def methods(self) -> Path:
        return self.folder / "runs" / "soak" / "methods"


def title(process: psutil.Process) -> str:
    try:
        name = (process.cmdline() or [""])[0]
        return process.name() if process.name() == "raylet" else name
    except psutil.Error:
        return ""


def short_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True)


def leave(driver: int, short: str) -> None:
    """Wait for what the driver's Ray left behind; it goes by itself when its driver is gone."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends and list(ours(short)):
        time.sleep(0.5)
    assert not list(ours(short)), "Ray's processes outlive their driver"


def ours(short: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if any(short in word for word in process.cmdline()):
                yield process
        except psutil.Error:
            continue


def figures(folder: Path) -> dict[str, Any]:
    """Of each method its status and metrics, as the leaderboard shows them."""
    record = StudyFolder(folder / "runs" / "soak").load()
    return {
        m.result.key: (m.result.kind, m.result.status, m.result.metrics) for m in record.methods
    }


def test_a_study_whose_processes_are_killed_until_it_is_done_has_the_undisturbed_figures(
    tmp_path: Path, rng: np.random.Generator, record: Record
) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    calm.mkdir()
    wild.mkdir()
    assert Disturbed(calm, rng).run(disturb=False) == 0
    disturbed = Disturbed(wild, rng)
    code = disturbed.run(disturb=True)
    print(f"seed {os.environ.get('FAULT_SEED', '0')}: {dict(disturbed.kills)}")
    assert code == 0, (wild / "log.txt").read_text()[-3000:]
    assert disturbed.again == []
    expected, found = figures(calm), figures(wild)
    assert set(found) == set(expected)
    for key, (kind, status, metrics) in expected.items():
        assert found[key][:2] == (kind, status)
        # Under DDP sums are rounded as they happen to come.
        tolerance = 0.1 if kind == "confirmation" else 1e-9
        assert found[key][2] == pytest.approx(metrics, abs=tolerance), key
    lines = sum(
        len([line for line in path.read_text().splitlines() if line])
        for path in disturbed.methods().glob("*/history.jsonl")
    )
    trained = sum(
        len(MethodFolder(path.parent).history())
        for path in disturbed.methods().glob("*/history.jsonl")
    )
    store = Store.existing(f"sqlite:///{wild / 'runs' / 'mlflow.db'}", "soak")
    keys = Counter(run.data.tags[KEY] for run in store.runs())
    assert set(keys) == {*expected, "summary-soak"}
    assert set(keys.values()) == {1}
    total = sum(disturbed.kills.values())
    record("SIGKILL of any process of a study, again and again",
           json.dumps(dict(sorted(disturbed.kills.items()))).strip("{}").replace('"', ""),
           tried=total, survived=total, epochs=lines - trained, trials=0, doubled=0)  # fmt: skip
