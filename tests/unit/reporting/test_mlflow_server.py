"""A real MLflow server over HTTP: a study goes in, its report and its winner come out."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from reid_ray.reporting.from_mlflow import fetch_study
from reid_ray.reporting.mlflow_store import Store
from reid_ray.reporting.page import write_report

_PREDICT = """
import json, sys
import numpy as np, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/quickstart@winner")
photo = np.load("photo.npy")
vectors = [model.predict(["photo.png", "photo.png"])[0], model.predict(photo[None])[0]]
assert "reid_ray" not in sys.modules
print(json.dumps([vector.tolist() for vector in vectors]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'm.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


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
def study(leave, server, winner, tmp_path_factory):
    return leave(tmp_path_factory.mktemp("left"), trials=1, uri=server, winner=winner)


def test_the_report_comes_back_byte_for_byte(study, tmp_path: Path) -> None:
    fetched = fetch_study(study.uri, "quickstart", tmp_path / "fetched")
    assert fetched.problems == ()
    page = write_report(fetched.record, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in page.parent.iterdir()} == study.report_bytes()


def test_the_winner_loads_without_pickle_or_this_package_and_gives_timms_vectors(
    study, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)
    np.save(tmp_path / "photo.npy", pixels)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": ""}
    command = [sys.executable, "-c", _PREDICT, study.uri]
    told = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    model = timm.create_model(
        f"local-dir:{study.folder.winner_path}", pretrained=True, num_classes=0
    ).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        features = model(prepare(Image.fromarray(pixels))[None])[0].numpy()
    expected = features / np.linalg.norm(features)
    for vector in json.loads(told.stdout.splitlines()[-1]):
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_copying_again_registers_no_second_version(study) -> None:
    store = Store.open(study.uri, study="quickstart", artifacts=study.report)
    store.sync_summary(study.folder, report=study.report, description="again")
    (version,) = store.client.search_model_versions("name = 'quickstart'")
    winner = study.folder.load().study["winner"]
    run = store.client.get_run(version.run_id)
    assert run.data.tags["reid_ray.trial"] == winner
    assert run.data.tags["reid_ray.chosen"] == "true"
    made = [f"models:/{item.model_id}" for item in run.outputs.model_outputs]
    assert made == [version.source]
    assert "load_model" in version.description
