"""The batch script does what it says, as far as that shows without a cluster: SLURM and uv are stand-ins."""

import os
import re
import subprocess
from pathlib import Path

from ray.scripts.scripts import cli

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "cluster" / "slurm.sbatch"
JOB = {
    "SLURM_JOB_ID": "10007",
    "SLURM_JOB_NODELIST": "gpu[1-4]",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_GPUS_ON_NODE": "2",
    "SLURM_MEM_PER_NODE": "1024",
}


def run(folder: Path, **variables: str) -> tuple[str, str]:
    """What srun is given, and the home folder's token."""
    stand_ins = {
        "scontrol": "echo gpu1; echo gpu2",
        "srun": 'printf "%s " "$@"; echo; env | grep ^RAY_ || true',
        "uv": 'mkdir -p "$HOME/.ray"; echo made > "$HOME/.ray/auth_token"; echo "$@" >> "$HOME/asked"',
    }
    for name, text in stand_ins.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), **JOB, **variables}
    ran = subprocess.run(
        ["bash", SCRIPT, "mine.yaml", "--set", "training.epochs=3"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    token = folder / ".ray" / "auth_token"
    return ran.stdout, token.read_text() if token.exists() else ""


def test_on_one_node_the_study_starts_its_own_ray(tmp_path: Path) -> None:
    given, token = run(tmp_path, SLURM_JOB_NUM_NODES="1")
    told = "--cpus-per-task=8 uv run python -m reid_ray.tune mine.yaml --set training.epochs=3"
    assert given.split() == told.split()
    assert token == ""


def test_on_several_nodes_ray_is_told_what_the_job_has_and_asks_for_a_token(tmp_path: Path) -> None:
    given, token = run(tmp_path, SLURM_JOB_NUM_NODES="4")
    assert "--ntasks=4 --ntasks-per-node=1 --cpus-per-task=8 uv run ray symmetric-run" in given
    assert "--address gpu1:20007 --min-nodes 4 --num-cpus 8 --num-gpus 2" in given
    assert f"--memory {2**30 * 6 // 10} --object-store-memory {2**30 * 3 // 10} " in given
    assert "-- python -m reid_ray.tune mine.yaml --set training.epochs=3" in given
    assert "RAY_AUTH_MODE=token" in given
    assert "RAY_ADDRESS=gpu1:20007" in given
    assert token == "made\n"
    run(tmp_path, SLURM_JOB_NUM_NODES="4")
    assert (tmp_path / "asked").read_text().count("get-auth-token") == 1


def test_ray_knows_the_options() -> None:
    known = {
        command: {option for parameter in cli.commands[command].params for option in parameter.opts}
        for command in ("symmetric-run", "start")
    }
    given = SCRIPT.read_text().partition("ray symmetric-run")[2].partition(" -- ")[0]
    options = set(re.findall(r"--[a-z-]+", given))
    assert {"--address", "--min-nodes", "--num-cpus", "--object-store-memory"} <= options
    for option in options:
        command = "symmetric-run" if option in ("--address", "--min-nodes") else "start"
        assert option in known[command], option


def test_several_nodes_are_said_to_be_exclusive_as_ray_stop_ends_all() -> None:
    said = [line for line in SCRIPT.read_text().splitlines() if "--nodes=4" in line]
    assert all("--exclusive" in line for line in said)
    assert os.access(SCRIPT, os.R_OK)
