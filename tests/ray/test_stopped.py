"""A study that is stopped in any phase publishes nothing, ends in order and goes on from there."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from rich.console import Console
from small_study import study_of

from reid_ray.config.tune import Study
from reid_ray.interrupts import listen
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import run_study
from reid_ray.progress import Display, Phase
from reid_ray.runs.study import StudyFolder

pytestmark = pytest.mark.ray

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
    listen()
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_while_it_trains_ends_with_one_sentence(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    raw = stopped_study(tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["training"]["epochs"] = 500
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(raw))
    words = [sys.executable, "-m", "reid_ray.tune", str(tmp_path / "long.yaml")]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        histories = tmp_path / "runs" / "small" / "methods"
        ends = time.monotonic() + 240
        while not list(histories.glob("*/history.jsonl")) and process.poll() is None:
            assert time.monotonic() < ends, (tmp_path / "said.txt").read_text()
            time.sleep(0.2)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        assert process.wait(timeout=90) == code
    lines = (tmp_path / "said.txt").read_text().splitlines()
    assert lines[-1] == "stopped; what is finished is kept, the same command goes on from here"
    assert not [line for line in lines if "SIGTERM received" in line or line.startswith(("Traceback", "***"))]
    assert not (tmp_path / "reports").exists()
