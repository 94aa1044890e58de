"""A small study, from photos to report, on a real Ray with real trials, DDP and MLflow."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
from mlflow.tracking import MlflowClient
from small_study import Done, run, study_of, times

from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.store import PreparedStore
from reid_ray.errors import StorageError
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.photos import prepare_images
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.trial import training_set

pytestmark = pytest.mark.ray


def test_every_method_has_a_figure_for_both_domains(done: Done) -> None:
    methods = {m.result.method: m.result for m in done.outcome.record.methods}
    assert set(methods) == {
        "chance",
        "SIFT",
        "SIFT-few",
        "fused",
        "test_resnet untrained",
        "test_resnet ArcFace m=0.25 s=16 lr=0.05",
        "test_resnet Triplet all m=0.2 lr=0.05",
    }
    for result in methods.values():
        assert result.status == "finished"
        assert 0 <= result.metrics["seen/top1"] <= 1
        assert 0 <= result.metrics["unseen/top1"] <= 1


def test_no_photo_of_the_unseen_domain_was_trained_or_validated_on(done: Done) -> None:
    rows = done.outcome.record.rows
    giraffes = rows[rows["dataset"] == "giraffe"]
    assert set(giraffes["domain"]) == {"unseen"}
    assert not giraffes["validation"].any()
    nothing = PreparedImages.pack(np.zeros((2, 2, 3), np.uint8) for _ in range(len(rows)))
    trained = rows.iloc[training_set(rows, nothing).positions]
    assert set(trained["dataset"]) == {"zebra"}
    assert set(trained["split"]) == {"reference"}
    assert not trained["validation"].any()


def test_what_builds_on_the_winner_answers_with_it(done: Done) -> None:
    methods = {m.result.method: m for m in done.outcome.record.methods}
    fused = methods["fused"]
    assert fused.result.family == "fusion"
    assert fused.result.params["parts"] == "SIFT + selected_trial"
    assert fused.predictions is not None
    assert all(0 < scores[0] < 1 for scores in fused.predictions["top_scores"])
    few = methods["SIFT-few"]
    record = done.outcome.record
    selected_trial = next(m for m in record.methods if m.result.key == record.study["selected_trial"])
    assert few.predictions is not None
    assert selected_trial.predictions is not None
    # With three candidates, the fourth is the selected trial's own fourth.
    pairs = zip(few.predictions["top_keys"], selected_trial.predictions["top_keys"], strict=True)
    for ours, theirs in pairs:
        assert set(ours[:3]) == set(theirs[:3])
        assert list(ours[3:]) == list(theirs[3:])
    page = done.outcome.report.read_text()
    assert 'id="fusion"' in page
    assert 'id="shortlists"' in page


def test_two_ddp_workers_train_the_winner_to_the_same_numbers(done: Done) -> None:
    record = done.outcome.record
    confirmation = next(m for m in record.methods if m.result.kind == "confirmation")
    selected_trial = next(m for m in record.methods if m.result.key == record.study["selected_trial"])
    assert confirmation.result.metrics["seen/top1"] == selected_trial.result.metrics["seen/top1"]
    losses = [[row["loss"] for row in method.history] for method in (confirmation, selected_trial)]
    # Rounding differs with the order of sums, and mining turns rounding into another triplet now and
    # then; a wrong gradient is wrong by much more than a hundredth.
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_mlflow_has_one_run_per_method_and_a_summary(done: Done, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=done.outcome.tracking_uri)
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id])
    by_key = {run.data.tags["reid_ray.trial"]: run for run in runs}
    assert len(by_key) == len(runs) == len(done.outcome.record.methods) + 1
    for method in done.outcome.record.methods:
        run = by_key[method.result.key]
        shown = ("val/top1", "seen/top1", "seen/mAP")
        expected = {name: value for name, value in method.result.metrics.items() if name in shown}
        assert {name: run.data.metrics[name] for name in expected} == pytest.approx(expected)
        whole = client.download_artifacts(run.info.run_id, "result.json", str(tmp_path))
        assert json.loads(Path(whole).read_text())["metrics"] == pytest.approx(method.result.metrics)
    summary = next(run for run in runs if run.data.tags["reid_ray.kind"] == "summary")
    files = {item.path for item in client.list_artifacts(summary.info.run_id)}
    assert {"study.json", "rows.parquet", "quarantine.parquet", "report", "selected_trial"} <= files


def test_a_second_start_repeats_nothing_and_reports_the_same(done: Done) -> None:
    folder = StudyFolder(done.folder / "runs" / "small")
    before = {key: times(folder.method(key)) for key in done.outcome.record.study["methods"]}
    again, told = run(done.study)
    assert {key: times(folder.method(key)) for key in again.record.study["methods"]} == before
    assert "2 of 2 trials have a result already" in told
    photos = len(again.record.rows)
    assert f"{photos} of {photos} photos were prepared before" in told
    client = MlflowClient(tracking_uri=again.tracking_uri)
    experiment = client.get_experiment_by_name("small")
    assert len(client.search_runs([experiment.experiment_id])) == len(before) + 1


def table_of(done: Done) -> pd.DataFrame:
    """With the folders of the photos, which the study's own table does not have."""
    return load_rows(done.study.data, made=done.folder / "runs" / "synthetic").rows


def test_photos_are_read_from_one_place_by_every_process(done: Done) -> None:
    store = PreparedStore(done.folder / "runs/prepared", done.study.data.images)
    images, rows, _, reused = prepare_images(table_of(done), store)
    assert reused == len(rows) == len(images)

    @ray.remote(num_cpus=0)
    def look(shared: PreparedImages) -> tuple[int, set[str]]:
        total = sum(int(image.sum()) for image in shared)
        maps = Path("/proc/self/maps").read_text().splitlines()
        return total, {line.split()[-1] for line in maps if line.endswith(".pixels")}

    reference = ray.put(images)
    for total, mapped in ray.get([look.remote(reference) for _ in range(3)]):
        assert total == sum(int(image.sum()) for image in images)
        assert mapped == {str(path) for path in store.folder.glob("*.pixels")}


def test_a_store_that_cannot_be_written_is_one_clear_error(done: Done, tmp_path: Path) -> None:
    (tmp_path / "64px").write_text("a file where the folder should be")
    store = PreparedStore(tmp_path, done.study.data.images)
    with pytest.raises(StorageError, match=r"64px.*cannot be written"):
        prepare_images(table_of(done), store)


@pytest.mark.release
def test_a_damaged_result_is_made_again(done: Done) -> None:
    folder = StudyFolder(done.folder / "runs" / "small")
    key = done.outcome.record.study["selected_trial"]
    path = folder.method(key).path / "result.json"
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:40])
    run(done.study)
    assert json.loads(path.read_text())["metrics"] == whole["metrics"]


@pytest.mark.release
def test_nested_trials_give_the_inline_numbers(done: Done, tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        scaling={"workers": 2, "confirmation_workers": 0},
        baselines={"matching": [], "random_init": False},
        fusion=[],
    )
    nested = {m.result.method: m for m in run(study)[0].record.methods}
    trials = [m for m in done.outcome.record.methods if m.result.kind == "trial"]
    assert len(trials) == 2
    for inline in trials:
        again = nested[inline.result.method]
        losses = [[row["loss"] for row in method.history] for method in (again, inline)]
        # As above: the same but for rounding.
        assert losses[0] == pytest.approx(losses[1], rel=1e-2)
        assert again.result.metrics["seen/mAP"] == pytest.approx(inline.result.metrics["seen/mAP"], abs=0.05)


@pytest.mark.release
def test_a_bad_photo_is_put_aside_and_told(running_ray: Cluster, tmp_path: Path, done: Done) -> None:
    source = next((done.folder / "runs" / "synthetic").glob("zebra-*/images"))
    photos = tmp_path / "photos"
    for path in source.rglob("*.jpg"):
        copy = photos / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    spoilt = min(photos.rglob("*.jpg"))
    spoilt.write_bytes(spoilt.read_bytes()[:500])
    data = {
        "datasets": [{"source": "folder", "name": "mine", "root": str(photos)}],
        "images": {"short_px": 64},
    }
    study = study_of(
        tmp_path, data=data, baselines={"matching": []}, fusion=[], scaling={"confirmation_workers": 0}
    )
    outcome, told = run(study)
    assert outcome.record.quarantine["path"].tolist() == [f"{spoilt.parent.name}/{spoilt.name}"]
    assert "1 photos quarantined" in told
    assert len(outcome.record.rows) == len(list(photos.rglob("*.jpg"))) - 1
