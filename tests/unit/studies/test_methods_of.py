"""Methods that build on others come after them, and are made of the very same ones."""

from pathlib import Path

import pandas as pd

from reid_ray.config.match import MatchRun
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.shortlist import Shortlisted
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.methods_of import plan_dependent
from reid_ray.studies.planning import plan_study

RUN = {
    "name": "m",
    "data": {"datasets": [{"source": "folder", "name": "d", "root": "photos"}]},
    "methods": [
        {"name": "last", "shortlist": {"by": "again"}},
        {"name": "again", "shortlist": {"by": "joined", "size": 20}},
        {"name": "SIFT"},
        {"name": "votes", "score": "lnbnn"},
        {"name": "few", "shortlist": {"by": "votes"}},
    ],
    "fusion": [{"name": "joined", "parts": ["SIFT", "votes"], "shortlist": {"by": "few", "size": 30}}],
}


def rows() -> pd.DataFrame:
    texts = {name: [f"{name}{n}" for n in range(4)] for name in ("key", "image_id", "content")}
    table = pd.DataFrame({**texts, "identity": list("aabb"), "split": ["reference"] * 3 + ["query"]})
    return table.assign(dataset="d", group="d", domain="seen", validation=False)


def test_each_comes_after_all_it_builds_on(tmp_path: Path) -> None:
    study = MatchRun.parse(RUN, where="test").study()
    stages = plan_study(study, rows())
    folder = StudyFolder(tmp_path)
    plans = {one.config.name: one for one in plan_dependent(study, stages, None, folder)}
    assert list(plans) == ["few", "joined", "again", "last"]
    last = plans["last"].method
    assert isinstance(last, Shortlisted)
    assert isinstance(last.near, Shortlisted)
    assert last.near_folder == folder.method(plans["again"].key).path
    joined = last.near.near
    assert isinstance(joined, Fusing)
    assert [part.name for part in joined.parts] == ["SIFT", "votes"]
    assert joined.part_folders == tuple(folder.method(one.key).path for one in stages.matchers)
    assert isinstance(joined.near, Shortlisted)
    assert isinstance(joined.near.near, LocalFeatures)
    assert joined.near.near.name == "votes"
    assert joined.near_folder == folder.method(plans["few"].key).path


def test_work_is_new_where_anything_that_it_builds_on_is_another(tmp_path: Path) -> None:
    changed = {
        **RUN,
        "methods": [*RUN["methods"][:3], {"name": "votes", "score": "lnbnn", "neighbours": [3]}],
    }
    changed["methods"] += RUN["methods"][4:]  # type: ignore[operator]
    keys = []
    for raw in (RUN, changed):
        study = MatchRun.parse(raw, where="test").study()
        plans = plan_dependent(study, plan_study(study, rows()), None, StudyFolder(tmp_path))
        keys.append({one.config.name: one.key for one in plans})
    assert all(keys[0][name] != keys[1][name] for name in keys[0])
