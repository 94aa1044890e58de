"""A real MLflow server over HTTP, with passwords: a study goes in, its report and its method come out."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from reid_ray.errors import TrackingError
from reid_ray.reporting.from_mlflow import fetch_study
from reid_ray.reporting.mlflow_store import Store
from reid_ray.reporting.page import write_report

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))
from faulty import write_record

_PREDICT = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/quickstart@selected")
outputs = [one.name for one in model.metadata.signature.outputs]
table = model.predict(["new.png", "known/b/1.png"], params={"reference": "known", "candidates": 2})
assert list(table.columns) == outputs
assert "ray" not in sys.modules
print(table.to_json(orient="records"))
"""


NAME, PASSWORD = "admin", "a-long-password-of-tests"
_ACCOUNTS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/accounts.db
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""


@dataclass(frozen=True)
class Server:
    uri: str
    process: subprocess.Popen

    def signal(self, sign: int) -> None:
        """To all of its processes."""
        os.killpg(self.process.pid, sign)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Server]:
    pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
    folder = tmp_path_factory.mktemp("server")
    (folder / "accounts.ini").write_text(_ACCOUNTS.format(folder=folder))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{folder / 'm.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--app-name",
        "basic-auth",
    ]
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "accounts.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": NAME,
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of tests",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health", folder / "log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", NAME)
            patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
            yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def server(served: Server) -> str:
    return served.uri


def _wait(address: str, log: Path) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            with urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"no server within two minutes:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def study(leave, server, selected, tmp_path_factory):
    return leave(tmp_path_factory.mktemp("left"), trials=1, uri=server, selected=selected)


def test_the_report_comes_back_byte_for_byte(study, tmp_path: Path) -> None:
    fetched = fetch_study(study.uri, "quickstart", tmp_path / "fetched")
    assert fetched.problems == ()
    page = write_report(fetched.record, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in page.parent.iterdir()} == study.report_bytes()


def test_the_registered_model_names_animals_without_pickle_and_without_ray(study, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for animal in "abc":
        coat = np.kron(rng.integers(0, 256, (24, 28, 3)), np.ones((5, 5, 1)))
        (tmp_path / "known" / animal).mkdir(parents=True)
        for number in range(4):
            noisy = np.clip(coat + rng.normal(0, 12, coat.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "known" / animal / f"{number}.png")
        if animal == "c":
            Image.fromarray(noisy[4:, 6:]).save(tmp_path / "new.png")
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, "-c", _PREDICT, study.uri]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    table = json.loads(told.stdout.splitlines()[-1])
    assert [(row["photo"], row["rank"]) for row in table] == [
        ("new.png", 1),
        ("new.png", 2),
        ("known/b/1.png", 1),
        ("known/b/1.png", 2),
    ]
    assert [row["identity"] for row in table if row["rank"] == 1] == ["c", "b"]
    assert table[2]["reference"] == "b/1.png"  # the query is a file of the gallery: it is its own best match


def test_copying_again_registers_no_second_version(study) -> None:
    store = Store.open(study.uri, study="quickstart", artifacts=study.report)
    store.sync_summary(study.folder, report=study.report, description="again")
    (version,) = store.client.search_model_versions("name = 'quickstart'")
    selected = study.folder.load().study["selected"]
    run = store.client.get_run(version.run_id)
    assert run.data.tags["reid_ray.trial"] == selected
    assert run.data.tags["reid_ray.chosen"] == "true"
    made = [f"models:/{item.model_id}" for item in run.outputs.model_outputs]
    assert made == [version.source]
    assert "load_model" in version.description


@pytest.mark.parametrize(
    "path", ["api/2.0/mlflow/experiments/search?max_results=9", "api/2.0/mlflow-artifacts/artifacts", ""]
)
def test_a_request_without_a_password_is_refused(study, path: str) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{study.uri}/{path}", timeout=10)
    assert refused.value.code == 401


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_study_without_the_right_password_reads_and_writes_nothing(
    study, password: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name)
    if password:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", NAME)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    with pytest.raises(TrackingError, match="authenticat"):
        Store.open(study.uri, study="another", artifacts=tmp_path)
    with pytest.raises(TrackingError, match="authenticat"):
        Store.existing(study.uri, "quickstart")


def test_a_server_that_stops_for_a_while_has_each_run_once(
    study, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers late what was given up and asked for again, so runs of one key are made twice."""
    store = Store.open(study.uri, study="quickstart", artifacts=study.report)
    before = {run.info.run_id for run in store.runs()}
    folder = study.folder.method(study.folder.load().methods[0].result.key)
    made = store._find(folder.path.name)
    store.client.delete_run(made.info.run_id)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    served.signal(signal.SIGSTOP)
    try:
        with pytest.raises(TrackingError, match=f"MLflow at {study.uri}"):
            store.sync_method(folder)
        with pytest.raises(MlflowException):
            store._create(folder.result())  # as where it stops right after the search
    finally:
        served.signal(signal.SIGCONT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    anew = store.sync_method(folder)
    store.copied = None
    store.sync_method(folder)
    now = {run.info.run_id for run in store.runs()}
    assert now == before - {made.info.run_id} | {anew}
    write_record(
        "SIGSTOP of an MLflow server",
        "all its processes, then SIGCONT, while runs are made",
        tried=2,
        survived=2,
        trials=0,
        doubled=0,
    )
