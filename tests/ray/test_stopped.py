"""Ctrl-C and SIGTERM end a study in every phase: one sentence, nothing published; the next start goes on."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient
from rich.console import Console
from small_study import study_of

from reid_ray.config.tune import Study
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import run_study
from reid_ray.progress import Display, Phase
from reid_ray.reporting.mlflow_store import KIND, STUDY, Store
from reid_ray.runs.study import StudyFolder

pytestmark = pytest.mark.ray

EPOCHS = 30
PATIENCE_S = 240.0


@dataclass
class Started:
    """`python -m reid_ray.tune` in a process group of its own, as a terminal starts it."""

    process: subprocess.Popen[str]
    out: Path

    def wait_for(self, seen: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not seen():
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() < until, self.out.read_text()
            time.sleep(0.05)

    def ended(self) -> tuple[int, str]:
        """Exit code, and what was told as an error."""
        _, told = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, told


def started(study: Study, folder: Path) -> Started:
    config, out = folder / "study.yaml", folder / "out.txt"
    config.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with out.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "reid_ray.tune", str(config)],
            cwd=folder,
            env=environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    return Started(process, out)


def long_study(folder: Path) -> Study:
    training = {"weights": "random", "input_px": 64, "epochs": EPOCHS, "batch_size": 16}
    return study_of(
        folder,
        grid={
            "backbones": ["test_resnet"],
            "lrs": [0.05],
            "arcface": {"margins_rad": [0.25], "scales": [16.0]},
            "triplet": None,
        },
        training=training | {"checkpoint_every_s": 0.0},
        baselines={"matching": [], "random_init": False},
        fusion=[],
    )


def epochs_of(folder: Path) -> list[int]:
    """Of each training that has begun."""
    histories = (folder / "runs" / "small" / "methods").glob("*/history.jsonl")
    return sorted(len(path.read_text().splitlines()) for path in histories)


def statuses(folder: Path) -> dict[str, list[str]]:
    """Of the runs in MLflow, by kind."""
    store = Store.existing(f"sqlite:///{folder}/runs/mlflow.db", "small")
    client: MlflowClient = store.client
    found: dict[str, list[str]] = {}
    for run in client.search_runs([store.experiment_id], f"tags.`{STUDY}` = 'small'"):
        found.setdefault(run.data.tags[KIND], []).append(run.info.status)
    return found


def training(folder: Path) -> bool:
    """The first training has done two epochs."""
    return max(epochs_of(folder), default=0) >= 2


def confirming(folder: Path) -> bool:
    """The second training, under DDP, has done two epochs."""
    return len(epochs_of(folder)) == 2 and min(epochs_of(folder)) >= 2


SENTENCE = r"stopped; what is finished is kept, the same command goes on from here\n"
TERMINATED = r"stopped by SIGTERM; what is finished is kept, the same command goes on from here\n"


CTRL_C, SIGTERM = (signal.SIGINT, 130, SENTENCE), (signal.SIGTERM, 143, TERMINATED)


@pytest.mark.parametrize(
    ("phase", "sign", "code", "words"),
    [
        pytest.param(training, *CTRL_C, id="training-ctrl-c"),
        pytest.param(confirming, *SIGTERM, id="confirming-sigterm"),
    ],
)
def test_a_signal_ends_a_study_with_one_sentence_and_publishes_nothing(
    phase: Callable[[Path], bool], sign: int, code: int, words: str, tmp_path: Path
) -> None:
    study = long_study(tmp_path)
    run = started(study, tmp_path)
    run.wait_for(lambda: phase(tmp_path))
    # Ctrl-C reaches the whole group, a scheduler's SIGTERM the process that it started.
    (os.killpg if sign == signal.SIGINT else os.kill)(run.process.pid, sign)
    ended, told = run.ended()
    assert (ended, bool(re.fullmatch(words, told))) == (code, True), told
    assert not (tmp_path / "reports").exists()
    assert "failed" not in run.out.read_text()
    assert "FAILED" not in str(statuses(tmp_path))
    assert set(statuses(tmp_path).get("summary", [])) <= {"KILLED"}
    if phase is training:
        before = max(epochs_of(tmp_path))
        again = started(study, tmp_path)
        ended, told = again.ended()
        assert (ended, told) == (0, ""), told
        assert before < EPOCHS
        # An epoch that had no checkpoint yet is done again, and no other.
        assert max(epochs_of(tmp_path)) <= EPOCHS + 1
        assert statuses(tmp_path)["summary"] == ["FINISHED"]
        assert set(statuses(tmp_path)["trial"]) == {"FINISHED"}


PHASES = ["photos", "networks without", "SIFT", "trials", "SIFT-few", "fused", "under DDP"]


class Pressing(Phase):
    """Somebody presses Ctrl-C at its first step."""

    def at(self, done: int, detail: str = "") -> None:
        signal.raise_signal(signal.SIGINT)


class Impatient(Display):
    """Of the phase that is named so, nobody waits for the end."""

    def __init__(self, name: str) -> None:
        super().__init__(Console(file=io.StringIO(), width=200))
        self.name, self.met = name, False

    @contextmanager
    def phase(self, name: str, total: int, unit: str) -> Iterator[Phase]:
        if not name.endswith(self.name) and not name.startswith(self.name):
            with super().phase(name, total, unit) as phase:
                yield phase
            return
        self.met = True
        timer = threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT))
        if "DDP" in name:  # which tells of no step
            timer.start()
        try:
            yield Pressing(name, total, unit, self.console)
            signal.raise_signal(signal.SIGINT)  # it told of no step
        finally:
            timer.cancel()


def stopped_study(folder: Path) -> Study:
    return study_of(folder, scaling={"confirmation_workers": 2})


def test_a_study_that_is_stopped_in_each_phase_publishes_nothing_and_ends_whole(
    running_ray: Cluster, tmp_path: Path
) -> None:
    study = stopped_study(tmp_path)
    folder = StudyFolder(tmp_path / "runs" / "small")
    for name in PHASES:
        display = Impatient(name)
        try:
            run_study(study, display=display)
        except KeyboardInterrupt:
            assert display.met
        else:
            pytest.fail(f"{name} was not stopped")
        assert not (tmp_path / "reports").exists(), name
        assert not folder.selected_path.exists()
        assert not list((tmp_path / "runs").rglob("error.txt"))
        if folder.study_path.exists():
            statuses = {one.result.status for one in folder.load().methods}
            assert statuses <= {"finished"}, (name, statuses)
            client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
            (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
            runs = client.search_runs([experiment.experiment_id])
            assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
            assert "KILLED" in {run.info.status for run in runs}
    record = run_study(study, display=Display(Console(file=io.StringIO()))).record
    assert {one.result.status for one in record.methods} == {"finished"}
    assert (tmp_path / "reports" / "small" / "index.html").exists()
