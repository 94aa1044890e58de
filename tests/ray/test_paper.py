"""The paper in small, end to end: every figure of its slides is in the report, what is not here is told."""

import re
from pathlib import Path

import pandas as pd
import pytest

from reid_ray.config.base import load
from reid_ray.config.named import find
from reid_ray.config.tune import Study
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import run_study
from reid_ray.progress import Display
from reid_ray.runs.study import StudyRecord

pytestmark = pytest.mark.ray

FIGURES = (
    "backbone and loss over all collections",
    "best setting with median and quartiles",
    "seen and unseen domains",
    "comparison of pretrained models and local features",
    "the ablation of one collection",
    "performance of all setting combinations",
    "Triplet is sensitive to its settings",
)
"""Sentences beside the figures that name what they reproduce."""


@pytest.fixture(scope="module")
def reported(running_ray: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecord, Path]:
    folder = tmp_path_factory.mktemp("paper")
    smaller = ["training.epochs=1", "grid.backbones=[test_resnet]"]
    smaller += [f"data.datasets.{place}.{what}=4" for place in range(5) for what in ("identities", "photos")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLLECTIONS", str(folder / "nothing"))
        patch.setenv("WEIGHTS", str(folder / "nothing"))
        places = [f"storage={folder / 'runs'}", f"reports={folder / 'reports'}"]
        study = load(Study, find("tune", "paper_small"), smaller + places)
    outcome = run_study(study, display=Display())
    return outcome.record, outcome.report


def test_every_setting_is_trained_on_each_collection_by_itself(reported: tuple[StudyRecord, Path]) -> None:
    record, _ = reported
    trials = [one.result for one in record.methods if one.result.kind == "trial"]
    scopes = {"zebra_north", "zebra_south", "leopard", "giraffe", "ringed_seal"}
    assert len(trials) == 4 * len(scopes)
    assert {trial.scope for trial in trials} == scopes
    assert {trial.status for trial in trials} == {"finished"}


def test_the_same_queries_are_asked_after_three_trainings(reported: tuple[StudyRecord, Path]) -> None:
    record, _ = reported
    transfers = [one.result for one in record.methods if one.result.kind == "transfer"]
    assert {one.params["variant"] for one in transfers} == {"all", "same_domain", "other_domains"}
    assert {one.status for one in transfers} == {"finished"}


def test_what_is_not_here_is_not_run_and_told(reported: tuple[StudyRecord, Path]) -> None:
    record, report = reported
    missing = {one.result.method: one.result for one in record.methods if one.result.status == "not_run"}
    assert {"SuperPoint", "MegaDescriptor-T-224", "DINOv2-S"} <= set(missing)
    text = report.read_text(encoding="utf-8")
    assert "LionData is not run: no folder" in text


def test_every_figure_of_the_slides_is_in_the_report(reported: tuple[StudyRecord, Path]) -> None:
    _, report = reported
    text = report.read_text(encoding="utf-8")
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert {"Which settings matter", "Over collections"} <= set(titles)
    for sentence in FIGURES:
        assert sentence in text
    table = pd.read_csv(report.with_name("sensitivity.csv"))
    assert table["family"].tolist() == ["ArcFace", "Triplet"]
