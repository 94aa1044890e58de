"""A report made from MLflow alone is the report that the study wrote."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reid_ray.errors import TrackingError
from reid_ray.reporting import mlflow_store
from reid_ray.reporting.from_mlflow import fetch_study
from reid_ray.reporting.mlflow_store import KEY, KIND, Store
from reid_ray.reporting.page import write_report
from reid_ray.runs.methods import MethodFolder, Result


@pytest.fixture(scope="module")
def study(leave, tmp_path_factory):
    return leave(tmp_path_factory.mktemp("left"), trials=5)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_is_the_same_byte_for_byte(study, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_store, "_PAGE", 2)  # so that there are many pages
    fetched = fetch_study(study.uri, "quickstart", tmp_path / "fetched")
    assert fetched.problems == ()
    page = write_report(fetched.record, tmp_path / "out")
    assert bytes_below(page.parent) == study.report_bytes()
    assert "data:image/jpeg;base64," in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_command_does_it_without_a_name_where_there_is_one_study(study, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reid_ray.report", "--from-mlflow", study.uri]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert bytes_below(tmp_path / "reports" / "quickstart") == study.report_bytes()


@pytest.mark.slow
def test_the_local_folder_gives_the_same_again(study, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reid_ray.report", str(study.folder.path), "--out", "again"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert bytes_below(tmp_path / "again") == study.report_bytes()


def test_an_unknown_study_is_answered_with_those_there_are(study, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no study 'quickest'; there are: quickstart"):
        fetch_study(study.uri, "quickest", tmp_path)
    with pytest.raises(TrackingError, match="no such file"):
        fetch_study(f"sqlite:///{tmp_path / 'none.db'}", None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_training_that_goes_on_is_left_out_and_told(spoilt, tmp_path: Path) -> None:
    study, _ = spoilt
    going_on = Result("fedcba9876543210", "a", "trial", "ArcFace", "zebra", started_at=1_700_000_000.0)
    training = MethodFolder(tmp_path / going_on.key)
    training.append_history({"epoch": 1, "loss": 2.5})
    Store.existing(study.uri, None).sync_training(training, going_on)
    fetched = fetch_study(study.uri, None, tmp_path / "fetched")
    (told,) = fetched.problems
    assert told == f"In MLflow method {going_on.key} is still in training; it is left out here."
    assert going_on.key not in {method.result.key for method in fetched.record.methods}


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="check the address and whether the server runs"):
        fetch_study("http://127.0.0.1:9", "quickstart", tmp_path)


@pytest.fixture(scope="module")
def small(leave, tmp_path_factory):
    return leave(tmp_path_factory.mktemp("small"), trials=1)


@pytest.fixture
def spoilt(small, tmp_path_factory):
    """A study that is mended afterwards, and where the artifacts of each run lie, by name of the run."""
    artifacts, kept = small.report.parent / "artifacts", tmp_path_factory.mktemp("kept") / "artifacts"
    shutil.copytree(artifacts, kept)
    store = Store.existing(small.uri, None)
    runs = {run.info.run_id: run.info for run in store.runs()}
    yield small, {run.run_name: Path(run.artifact_uri.removeprefix("file://")) for run in runs.values()}
    for added in {run.info.run_id for run in store.runs()} - set(runs):
        store.client.delete_run(added)
    shutil.rmtree(artifacts)
    shutil.copytree(kept, artifacts)


def test_what_is_damaged_or_missing_is_named_and_the_rest_is_made(spoilt, tmp_path: Path) -> None:
    study, places = spoilt
    answers = places["SIFT"] / "predictions.parquet"
    data = bytearray(answers.read_bytes())
    data[len(data) // 2] ^= 1
    answers.write_bytes(data)
    next((places["summary"] / "gallery").glob("*.jpg")).unlink()
    (places["summary"] / "quarantine.parquet").unlink()
    fetched = fetch_study(study.uri, None, tmp_path / "fetched")
    said = "\n".join(fetched.problems)
    assert "predictions.parquet is damaged of method" in said
    assert "quarantine.parquet of the study is missing" in said
    assert "gallery/" in said
    assert len(fetched.problems) == 3
    page = write_report(fetched.record, tmp_path / "out").read_text(encoding="utf-8")
    assert "predictions.parquet is damaged" in page
    assert 'id="examples"' not in page
    assert "SIFT" not in {m.result.method for m in fetched.record.methods}
    assert len(fetched.record.methods) == len(study.folder.load().methods) - 1


@pytest.mark.parametrize(("name", "said"), [("study.json", "missing"), ("rows.parquet", "missing")])
def test_without_the_study_itself_there_is_no_report(spoilt, name, said, tmp_path: Path) -> None:
    study, places = spoilt
    (places["summary"] / name).unlink()
    with pytest.raises(TrackingError, match=f"{name} of the summary run of quickstart is {said}"):
        fetch_study(study.uri, None, tmp_path / "fetched")


def test_names_in_a_store_cannot_leave_the_folder(spoilt, tmp_path: Path) -> None:
    study, places = spoilt
    listed = places["summary"] / "files.json"
    names = json.loads(listed.read_text()) | {"../../escaped.json": "0" * 64, "/etc/passwd": "0"}
    listed.write_text(json.dumps(names))
    store = Store.existing(study.uri, None)
    run = next(store.runs())
    store.client.create_run(
        store.experiment_id, tags={KEY: "../../../x", KIND: "trial", "reid_ray.study": "quickstart"}
    )
    assert run is not None
    assert fetch_study(study.uri, None, tmp_path / "a" / "b").problems == ()
    assert not (tmp_path / "x").exists()


def test_a_study_can_be_looked_at_while_it_runs(small, new_database, tmp_path: Path) -> None:
    study = small
    store = Store.open(new_database(tmp_path / "new.db"), study="quickstart", artifacts=tmp_path)
    store.sync_study(study.folder)
    chance, *_ = study.folder.load().methods
    store.sync_method(study.folder.method(chance.result.key))
    fetched = fetch_study(store.uri, None, tmp_path / "fetched")
    assert [m.result.family for m in fetched.record.methods] == ["chance"]
    page = write_report(fetched.record, tmp_path / "out").read_text(encoding="utf-8")
    assert "planned methods have not run yet" in page


@pytest.mark.slow
def test_the_selected_method_is_registered_in_a_local_store_too(leave, selected, tmp_path: Path) -> None:
    study = leave(tmp_path, trials=1, selected=selected)
    store = Store.existing(study.uri, None)
    found = store.client.get_model_version_by_alias("quickstart", "selected")
    model = Path(found.source.removeprefix("file://"))
    assert (model / "MLmodel").is_file()
    assert [path.name for path in model.rglob("*.safetensors")] == ["0.safetensors"]
    assert not [path for path in model.rglob("*") if path.suffix in (".pkl", ".pickle", ".bin")]
    assert fetch_study(study.uri, None, tmp_path / "fetched").problems == ()
