"""The task for SkyPilot does what it says, as far as shows without a cloud: its own script is a stand-in."""

import subprocess
from pathlib import Path

import pytest
import yaml
from cluster_files import CLUSTER

TASK = yaml.safe_load((CLUSTER / "skypilot.yaml").read_text())


def run(folder: Path, part: str, **variables: str) -> list[str]:
    """What is called, a line each, on one machine."""
    said = folder / "said"
    programs = {
        folder / "sky_templates/ray/start_cluster": 'echo "cluster, token $RAY_AUTH_TOKEN, $RAY_AUTH_MODE"',
        folder / "bin/python": 'echo "$RAY_ADDRESS $@"',
        folder / "bin/uv": 'echo "uv $@"',
        folder / "bin/curl": "echo curl; exit 1",
    }
    for path, text in programs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\n{{ {text}; }} >> "{said}"\n')
        path.chmod(0o755)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), **variables}
    subprocess.run(["bash", "-c", TASK[part]], env=environment, cwd=folder, check=True)
    return said.read_text().splitlines()


def test_each_machine_starts_ray_with_the_token_and_the_first_studies(tmp_path: Path) -> None:
    given = {"STUDY": "my study.yaml", "STORAGE": "s3://mine", "RAY_AUTH_TOKEN": "secret"}
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
    first, second = (run(tmp_path / rank, "run", SKYPILOT_NODE_RANK=rank, **given) for rank in ("0", "1"))
    assert second == ["cluster, token secret, token"]
    words = "-m reid_ray.tune my study.yaml --set storage=s3://mine/runs --set reports=s3://mine/reports"
    assert first == [*second, f"127.0.0.1:6379 {words}"]


def test_a_machine_that_has_uv_does_not_fetch_it(tmp_path: Path) -> None:
    assert run(tmp_path, "setup") == ["uv sync --no-dev"]


@pytest.mark.parametrize("name", ["STORAGE", "RAY_AUTH_TOKEN"])
def test_what_has_no_default_must_be_given(name: str) -> None:
    """SkyPilot refuses a task with a variable that is null."""
    assert (TASK["envs"] | TASK["secrets"])[name] is None
