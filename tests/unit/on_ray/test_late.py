"""What builds on other methods is planned with them, and says so where one is lacking."""

from pathlib import Path
from typing import Any

import pandas as pd
from reid_ray.on_ray.late import Late, LatePlan, plan_late

from reid_ray.config.tune import Study
from reid_ray.progress import Display
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.planning import MatchPlan, StudyPlan
from reid_ray.studies.trial import Plan

ROWS = pd.DataFrame({"dataset": ["mine"]})


def study(**changes: Any) -> Study:
    raw: dict[str, Any] = {
        "name": "s",
        "data": {"datasets": [{"source": "folder", "name": "mine", "root": "/photos"}]},
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.1],
            "triplet": None,
            "arcface": {"margins_rad": [0.2], "scales": [8.0]},
        },
        "baselines": {
            "matching": [
                {"name": "SIFT"},
                {"name": "few", "shortlist": {"by": "winner"}},
                {"name": "vlad-few", "shortlist": {"by": "vlad"}},
            ]
        },
        "fusion": [{"parts": ["SIFT", "winner"]}],
    }
    return Study.parse(raw | changes, where="test")


def planned(folder: StudyFolder, given: Study, key: str = "") -> list[LatePlan]:
    """Late plans, where the trial named `key` has finished and won; without one, none has."""
    sift = MatchPlan("early", given.baselines.matching[0])
    trials = []
    if key:
        trial = Plan(key, "trial", given.trials()[0], ("mine",), "random", "", 5)
        folder.method(key).finish(trial.empty_result())
        trials = [trial]
    plan = StudyPlan("digest", "chance", [], [sift], trials)
    return plan_late(given, plan, trials[0] if trials else None, ROWS, folder)


def test_methods_behind_a_shortlist_come_first_then_fusions(tmp_path: Path) -> None:
    plans = planned(StudyFolder(tmp_path), study(), "a" * 16)
    assert [plan.config.name for plan in plans] == ["few", "vlad-few", "fused"]
    assert [plan.family for plan in plans] == ["local features", "local features", "fusion"]
    assert [sorted(plan.sources) for plan in plans] == [["winner"], [], ["winner"]]
    encoding = plans[0].sources["winner"].encodings[0]
    assert encoding.checkpoint.endswith("a" * 16 + "/checkpoint")
    assert plans[0].sources["winner"].trained


def test_another_winner_or_part_is_another_method_and_nothing_else_is(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    one, again, other = (planned(folder, study(), key * 16) for key in "aab")
    changed = study(baselines={"matching": [{"name": "SIFT", "mutual": True}, *_listed(study())[1:]]})
    parts = planned(folder, changed, "a" * 16)
    keys = [[plan.key for plan in plans] for plans in (one, again, other, parts)]
    assert keys[0] == keys[1]
    assert [a == b for a, b in zip(keys[0], keys[2], strict=True)] == [False, True, False]
    assert [a == b for a, b in zip(keys[0], keys[3], strict=True)] == [True, True, False]


def _listed(given: Study) -> list[dict[str, Any]]:
    return [config.model_dump(mode="json") for config in given.baselines.matching]


def test_without_a_winner_what_needs_it_fails_with_a_reason(tmp_path: Path) -> None:
    folder, given = StudyFolder(tmp_path), study()
    plans = [plan for plan in planned(folder, given) if plan.lacking]
    assert [(plan.config.name, plan.lacking) for plan in plans] == [("few", "winner"), ("fused", "winner")]
    late = Late(given, folder, None, ROWS, Display(), 1, 0.0, {"SIFT": "early"})
    ended: list[str] = []
    late.run(plans, ended.append)
    assert ended == [plan.key for plan in plans]
    result = folder.method(plans[1].key).result()
    assert (result.status, result.note) == ("not_run", "it builds on winner, which there is not")
