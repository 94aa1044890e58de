"""A report made from MLflow alone is the report that the study wrote."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reid_ray.errors import TrackingError
from reid_ray.reporting import mlflow_store
from reid_ray.reporting.from_mlflow import fetch_study
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.mlflow_store import KEY, KIND, Store
from reid_ray.reporting.page import write_report
from reid_ray.runs import files
from reid_ray.runs.study import StudyFolder


@dataclass(frozen=True)
class Study:
    """What a study leaves: its folder, its report, its store."""

    folder: StudyFolder
    report: Path
    uri: str


def on_disk(record, images, folder: StudyFolder) -> StudyFolder:
    files.write_json(folder.study_path, record.study)
    files.write_table(folder.rows_path, record.rows)
    files.write_table(folder.quarantine_path, record.quarantine)
    for method in record.methods:
        of_method = folder.method(method.result.key)
        for epoch in method.history:
            of_method.append_history(epoch)
        of_method.finish(method.result, method.predictions)
    make_gallery(record.rows, images, panels(record), folder.gallery_path, each=1)
    return folder


def copied(folder: StudyFolder, uri: str, root: Path) -> Study:
    report = write_report(folder.load(), root / "report").parent
    store = Store.open(uri, study="quickstart", artifacts=root / "artifacts")
    for key in folder.load().study["methods"]:
        if folder.method(key).finished():
            store.sync_method(folder.method(key))
    store.sync_summary(folder, report=report, description="- SIFT is best")
    return Study(folder, report, uri)


@pytest.fixture(scope="module")
def study(record, images, tmp_path_factory) -> Study:
    """The made-up study, with fewer trials."""
    root = tmp_path_factory.mktemp("copied")
    few = [m for m in record.methods if m.result.kind != "trial"]
    few += [m for m in record.methods if m.result.kind == "trial"][:5]
    winner = next(m.result.key for m in few if m.result.kind == "trial")
    smaller = replace(record, methods=few, study=record.study | {"winner": winner})
    folder = on_disk(smaller, images, StudyFolder(root / "runs" / "quickstart"))
    return copied(folder, f"sqlite:///{root / 'm.db'}", root)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_is_the_same_byte_for_byte(study: Study, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_store, "_PAGE", 2)  # so that there are many pages
    fetched = fetch_study(study.uri, "quickstart", tmp_path / "fetched")
    assert fetched.problems == ()
    page = write_report(fetched.record, tmp_path / "out")
    assert bytes_of(page.parent) == bytes_of(study.report)
    assert "data:image/jpeg;base64," in page.read_text(encoding="utf-8")


def test_the_command_does_it_without_a_name_where_there_is_one_study(
    study: Study, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "reid_ray.report", "--from-mlflow", study.uri]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert bytes_of(tmp_path / "reports" / "quickstart") == bytes_of(study.report)


def test_the_local_folder_gives_the_same_again(study: Study, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reid_ray.report", str(study.folder.path), "--out", "again"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert bytes_of(tmp_path / "again") == bytes_of(study.report)


def test_an_unknown_study_is_answered_with_those_there_are(study: Study, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no study 'quickest'; there are: quickstart"):
        fetch_study(study.uri, "quickest", tmp_path)
    with pytest.raises(TrackingError, match="no such file"):
        fetch_study(f"sqlite:///{tmp_path / 'none.db'}", None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="check the address and whether the server runs"):
        fetch_study("http://127.0.0.1:9", "quickstart", tmp_path)


@pytest.fixture
def spoilt(record, images, tmp_path: Path) -> tuple[Study, dict[str, Path]]:
    """A copy of its own, and where the artifacts of each run lie, by method or kind."""
    few = [m for m in record.methods if m.result.family in ("chance", "local features")]
    trial = next(m for m in record.methods if m.result.kind == "trial")
    study = record.study | {"winner": trial.result.key}
    folder = StudyFolder(tmp_path / "runs" / "quickstart")
    on_disk(replace(record, methods=[*few, trial], study=study), images, folder)
    made = copied(folder, f"sqlite:///{tmp_path / 'm.db'}", tmp_path)
    places = {
        run.info.run_name: Path(run.info.artifact_uri.removeprefix("file://"))
        for run in Store.existing(made.uri, None).runs()
    }
    return made, places


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
    assert {m.result.family for m in fetched.record.methods} == {"chance", "ArcFace"}


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


def test_a_study_can_be_looked_at_while_it_runs(record, images, tmp_path: Path) -> None:
    folder = on_disk(
        replace(record, methods=record.methods[:2]), images, StudyFolder(tmp_path / "quickstart")
    )
    store = Store.open(f"sqlite:///{tmp_path / 'm.db'}", study="quickstart", artifacts=tmp_path)
    store.sync_study(folder)
    store.sync_method(folder.method(record.methods[0].result.key))
    fetched = fetch_study(store.uri, None, tmp_path / "fetched")
    assert [m.result.family for m in fetched.record.methods] == ["chance"]
    assert "planned methods have not run yet" in write_report(
        fetched.record, tmp_path / "out"
    ).read_text(encoding="utf-8")
