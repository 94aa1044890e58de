"""MLflow gets every method once, whatever happens to it in between."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from reid_ray.errors import TrackingError
from reid_ray.reporting.mlflow_store import Store
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs.methods import MethodFolder, Result


@pytest.fixture
def folder(tmp_path: Path) -> MethodFolder:
    """A finished trial with two epochs, at a time of our own."""
    folder = MethodFolder(tmp_path / "0123456789abcdef")
    for epoch, loss in ((1, 2.5), (2, 1.5)):
        folder.append_history({"epoch": epoch, "loss": loss, "lr": 0.1, "seconds": 10.0})
    folder.finish(
        Result(
            key="0123456789abcdef",
            method="a m=0.5",
            kind="trial",
            family="ArcFace",
            scope="zebra+lion",
            params={"lr": 0.1, "loss": "ArcFace"},
            metrics={"seen/top1": 0.75, "test/zebra/top1": 0.5},
            seconds=30.0,
            started_at=1_700_000_000.0,
            note="random weights",
        )
    )
    return folder


@pytest.fixture
def store(tmp_path: Path, new_database: Callable[[Path], str]) -> Store:
    return Store.open(new_database(tmp_path / "m.db"), study="study", artifacts=tmp_path / "files")


def test_a_run_carries_figures_settings_epochs_and_times(store: Store, folder: MethodFolder) -> None:
    store.datasets = (
        {"name": "zebra", "digest": "d1", "source": "/z", "context": "seen"},
        {"name": "other", "digest": "d2", "source": "/o", "context": "seen"},
    )
    run_id = store.sync_method(folder)
    run = store.client.get_run(run_id)
    assert run.info.run_name == "a m=0.5"
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_030_000)
    assert run.data.params == {"lr": "0.1", "loss": "ArcFace"}
    assert run.data.metrics["seen/top1"] == 0.75
    assert run.data.tags["reid_ray.kind"] == "trial"
    losses = store.client.get_metric_history(run_id, "train/loss")
    assert [(item.step, item.value) for item in losses] == [(1, 2.5), (2, 1.5)]
    assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["zebra"]


def test_copying_again_changes_nothing(store: Store, folder: MethodFolder) -> None:
    first = store.sync_method(folder)
    assert store.sync_method(folder) == first
    # As after a crash between copying and the note of it:
    store.client.set_tag(first, "reid_ray.synced", "")
    assert store.sync_method(folder) == first
    assert len(store.client.search_runs([store.experiment_id])) == 1
    assert len(store.client.get_metric_history(first, "train/loss")) == 2


def test_a_result_written_anew_is_copied_anew(store: Store, folder: MethodFolder) -> None:
    run_id = store.sync_method(folder)
    folder.finish(folder.result().but(metrics={"seen/top1": 0.9}, started_at=1_700_000_500.0))
    assert store.sync_method(folder) == run_id
    assert store.client.get_run(run_id).data.metrics["seen/top1"] == 0.9


def test_a_training_has_a_run_from_its_first_epoch_and_each_point_once(store: Store, tmp_path: Path) -> None:
    folder = MethodFolder(tmp_path / "fedcba9876543210")
    going_on = Result(
        key="fedcba9876543210",
        method="a m=0.2",
        kind="trial",
        family="ArcFace",
        scope="zebra",
        params={"lr": 0.1},
        started_at=1_700_000_000.0,
    )
    folder.append_history({"epoch": 1, "loss": 2.5, "lr": 0.1, "ended_at": 1_700_000_010.0, "val/top1": 0.25})
    run_id = store.sync_training(folder, going_on)
    run = store.client.get_run(run_id)
    assert (run.info.status, run.data.params) == ("RUNNING", {"lr": "0.1"})
    assert run.data.metrics == {"train/loss": 2.5, "train/lr": 0.1, "val/top1": 0.25}
    folder.append_history({"epoch": 2, "loss": 1.5, "lr": 0.1, "ended_at": 1_700_000_020.0})
    assert store.sync_training(folder, going_on.but(started_at=1_700_000_007.0)) == run_id
    folder.finish(going_on.but(metrics={"seen/top1": 0.5}, seconds=21.0))
    assert store.sync_method(folder) == run_id
    points = store.client.get_metric_history(run_id, "train/loss")
    assert [(point.step, point.value, point.timestamp) for point in points] == [
        (1, 2.5, 1_700_000_010_000),
        (2, 1.5, 1_700_000_020_000),
    ]
    assert store.client.get_run(run_id).info.status == "FINISHED"
    assert len(store.client.search_runs([store.experiment_id])) == 1


def test_a_training_that_is_stopped_is_not_shown_as_going_on(store: Store, tmp_path: Path) -> None:
    folder = MethodFolder(tmp_path / "fedcba9876543210")
    going_on = Result("fedcba9876543210", "a", "trial", "ArcFace", "zebra", started_at=1_700_000_000.0)
    folder.append_history({"epoch": 1, "loss": 2.5})
    run_id = store.sync_training(folder, going_on)
    store.stop_study()
    assert store.client.get_run(run_id).info.status == "KILLED"
    again = Store.existing(store.uri, "study")
    assert again.sync_training(folder, going_on) == run_id
    assert again.client.get_run(run_id).info.status == "RUNNING"


def test_about_ten_figures_are_shown_and_the_first_is_that_of_the_validation(
    store: Store, folder: MethodFolder
) -> None:
    many = {f"seen/top1_of_{number}": 0.5 for number in range(100)}
    shown = {
        "val/top1": 0.4,
        "seen/top1": 0.5,
        "unseen/top1": 0.3,
        "test/zebra/top1": 0.2,
        "test/lion/top1": 0.1,
    }
    folder.finish(folder.result().but(metrics={**many, **shown}))
    run_id = store.sync_method(folder)
    found = store.client.get_run(run_id).data.metrics
    assert set(found) == {*shown, "seconds", "train/loss", "train/lr", "train/seconds_per_epoch"}
    assert next(iter(found)) == "val/top1"
    whole = store.client.download_artifacts(run_id, "result.json")
    assert json.loads(Path(whole).read_text())["metrics"] == {**many, **shown}


def test_a_deleted_experiment_comes_back(store: Store, folder: MethodFolder, tmp_path: Path) -> None:
    run_id = store.sync_method(folder)
    store.client.delete_experiment(store.experiment_id)
    again = Store.open(store.uri, study="study", artifacts=tmp_path)
    assert again.sync_method(folder) == run_id


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never answers."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_dead_server_is_told_in_a_sentence_and_holds_nothing_up(
    folder: MethodFolder, tmp_path: Path
) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tracking = Tracking(f"http://127.0.0.1:{port}", storage=tmp_path, study="study")
    began = time.monotonic()
    tracking.sync(folder)
    assert time.monotonic() - began < 1
    ends = time.monotonic() + 60
    while not tracking.problem and time.monotonic() < ends:
        time.sleep(0.1)
    assert tracking.problem.startswith(f"MLflow at http://127.0.0.1:{port}")
    assert tracking.compare_path(trials=2) == ""
    with pytest.raises(TrackingError, match=f"MLflow at http://127.0.0.1:{port}"):
        Store.open(f"http://127.0.0.1:{port}", study="study", artifacts=tmp_path)


def test_a_hung_server_is_given_up(silent_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with pytest.raises(TrackingError, match="check tracking_uri"):
        Store.open(f"http://127.0.0.1:{silent_port}", study="study", artifacts=tmp_path)


def test_links_open_a_view_that_the_experiment_keeps(store: Store) -> None:
    two = [
        Result(key, key, "trial", "ArcFace", "zebra", params={"lr": lr, "epochs": 2})
        for key, lr in (("a", 0.1), ("b", 0.2))
    ]
    store._keep_views(two)
    tags = store.client.get_experiment(store.experiment_id).tags
    for trials, columns in ((0, []), (2, ["params.`lr`"])):
        path = store.compare_path(trials)
        assert path.startswith(f"/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning")
        kept = json.loads(tags[f"mlflow.sharedViewState.{path.split('viewStateShareKey=')[1]}"])
        shown = json.loads(kept["state"])["selectedColumns"]
        assert shown == ["metrics.`val/top1`", "metrics.`seen/top1`", "metrics.`unseen/top1`", *columns]


def test_the_store_is_one_that_mlflow_ui_can_open(store: Store, folder: MethodFolder) -> None:
    store.sync_method(folder)
    names = [item.name for item in MlflowClient(tracking_uri=store.uri).search_experiments()]
    assert "study" in names
