"""Weak trials are stopped by validation photos, among their like, and leave a result."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reid_ray.config.training import ArcFace, Trial
from reid_ray.config.tune import Asha
from reid_ray.methods.selection import select
from reid_ray.on_ray.training.asha import Halving, start_halving, write_stopped
from reid_ray.runs.methods import MethodFolder
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.planning import left_to_do
from reid_ray.studies.trial import Plan

TRIAL = Trial(backbone="b", loss=ArcFace(name="arcface", margin_rad=0.2, scale=8), lr=0.1, epochs=9)
ASHA = Asha(grace_epochs=2, reduction=2.0)


def plan(key: str, dataset: str = "zebra", lr: float = 0.1) -> Plan:
    trial = TRIAL.model_copy(update={"lr": lr})
    return Plan(key, "trial", trial, (dataset,), "random", "random weights", 5)


def tell(halving: Halving, key: str, epoch: int, top1: float | None = None) -> str:
    row: dict[str, Any] = {"epoch": float(epoch)}
    if top1 is not None:
        row["val/top1"] = top1
    return halving.on_trial_result(None, SimpleNamespace(config={"key": key}), row)


def started(*plans: Plan) -> Halving:
    halving = Halving(plans, ASHA)
    for one in plans:
        halving.on_trial_add(None, SimpleNamespace(config={"key": one.key}))
    return halving


def test_the_weaker_of_two_is_stopped_after_its_grace() -> None:
    halving = started(plan("a"), plan("b"))
    assert tell(halving, "a", 1, 0.9) == tell(halving, "b", 1, 0.1) == "CONTINUE"
    assert tell(halving, "a", 2, 0.8) == "CONTINUE"
    assert tell(halving, "b", 2, 0.7) == "STOP"
    assert halving.stopped == {"b": (2, 0.7)}


def test_an_epoch_without_validation_stops_nobody() -> None:
    halving = started(plan("a"), plan("b"))
    tell(halving, "a", 2, 0.8)
    assert tell(halving, "b", 2) == tell(halving, "b", 3) == "CONTINUE"
    assert tell(halving, "b", 4, 0.7) == "CONTINUE"  # nobody else came as far as epoch 4
    assert tell(halving, "a", 4, 0.9) == "CONTINUE"


def test_trials_on_different_collections_do_not_race() -> None:
    halving = started(plan("a"), plan("b", "giraffe"), replace(plan("c"), variant="same_domain"))
    tell(halving, "a", 2, 0.9)
    assert tell(halving, "b", 2, 0.1) == tell(halving, "c", 2, 0.1) == "CONTINUE"


def test_a_trial_that_is_through_is_left_to_answer_the_queries() -> None:
    halving = started(plan("a"), plan("b"))
    tell(halving, "a", 8, 0.9)
    assert tell(halving, "b", 9, 0.0) == "CONTINUE"
    assert not halving.stopped


def test_what_earlier_starts_reached_still_counts(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    for epoch, top1 in ((1, 0.2), (2, 0.8), (3, 0.9)):
        study.method("a").append_history({"epoch": epoch, "val/top1": top1})
    halving = start_halving([plan("a"), plan("b")], ASHA, study)
    halving.on_trial_add(None, SimpleNamespace(config={"key": "b"}))
    assert tell(halving, "b", 2, 0.7) == "STOP"


def test_a_resumed_trial_is_not_judged_twice_at_one_rung(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    study.method("a").append_history({"epoch": 2, "val/top1": 0.8})
    study.method("b").append_history({"epoch": 2, "val/top1": 0.9})
    halving = start_halving([plan("a"), plan("b")], ASHA, study)
    halving.on_trial_add(None, SimpleNamespace(config={"key": "a"}))
    assert tell(halving, "a", 2, 0.1) == tell(halving, "a", 3, 0.1) == "CONTINUE"


def finished(folder: MethodFolder, one: Plan, top1: float) -> None:
    folder.finish(one.empty_result().but(metrics={"val/top1": top1, "seen/top1": 1.0}))


def test_a_stopped_trial_is_done_says_when_and_cannot_win(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    weak, strong = plan("a", lr=0.1), plan("b", lr=0.2)
    for epoch in (1, 2, 3):
        study.method("b").append_history({"epoch": epoch, "seconds": 2.0})
    finished(study.method("a"), weak, 0.1)
    write_stopped(strong, study.method("b"), epoch=2, top1=0.9)
    result = study.method("b").result()
    assert (result.status, result.stopped_at, result.seconds) == ("stopped", 2, 4.0)
    assert result.note == "stopped early by ASHA after 2 of 9 epochs, validation top-1 90.0 %"
    assert set(result.metrics) == {"val/top1"}
    results = [study.method(one.key).result() for one in (weak, strong)]
    assert select(results) == results[0]


@pytest.mark.parametrize(("search", "expected"), [("asha", False), ("grid", True)])
def test_the_whole_grid_also_wants_what_was_stopped(search: Any, expected: bool, tmp_path: Path) -> None:
    folder = MethodFolder(tmp_path / "a")
    assert left_to_do(folder, search=search)
    write_stopped(plan("a"), folder, epoch=2, top1=0.5)
    assert left_to_do(folder, search=search) is expected
    finished(folder, plan("a"), 0.5)
    assert not left_to_do(folder, search=search)


def test_a_setting_that_finished_on_easy_datasets_alone_does_not_win(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    plans = [plan("a1", lr=0.1), plan("a2", "hard", lr=0.1), plan("b1", lr=0.2)]
    for one, top1 in zip(plans, (0.6, 0.2, 0.9), strict=True):
        finished(study.method(one.key), one, top1)
    stopped = plan("b2", "hard", lr=0.2)
    write_stopped(stopped, study.method("b2"), epoch=2, top1=0.1)
    results = [study.method(one.key).result() for one in [*plans, stopped]]
    assert select(results, per_collection=True) == results[0]
