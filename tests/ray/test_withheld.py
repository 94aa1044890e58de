"""Each dataset by itself, then with species withheld: from photos to report, on a real Ray."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from small_study import run, study_of, times

from reid_ray.config.tune import Study
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import Outcome
from reid_ray.runs.study import MethodRecord, StudyFolder

pytestmark = pytest.mark.ray

GROUPS = {"north": "equid", "south": "equid", "giraffe": "ruminant"}


def small(folder: Path) -> Study:
    synthetic = {"source": "synthetic", "identities": 4, "photos": 6, "size_px": 64}
    datasets = [
        {
            **synthetic,
            "name": name,
            "group": group,
            "seed": seed,
            "species": "giraffe" if name == "giraffe" else "zebra",
        }
        for seed, (name, group) in enumerate(GROUPS.items())
    ]
    return study_of(
        folder,
        name="withheld",
        scope="per_dataset",
        data={"datasets": datasets, "images": {"short_px": 64}},
        grid={
            "backbones": ["test_resnet"],
            "lrs": [0.05],
            "arcface": {"margins_rad": [0.25], "scales": [16.0]},
            "triplet": None,
        },
        transfer={"evaluate": ["north"]},
        baselines={"matching": [], "random_init": True},
        fusion=[],
        scaling={"confirmation_workers": 0},
    )


@pytest.fixture(scope="module")
def outcome(running_ray: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("withheld")
    return folder, run(small(folder))[0]


def trained(outcome: Outcome, kind: str) -> list[MethodRecord]:
    return [method for method in outcome.record.methods if method.result.kind == kind]


def test_per_dataset_trains_one_model_each_and_sums_them_up(outcome: tuple[Path, Outcome]) -> None:
    found = trained(outcome[1], "trial")
    assert [method.result.scope for method in found] == ["north", "south", "giraffe"]
    for method in found:
        assert method.result.status == "finished"
        assert method.predictions is not None
        assert set(method.predictions["dataset"]) == {method.result.scope}
    medians = pd.read_csv(outcome[1].report.with_name("per_setting.csv"))
    top1 = pd.Series([method.result.metrics["seen/top1"] for method in found])
    row = medians[medians["family"] == "ArcFace"].iloc[0]
    assert row["datasets"] == 3
    assert row["median"] == pytest.approx(top1.median(), abs=1e-5)


def test_three_trainings_answer_the_same_queries(outcome: tuple[Path, Outcome]) -> None:
    found = {method.result.params["variant"]: method for method in trained(outcome[1], "transfer")}
    assert list(found) == ["all", "same_domain", "other_domains"]
    rows = outcome[1].record.rows
    asked = rows.loc[(rows["dataset"] == "north") & (rows["split"] == "query"), "key"]
    for method in found.values():
        assert method.predictions is not None
        assert list(method.predictions["query"]) == list(asked)
        assert len(method.history) == 2
    weights = [method.history[-1]["loss"] for method in found.values()]
    assert len(set(weights)) == 3


def test_mlflow_and_the_report_tell_the_trainings_apart(outcome: tuple[Path, Outcome]) -> None:
    client = MlflowClient(tracking_uri=outcome[1].tracking_uri)
    experiment = client.get_experiment_by_name("withheld")
    runs = client.search_runs([experiment.experiment_id], "tags.`reid_ray.kind` = 'transfer'")
    tags = {run.data.tags["reid_ray.variant"]: run.data.tags["reid_ray.trained_on"] for run in runs}
    assert tags == {"all": "north+south+giraffe", "same_domain": "south+giraffe", "other_domains": "giraffe"}
    assert all("test/north/top1" in run.data.metrics for run in runs)
    page = outcome[1].report.read_text()
    assert 'id="withheld"' in page
    table = pd.read_csv(outcome[1].report.with_name("transfer.csv"))
    assert table["variant"].dropna().tolist() == ["all", "same_domain", "other_domains"]


def test_a_second_start_trains_none_of_them_again(outcome: tuple[Path, Outcome]) -> None:
    folder, first = outcome
    ledger = StudyFolder(folder / "runs" / "withheld")
    keys = first.record.study["methods"]
    before = {key: times(ledger.method(key)) for key in keys}
    _, told = run(small(folder))
    assert {key: times(ledger.method(key)) for key in keys} == before
    assert "3 of 3 trials have a result already" in told
