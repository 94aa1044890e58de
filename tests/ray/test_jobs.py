"""A study submitted as a job to a running cluster, with token authentication."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from test_study import study_of

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Head:
    address: str
    environment: dict[str, str]

    def submit(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "ray"), "job", "submit", "--address", self.address, *arguments]
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False
        )


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


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """`ray start --head` on ports of its own, its home folder in a temporary place."""
    gcs, dashboard, agent, agent_grpc, metrics, client = free_ports(6)
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        # `ray start` leaves the `uv run` that it was called from behind; one that a test holds does not.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(home),
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }  # fmt: skip
    # A short path, as socket names in it may have no more than 107 characters.
    with tempfile.TemporaryDirectory(prefix="rj") as folder:
        command = [
            str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "2",
            "--temp-dir", folder, "--port", str(gcs), "--dashboard-port", str(dashboard),
            "--dashboard-agent-listen-port", str(agent),
            "--dashboard-agent-grpc-port", str(agent_grpc), "--metrics-export-port", str(metrics),
            "--ray-client-server-port", str(client), "--disable-usage-stats",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        started = Head(f"http://127.0.0.1:{dashboard}", environment)
        try:
            wait_for(started)
            yield started
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def wait_for(head: Head) -> None:
    """Until jobs are taken."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        if head.submit("--", "true", cwd=ROOT).returncode == 0:
            return
        time.sleep(2)
    raise TimeoutError("the cluster takes no jobs")


def test_a_bare_submission_runs_the_study_where_the_package_is_installed(
    head: Head, tmp_path: Path
) -> None:
    study = study_of(tmp_path, scaling={"winner_workers": 0}, baselines={"matching": []}, fusion=[])
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    ended = head.submit("--", "python", "-m", "reid_ray.tune", str(config), cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Best on seen animals" in ended.stdout
    assert "cluster of 1 node(s): 2 CPUs" in ended.stdout
    assert (tmp_path / "reports" / "small" / "index.html").exists()


def test_a_copied_folder_brings_its_own_code_and_results_go_home(head: Head) -> None:
    ended = head.submit(
        "--working-dir", str(ROOT), "--", "python", "-c",
        "import reid_ray; from reid_ray.config.named import results_folder; "
        "print('code', reid_ray.__file__); print('results', results_folder('runs'))",
        cwd=ROOT,
    )  # fmt: skip
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
