"""Studies submitted as jobs to a running cluster, with token authentication, a second node and S3."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
import pytest
import yaml
from small_study import study_of

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Head:
    address: str
    gcs: str
    environment: dict[str, str]

    def submit(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "ray"), "job", "submit", "--address", self.address, *arguments]
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False
        )

    def nodes(self) -> int:
        """That are alive and whose agents take jobs; 0 while the cluster does not answer."""
        asked = urllib.request.Request(f"{self.address}/nodes?view=summary", headers=self.token())
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                found = json.load(answer)["data"]["summary"]
        except OSError:
            return 0
        return sum(node["raylet"].get("state") == "ALIVE" and bool(node.get("agent")) for node in found)

    def token(self) -> dict[str, str]:
        made = Path(self.environment["HOME"]) / ".ray" / "auth_token"
        return {"Authorization": f"Bearer {made.read_text().strip()}"}


def free_ports(count: int) -> list[int]:
    """Above those that Ray gives to its workers (10002 to 19999)."""
    with ExitStack() as stack:
        ports = []
        while len(ports) < count:
            probe = stack.enter_context(closing(socket.socket()))
            probe.bind(("127.0.0.1", 0))
            if probe.getsockname()[1] > 20_000:
                ports.append(probe.getsockname()[1])
        return ports


def make_token(environment: dict[str, str], home: Path) -> dict[str, str]:
    """What README's first two lines for one machine leave behind, in an empty home folder."""
    text = (ROOT / "README.md").read_text()
    [settings, token] = re.findall(r"^(export RAY_AUTH_MODE.*|.*get-auth-token.*)$", text, re.M)
    lines = f"{settings}\n{token.replace('uv run ', '')}\nenv | grep ^RAY_AUTH"
    ran = subprocess.run(
        ["bash", "-ec", lines], cwd=home, env=environment, capture_output=True, text=True, check=True
    )
    made = home / ".ray" / "auth_token"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert len(made.read_text().strip()) >= 32
    return dict(line.split("=", 1) for line in ran.stdout.split())


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[Head]:
    """`ray start --head` on ports of its own, its home folder in a temporary place."""
    gcs, dashboard, agent, agent_grpc, metrics, client = free_ports(6)
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        # `ray start` leaves the `uv run` that it was called from behind; one that a test holds does not.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    environment |= make_token(environment, home)
    # A short path, as socket names in it may have no more than 107 characters.
    with tempfile.TemporaryDirectory(prefix="rj", ignore_cleanup_errors=True) as folder:
        command = [
            str(BIN / "ray"),
            "start",
            "--head",
            "--block",
            "--num-cpus",
            "2",
            "--temp-dir",
            folder,
            "--port",
            str(gcs),
            "--dashboard-port",
            str(dashboard),
            "--dashboard-agent-listen-port",
            str(agent),
            "--dashboard-agent-grpc-port",
            str(agent_grpc),
            "--metrics-export-port",
            str(metrics),
            "--ray-client-server-port",
            str(client),
            "--disable-usage-stats",
        ]
        process = subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", environment)
        try:
            wait_until(lambda: started.nodes() == 1)
            yield started
        finally:
            kill(process.pid)  # asked to end, it takes half a minute
            process.wait(60)


def wait_until(ready: Callable[[], bool]) -> None:
    ends = time.monotonic() + 120
    while not ready():
        if time.monotonic() > ends:
            raise TimeoutError("the cluster takes no jobs, or a node does not come")
        time.sleep(1)


def submit_study(head: Head, folder: Path, **places: str) -> subprocess.CompletedProcess[str]:
    """Two trials and SIFT."""
    study = study_of(
        folder,
        grid={
            "backbones": ["test_resnet"],
            "lrs": [0.05, 0.02],
            "triplet": None,
            "arcface": {"margins_rad": [0.25], "scales": [16.0]},
        },
        baselines={"matching": [{"name": "SIFT"}]},
        fusion=[],
        scaling={"confirmation_workers": 0},
        **places,
    )
    config = folder / "small.yaml"
    config.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    ended = head.submit("--", "python", "-m", "reid_ray.tune", str(config), cwd=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def alone(head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and output of the study on the head, the only node."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, submit_study(head, folder).stdout


def test_a_bare_submission_runs_the_study_where_the_package_is_installed(alone: tuple[Path, str]) -> None:
    folder, told = alone
    assert "Best on seen animals" in told
    assert "cluster of 1 node(s): 2 CPUs" in told
    assert (folder / "reports" / "small" / "index.html").exists()


def test_a_study_kept_in_s3_outlives_its_second_node_and_answers_as_one_node_did(
    head: Head, alone: tuple[Path, str], tmp_path: Path
) -> None:
    bucket = (
        boto3.Session("key", "secret", region_name="us-east-1")
        .resource("s3", endpoint_url=head.environment["AWS_ENDPOINT_URL"])
        .create_bucket(Bucket="nodes")
    )
    # While the head is busy, only the second node has room for a trial.
    busy = tmp_path / "busy"
    busy.touch()
    wait = f"while [ -e {busy} ]; do sleep 0.2; done"
    head.submit("--no-wait", "--entrypoint-num-cpus", "2", "--", "sh", "-c", wait, cwd=ROOT)
    with second_node(head) as node:
        wait_until(lambda: head.nodes() == 2)
        killing = Killing(node.pid, busy)
        killing.start()
        told = submit_study(head, tmp_path, storage="s3://nodes/runs", reports="s3://nodes/reports").stdout
    assert "cluster of 2 node(s): 4 CPUs" in told
    assert killing.in_the_midst, killing.titles
    objects = {one.key: one.get()["Body"].read() for one in bucket.objects.filter(Prefix="runs/")}
    there = {Path(key).relative_to("runs"): data for key, data in objects.items()}
    here = {
        path.relative_to(alone[0] / "runs"): path.read_bytes()
        for path in (alone[0] / "runs" / "small").rglob("*")
        if path.is_file()
    }
    # Answers and figures of two trials, the untrained network and SIFT; chance's figures.
    assert len(figures(here)) == 9
    assert figures(there) == figures(here)


@contextmanager
def second_node(head: Head) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(BIN / "ray"), "start", "--address", head.gcs, "--num-cpus", "2", "--block"]
    process = subprocess.Popen(
        command, env=head.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        kill(process.pid)
        process.wait(20)


def kill(pid: int) -> None:
    """A process and all that it has started."""
    with suppress(psutil.Error):
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with suppress(psutil.Error):
                process.kill()


class Killing(threading.Thread):
    """Kills a node as soon as it has a trial, and then removes a file.

    Attributes:
        in_the_midst: whether it had one.
        titles: of the node's processes.
    """

    def __init__(self, pid: int, busy: Path) -> None:
        super().__init__(daemon=True)
        self._pid, self._busy = pid, busy
        self.in_the_midst = False
        self.titles: set[str] = set()

    def run(self) -> None:
        while not self.in_the_midst and psutil.pid_exists(self._pid):
            for process in psutil.Process(self._pid).children(recursive=True):
                with suppress(psutil.Error):
                    self.titles.add(title := (process.cmdline() or [""])[0])
                    if title.startswith("ray::ImplicitFunc"):
                        self.in_the_midst = True
            time.sleep(0.02)
        kill(self._pid)
        self._busy.unlink()


def figures(study: dict[Path, bytes]) -> dict[str, object]:
    """Of a study's files, what does not depend on how long things took."""
    found: dict[str, object] = {}
    for path, data in study.items():
        if path.parts[1:2] != ("methods",):  # MLflow has copies
            continue
        if path.name == "predictions.parquet":
            found[str(path)] = data
        if path.name == "result.json":
            result = json.loads(data)
            found[str(path)] = result["method"], result["status"], result["metrics"]
    return found


def test_a_copied_folder_brings_its_own_code_and_results_go_home(head: Head) -> None:
    ended = head.submit(
        "--working-dir",
        str(ROOT),
        "--",
        "python",
        "-c",
        "import reid_ray; from reid_ray.config.named import results_folder; "
        "print('code', reid_ray.__file__); print('results', results_folder('runs'))",
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = dict(line.split(" ", 1) for line in ended.stdout.splitlines() if " " in line)
    assert "working_dir_files" in told["code"]
    assert told["results"] == f"{head.environment['HOME']}/reid_ray/runs"


def test_a_failing_command_fails_the_job(head: Head, tmp_path: Path) -> None:
    ended = head.submit("--", "python", "-m", "reid_ray.tune", "nothing", cwd=tmp_path)
    assert ended.returncode == 1
    assert "no config named 'nothing' for tune" in ended.stdout


def test_a_request_without_the_token_is_refused(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{head.address}/api/jobs/", timeout=10)
    assert refused.value.code == 401
