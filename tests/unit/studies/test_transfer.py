"""Which trainings a transfer study has, and which of them the grid has done already."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError
from reid_ray.on_ray.training.asha import write_stopped
from reid_ray.runs.study import StudyFolder
from reid_ray.splits.learnable import trained_on
from reid_ray.studies.planning import StudyPlan, plan_study
from reid_ray.studies.transfer import adopt, plan_transfer, refuse_empty
from reid_ray.studies.trial import Plan

SYNTHETIC = {"north": "equid", "south": "equid", "giraffe": "ruminant"}


def study_of(scope: str = "joint", **transfer: Any) -> Study:
    datasets = [
        {"source": "synthetic", "name": name, "species": "zebra", "group": group}
        for name, group in SYNTHETIC.items()
    ]
    raw = {
        "name": "s",
        "data": {"datasets": datasets},
        "scope": scope,
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.1, 0.2],
            "arcface": {"margins_rad": [0.2], "scales": [8.0]},
            "triplet": None,
        },
        "training": {"weights": "random"},
        "baselines": {"matching": [], "random_init": False},
        "transfer": {"evaluate": ["north"], **transfer},
    }
    return Study.parse(raw, where="test")


def photos() -> pd.DataFrame:
    """Of each dataset two references and a query."""
    rows = [
        {
            "key": f"{name}/{photo}",
            "identity": f"a{photo % 2}",
            "dataset": name,
            "group": group,
            "domain": "seen",
            "split": "reference" if photo < 2 else "query",
            "validation": False,
            "content": f"{name}{photo}",
        }
        for name, group in SYNTHETIC.items()
        for photo in range(3)
    ]
    return pd.DataFrame(rows)


def planned(study: Study, rows: pd.DataFrame) -> tuple[StudyPlan, list[Plan]]:
    stages = plan_study(study, rows)
    return stages, plan_transfer(study, rows, stages, stages.trials[0])


def test_the_winner_is_trained_once_per_variant_on_what_is_left() -> None:
    _, plans = planned(study_of(), photos())
    assert [(plan.variant, plan.trained_on, plan.datasets) for plan in plans] == [
        ("all", ("north", "south", "giraffe"), ("north",)),
        ("same_domain", ("south", "giraffe"), ("north",)),
        ("other_domains", ("giraffe",), ("north",)),
    ]
    for plan in plans:
        trained = plan.within(photos())
        assert set(trained.loc[trained_on(trained), "dataset"]) == set(plan.trained_on)
        assert list(trained.loc[trained["split"] == "query", "key"]) == ["north/2"]


def test_every_training_has_a_key_of_its_own_that_the_photos_decide() -> None:
    _, plans = planned(study_of(settings=["selected_trial", "paper", "grid"]), photos())
    keys = [plan.key for plan in plans]
    assert len(set(keys)) == len(plans) == 3 * 3  # the selected trial is one of the grid's two
    assert keys == [
        p.key for p in planned(study_of(settings=["selected_trial", "paper", "grid"]), photos())[1]
    ]
    moved = photos().replace({"group": {"ruminant": "equid"}})
    moved.loc[moved["dataset"] == "south", "group"] = "other"
    again = [plan.key for plan in planned(study_of(), moved)[1]]
    before = [plan.key for plan in planned(study_of(), photos())[1]]
    assert [a == b for a, b in zip(again, before, strict=True)] == [True, True, False]


def test_the_papers_setting_is_put_on_the_winners_backbone() -> None:
    _, plans = planned(study_of(settings=["paper"]), photos())
    assert {plan.trial.label for plan in plans} == {"test_resnet ArcFace m=0.5 s=64 lr=0.001"}


def test_a_joint_trial_is_taken_for_all_and_for_nothing_else(tmp_path: Path) -> None:
    folder, answers = (
        StudyFolder(tmp_path),
        pd.DataFrame(
            {
                "query": ["north/2", "south/2"],
                "dataset": ["north", "south"],
                "domain": "seen",
                "identity": "a0",
                "correct": [True, False],
                "first_correct": 1,
                "average_precision": 1.0,
            }
        ),
    )
    stages, plans = planned(study_of(), photos())
    trial = stages.trials[0]
    folder.method(trial.key).append_history({"epoch": 1, "loss": 2.0})
    result = trial.empty_result().but(metrics={"val/top1": 0.25, "seen/top1": 0.5}, seconds=7.0)
    folder.method(trial.key).finish(result, answers)
    for plan in plans:
        adopt(folder, plan, stages.trials, search="grid")
    done = [folder.method(plan.key) for plan in plans]
    assert [method.finished() for method in done] == [True, False, False]
    taken = done[0].result()
    assert (taken.kind, taken.scope, taken.params["variant"]) == ("transfer", "north", "all")
    assert (taken.metrics["test/north/top1"], taken.metrics["val/top1"]) == (1.0, 0.25)
    assert "test/south/top1" not in taken.metrics
    predictions = done[0].predictions()
    assert predictions is not None
    assert list(predictions["query"]) == ["north/2"]
    assert done[0].history() == [{"epoch": 1, "loss": 2.0}]


def test_a_model_of_one_dataset_is_not_taken_for_one_of_all(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    stages, plans = planned(study_of("per_dataset"), photos())
    for trial in stages.trials:
        folder.method(trial.key).finish(trial.empty_result())
    adopt(folder, plans[0], stages.trials, search="grid")
    assert not folder.method(plans[0].key).finished()


def test_a_trial_that_asha_stopped_is_trained_to_its_end_for_the_comparison(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    stages, plans = planned(study_of(), photos())
    write_stopped(stages.trials[0], folder.method(stages.trials[0].key), epoch=3, top1=0.2)
    adopt(folder, plans[0], stages.trials, search="grid")
    assert not folder.method(plans[0].key).finished()
    adopt(folder, plans[0], stages.trials, search="asha")
    assert folder.method(plans[0].key).result().status == "stopped"


def test_groups_that_only_the_table_knows_are_checked_too() -> None:
    refuse_empty(study_of(), photos())
    with pytest.raises(ConfigError, match="other_domains: every seen dataset"):
        refuse_empty(study_of(), photos().assign(group="cattle"))
