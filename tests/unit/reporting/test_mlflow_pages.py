"""MLflow's pages in a real browser, with names that are meant to hurt: they are text there.

Skipped where Chromium is not installed (`apt-get install chromium`).
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import pytest
from test_browser import CHROMIUM, FLAGS

from reid_ray.reporting.closing import summary_text
from reid_ray.reporting.mlflow_store import Store
from reid_ray.reporting.page import write_report
from reid_ray.runs.study import StudyFolder

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))
from faulty import write_record

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")

MARKS = "document.documentElement.dataset.owned=1"
NAMES = (
    f"<script>{MARKS}</script>",
    f"\"'><img src=x onerror={MARKS}>",
    f"[link](javascript:{MARKS}) ![i](x)",
    f"<iframe srcdoc='<script>top.{MARKS}</script>'></iframe>",
    "two\nlines \u202egpj.exe {{7*7}} ${7*7}",
)
STUDY = f"<img src=x onerror={MARKS}>"
"""Of a study: MLflow's own filters take no quotes, and configs allow neither."""


@dataclass(frozen=True)
class Copied:
    """A study of hostile names in an MLflow server."""

    uri: str
    experiment: str
    runs: dict[str, str]


@pytest.fixture(scope="module")
def copied(record, written_to, tmp_path_factory) -> Iterator[Copied]:
    root = tmp_path_factory.mktemp("pages")
    methods = [one for one in record.methods if one.predictions is not None][: len(NAMES)]
    hurt = [
        replace(
            one,
            result=replace(one.result, method=name, scope=name, params={"backbone": name}, note=name),
            predictions=one.predictions.assign(identity=name, dataset=name),
        )
        for one, name in zip(methods, NAMES, strict=True)
    ]
    rows = record.rows.assign(
        identity=[NAMES[place % len(NAMES)] for place in range(len(record.rows))],
        group=NAMES[0],
        dataset=record.rows["dataset"].replace("ZebraSynthetic", NAMES[1]),
    )
    quarantine = pd.DataFrame({name: list(NAMES) for name in ("dataset", "image_id", "path", "reason")})
    study = record.study | {
        "name": STUDY,
        "warnings": list(NAMES),
        "config": {NAMES[0]: NAMES[2]},
        "selected_trial": None,
        "selected": None,
    }
    folder = StudyFolder(root / "runs" / "hostile")
    written_to(replace(record, study=study, rows=rows, quarantine=quarantine, methods=hurt), folder)
    report = write_report(folder.load(), root / "report").parent
    database = f"sqlite:///{root / 'm.db'}"
    store = Store.open(database, study=STUDY, artifacts=root / "artifacts")
    for one in hurt:
        store.sync_method(folder.method(one.result.key))
    store.sync_summary(folder, report=report, description=summary_text(folder.load()))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", database]
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "1",
    }
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health")
        runs = {run.info.run_id: run.info.run_name for run in store.runs()}
        experiment = store.client.get_experiment_by_name(STUDY)
        yield Copied(f"http://127.0.0.1:{port}", experiment.experiment_id, runs)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(address: str) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        with suppress(OSError), urlopen(address, timeout=2):
            return
        time.sleep(0.3)
    pytest.fail("no server within two minutes")


def test_mlflows_pages_show_hostile_names_as_text(copied: Copied) -> None:
    base = f"{copied.uri}/#/experiments"
    of_runs = {f"{base}/{copied.experiment}/runs/{run}": name for run, name in copied.runs.items()}
    pages = {
        base: "<img src=x",
        f"{base}/{copied.experiment}/runs": "<script>",
        **{address: name[:12] for address, name in of_runs.items()},
    }
    seen = ""
    with (
        sync_api.sync_playwright() as play,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        browser = play.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=FLAGS, headless=True
        )
        for address, shown in pages.items():
            page = browser.new_page()
            said: list[str] = []
            page.on("dialog", lambda dialog, said=said: (said.append(dialog.message), dialog.dismiss()))
            page.goto(address)
            page.get_by_text(shown).first.wait_for(timeout=60_000)
            page.wait_for_timeout(500)  # what comes with it is drawn, too
            assert page.evaluate("document.documentElement.dataset.owned") is None, address
            assert page.locator("img[src='x'], iframe[srcdoc*='owned']").count() == 0, address
            assert page.locator("a[href^='javascript:']").count() == 0, address
            assert said == []
            seen += page.inner_text("body")
            page.close()
        browser.close()
    for name in NAMES[:2]:
        assert name[:12] in seen, "the names are there to be seen"
    write_record(
        "MLflow: names that are meant to hurt",
        "its pages in Chromium, of a study with names of scripts, links and turned text",
        tried=len(pages),
        survived=len(pages),
    )
