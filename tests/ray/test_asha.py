"""Tune stops weak trials, inline and nested; what was stopped is a result, and the next one starts."""

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from small_study import run, study_of, times

from reid_ray.config.tune import Study
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import Outcome
from reid_ray.runs.methods import Result
from reid_ray.runs.study import StudyFolder

pytestmark = pytest.mark.ray

EPOCHS = 12
BEST = 0.05


def raced(folder: Path, *lrs: float, **changes: Any) -> Study:
    """The trial at learning rate `BEST` and others; one that is worse after two epochs is stopped."""
    grid = {
        "backbones": ["test_resnet"],
        "lrs": [BEST, *lrs],
        "arcface": {"margins_rad": [0.25], "scales": [16.0]},
        "triplet": None,
    }
    synthetic = {"source": "synthetic", "name": "zebra", "species": "zebra", "identities": 4, "photos": 8}
    settings = {
        "name": "raced",
        "data": {"datasets": [{**synthetic, "size_px": 64}], "images": {"short_px": 64}},
        "grid": grid,
        "training": {"weights": "random", "input_px": 64, "epochs": EPOCHS, "batch_size": 16},
        "search": "asha",
        "asha": {"grace_epochs": 2, "reduction": 2.0},
        "baselines": {"matching": [], "random_init": False},
        "fusion": [],
        "scaling": {"confirmation_workers": 0, "max_concurrent": 1},
    }
    return study_of(folder, **settings | changes)


def of_lr(outcome: Outcome, lr: float) -> Result:
    return next(m.result for m in outcome.record.methods if m.result.params.get("lr") == lr)


@pytest.fixture(scope="module")
def folder(running_ray: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose best trial is done, and was right on every validation photo from the start.

    Its history is made up, so that whoever runs after it must be stopped at the first look.
    """
    folder = tmp_path_factory.mktemp("raced")
    first = run(raced(folder))[0]
    method = StudyFolder(folder / "runs" / "raced").method(of_lr(first, BEST).key)
    for row in method.history():
        method.append_history({**row, "val/top1": 1.01})
    return folder


def test_a_stopped_trial_is_told_everywhere_and_not_repeated(folder: Path) -> None:
    outcome, told = run(raced(folder, 0.0001))
    assert "1 of 2 trials have a result already" in told
    stopped = of_lr(outcome, 0.0001)
    assert (stopped.status, stopped.stopped_at, set(stopped.metrics)) == ("stopped", 2, {"val/top1"})
    assert outcome.record.study["selected_trial"] == of_lr(outcome, BEST).key
    text = "stopped early by ASHA after 2 of 12 epochs"
    assert text in outcome.report.read_text()
    assert text in outcome.report.with_name("leaderboard.csv").read_text()
    assert tag(outcome, stopped.key) == "2"
    ledger = StudyFolder(folder / "runs" / "raced").method(stopped.key)
    before = times(ledger)
    run(raced(folder, 0.0001))
    assert times(ledger) == before


def test_the_whole_grid_trains_what_was_stopped_to_its_end(folder: Path) -> None:
    run(raced(folder, 0.0002))
    outcome, _ = run(raced(folder, 0.0002, search="grid"))
    ended = of_lr(outcome, 0.0002)
    assert (ended.status, ended.stopped_at) == ("finished", None)
    assert "seen/top1" in ended.metrics
    history = next(m.history for m in outcome.record.methods if m.result.key == ended.key)
    assert [row["epoch"] for row in history] == list(range(1, EPOCHS + 1))
    assert tag(outcome, ended.key) == ""


def test_a_nested_trial_that_is_stopped_frees_its_workers_for_the_next(folder: Path) -> None:
    # A worker takes both CPUs, so a placement group that is not freed would hold the next up for ever.
    scaling = {"workers": 1, "cpus_per_worker": 2, "confirmation_workers": 0}
    outcome, _ = run(raced(folder, 0.0003, 0.0004, scaling=scaling))
    for lr in (0.0003, 0.0004):
        result = of_lr(outcome, lr)
        assert (result.status, result.stopped_at) == ("stopped", 2)


def tag(outcome: Outcome, key: str) -> str:
    client = MlflowClient(tracking_uri=outcome.tracking_uri)
    experiment = client.get_experiment_by_name("raced")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`reid_ray.trial` = '{key}'")
    return str(found.data.tags.get("reid_ray.stopped_at_epoch", ""))
