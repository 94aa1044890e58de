"""MLflow stores that are dead, hung, broken or locked: a study goes on, and every run is there once."""

import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty import Record, ended, fill, forked, mounted

from reid_ray.errors import TrackingError
from reid_ray.reporting import tracking
from reid_ray.reporting.mlflow_store import KEY, STUDY, SYNCED, Store
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs import files
from reid_ray.runs.methods import Result
from reid_ray.runs.study import StudyFolder

KEYS = [f"{number:016x}" for number in range(4)]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store: making one takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    Store.open(f"sqlite:///{path}", study="other", artifacts=path.parent)
    return path


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    """Four finished methods of three epochs, and a report."""
    folder = StudyFolder(tmp_path / "runs" / "small")
    files.write_table(folder.rows_path, pd.DataFrame({"key": ["a"]}))
    files.write_table(folder.quarantine_path, pd.DataFrame({"path": ["x"]}))
    study = {"name": "small", "methods": KEYS, "selected_trial": None, "started_at": 1.7e9, "seconds": 9.0}
    files.write_json(folder.study_path, study)
    for number, key in enumerate(KEYS):
        method = folder.method(key)
        for epoch in (1, 2, 3):
            method.append_history({"epoch": epoch, "loss": 3.0 - epoch / 2, "seconds": 1.0})
        method.finish(
            Result(
                key,
                f"m{number}",
                "trial",
                "ArcFace",
                "z",
                metrics={"seen/top1": number / 4},
                params={"lr": 0.1},
                started_at=1.7e9,
                seconds=4.0,
            ),
            pd.DataFrame({"query": ["q"]}),
        )
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<p>report")
    return folder


def rows_of(uri: str) -> dict[str, list[object]]:
    """What is in a store, by the method's key: its figures, losses and files."""
    store = Store.existing(uri, "small")
    found: dict[str, list[object]] = {}
    for run in store.runs():
        losses = store.client.get_metric_history(run.info.run_id, "train/loss")
        figures = store.client.get_metric_history(run.info.run_id, "seen/top1")
        names = sorted(file.path for file in store.client.list_artifacts(run.info.run_id))
        found.setdefault(run.data.tags[KEY], []).append(
            (
                run.info.status,
                sorted((item.step, item.value) for item in losses),
                [item.value for item in figures],
                dict(run.data.params),
                names,
            )
        )
    return found


LOSSES = [(1, 2.5), (2, 2.0), (3, 1.5)]
FILES = ["files.json", "history.jsonl", "predictions.parquet", "result.json"]


def assert_each_is_there_once(uri: str) -> None:
    found = rows_of(uri)
    assert sorted(found) == [*KEYS, "summary-small"]
    for number, key in enumerate(KEYS):
        assert found[key] == [("FINISHED", LOSSES, [number / 4], {"lr": "0.1"}, FILES)]
    assert len(found["summary-small"]) == 1


def follow(study: StudyFolder, uri: str) -> str:
    """As a study does; returns the problem that it would tell."""
    followed = Tracking(uri, storage=study.path.parent, study="small")
    followed.begin(study, [])
    for key in KEYS:
        followed.sync(study.method(key))
    followed.finish(study, study.path.parents[1] / "report", "- best")
    return followed.problem


def _answer(reply: bytes, *, slowly: bool = False) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        client.recv(65536)
        for byte in reply if slowly else ():
            client.sendall(bytes([byte]))
            time.sleep(0.2)
        if not slowly:
            client.sendall(reply)
        client.close()

    return answer


def _hold(client: socket.socket) -> None:
    """Take a request and never answer it."""
    time.sleep(60)


def _http(status: str, body: bytes, kind: str = "text/html") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


SERVERS: dict[str, Callable[[socket.socket], None] | None] = {
    "nobody listens": None,
    "takes requests and never answers": _hold,
    "answers 500": _answer(_http("500 Internal Server Error", b"oops")),
    "answers with a page of its own": _answer(_http("200 OK", b"<html>Log in to the network</html>")),
    "closes connections": _answer(b""),
    "sends a byte now and then, for ever": _answer(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 999, slowly=True),
}


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    answer = SERVERS[request.param]
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        if answer is None:
            server.close()
        else:

            def serve() -> None:
                with suppress(OSError):
                    while True:
                        client = server.accept()[0]
                        threading.Thread(target=answer, args=(client,), daemon=True).start()

            threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("address", SERVERS, indirect=True)
def test_a_broken_server_costs_a_note_and_the_next_try_copies_all(
    address: str,
    study: StudyFolder,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    record: Record,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking, "PATIENCE_S", 3.0)
    assert address in follow(study, address)
    mended = shutil.copy(empty_store, study.path.parent / "mended.db")
    assert follow(study, f"sqlite:///{mended}") == ""
    assert_each_is_there_once(f"sqlite:///{mended}")
    kind = request.node.callspec.id
    record(
        f"MLflow: {kind}",
        "a socket of our own in the place of a server",
        tried=1,
        survived=1,
        trials=0,
        doubled=0,
    )


def test_a_locked_database_is_copied_to_by_the_next_try(
    study: StudyFolder, empty_store: Path, record: Record
) -> None:
    path = shutil.copy(empty_store, study.path.parent / "mlflow.db")
    uri = f"sqlite:///{path}"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in follow(study, uri)
        other.execute("ROLLBACK")
    assert follow(study, uri) == ""
    assert_each_is_there_once(uri)
    record(
        "MLflow: SQLite locked by another process",
        "BEGIN EXCLUSIVE, held",
        tried=1,
        survived=1,
        trials=0,
        doubled=0,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_a_database_on_a_full_disk_costs_a_note_and_the_next_try_copies_all(
    study: StudyFolder, empty_store: Path, tmp_path: Path, record: Record
) -> None:
    room = empty_store.stat().st_size // 1024 + 1024
    with mounted(tmp_path / "disk", kib=room) as disk:
        path = shutil.copy(empty_store, disk / "mlflow.db")
        uri = f"sqlite:///{path}"
        filling = fill(disk)
        assert "full" in follow(study, uri)
        filling.unlink()
        assert follow(study, uri) == ""
        assert_each_is_there_once(uri)
    record(
        "MLflow: SQLite on a full disk",
        "a tmpfs without room, then with room",
        tried=1,
        survived=1,
        trials=0,
        doubled=0,
    )


def test_a_damaged_database_is_named(
    study: StudyFolder, empty_store: Path, rng: np.random.Generator, record: Record
) -> None:
    path = study.path.parent / "mlflow.db"
    for content in (b"no database at all" * 99, empty_store.read_bytes()[:20_000]):
        path.write_bytes(content)
        assert f"sqlite:///{path}" in follow(study, f"sqlite:///{path}")
    shutil.copy(empty_store, path)
    assert follow(study, f"sqlite:///{path}") == ""
    assert_each_is_there_once(f"sqlite:///{path}")
    record("MLflow: SQLite file damaged", "other content; cut short", tried=2, survived=2, trials=0)


def test_copying_that_is_killed_at_any_time_leaves_no_run_missing_or_doubled(
    study: StudyFolder, empty_store: Path, rng: np.random.Generator, record: Record
) -> None:
    path = shutil.copy(empty_store, study.path.parent / "mlflow.db")
    uri = f"sqlite:///{path}"
    tries, killed = 5, 0
    for _ in range(tries):
        with forked(lambda: follow(study, uri)) as child:
            time.sleep(float(rng.uniform(0.05, 0.8)))
            killed += not ended(child, wait=False)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    assert killed
    assert follow(study, uri) == ""
    assert_each_is_there_once(uri)
    record(
        "SIGKILL while runs are copied to MLflow",
        "at random times, then a start",
        tried=tries,
        survived=tries,
        trials=0,
        doubled=0,
    )


def test_a_run_that_a_late_answer_made_twice_is_one_in_the_end(
    study: StudyFolder, empty_store: Path, record: Record
) -> None:
    """A server that answers late has made a run that was given up and asked for again."""
    path = shutil.copy(empty_store, study.path.parent / "mlflow.db")
    uri = f"sqlite:///{path}"
    assert follow(study, uri) == ""
    store = Store.existing(uri, "small")
    for _ in range(2):
        store.client.create_run(store.experiment_id, tags={KEY: KEYS[1], STUDY: "small"})
    (whole,) = [run for run in store.runs() if run.data.tags.get(SYNCED) and run.data.tags[KEY] == KEYS[1]]
    assert store.sync_method(study.method(KEYS[1])) == whole.info.run_id
    assert_each_is_there_once(uri)
    record(
        "MLflow: a run made twice by a late answer",
        "two runs more of one key",
        tried=2,
        survived=2,
        trials=0,
        doubled=0,
    )


def test_a_clock_that_jumps_changes_no_row(
    study: StudyFolder, empty_store: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    """Rows carry the times of the work, not those of the copying."""
    path = shutil.copy(empty_store, study.path.parent / "mlflow.db")
    uri, now = f"sqlite:///{path}", time.time()
    for jump_s in (0, -86_400.0, 86_400.0):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: now + jump_s)
        for key in KEYS:
            with suppress(TrackingError):
                store = Store.open(uri, study="small", artifacts=path.parent)
                (run,) = [r for r in store.runs() if r.data.tags[KEY] == key] or [None]
                if run is not None:
                    store.client.set_tag(run.info.run_id, SYNCED, "")
        assert follow(study, uri) == ""
        assert_each_is_there_once(uri)
    record(
        "a clock that jumps",
        "a day back and a day ahead between copies to MLflow",
        tried=2,
        survived=2,
        trials=0,
        doubled=0,
    )
