"""What is allotted is the least of what any level says; files are as Linux and SLURM write them."""

import os
from pathlib import Path

import psutil
import pytest

from reid_ray import allotted

GIB = 2**30
HERE = len(os.sched_getaffinity(0))


def groups(folder: Path, own: str, files: dict[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own").write_text(own)
    return {"cgroups": folder, "own": folder / "own"}


JOB = "system.slice/slurmstepd.scope/job_7"


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (
            f"0::/{JOB}/step_0/user/task_0\n",
            {f"{JOB}/memory.max": f"{GIB}\n", f"{JOB}/step_0/memory.max": "max\n"},
        ),
        ("0::/\n", {"memory.max": f"{GIB}\n"}),
        (
            "11:memory:/slurm/uid_1/job_7/step_0\n4:cpu,cpuacct:/slurm\n",
            {"memory/slurm/uid_1/job_7/memory.limit_in_bytes": f"{GIB}\n"},
        ),
        ("", {"memory/memory.limit_in_bytes": f"{GIB}\n"}),
    ],
    ids=["slurm, version 2", "container, version 2", "slurm, version 1", "container, version 1"],
)
def test_the_limit_of_any_level_holds(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    assert allotted.memory(**groups(tmp_path, own, files)) == GIB


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    found = groups(tmp_path, f"0::/{JOB}\n", {f"{JOB}/memory.max": "max\n", f"{JOB}/cpu.max": "max 100000\n"})
    assert allotted.memory(**found) == psutil.virtual_memory().total
    assert allotted.cpus({}, **found) == HERE
    assert allotted.memory(cgroups=tmp_path / "none", own=tmp_path / "none") == psutil.virtual_memory().total


def test_cpus_are_those_of_the_quota_the_affinity_and_slurm(tmp_path: Path) -> None:
    one = groups(tmp_path / "2", f"0::/{JOB}/step_0\n", {f"{JOB}/cpu.max": "150000 100000\n"})
    assert allotted.cpus({}, **one) == 1
    old = {"cpu/job/cpu.cfs_quota_us": "100000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}
    assert allotted.cpus({}, **groups(tmp_path / "1", "4:cpu,cpuacct:/job\n", old)) == 1
    free = groups(tmp_path / "0", "0::/\n", {})
    assert allotted.cpus({"SLURM_CPUS_PER_TASK": "1"}, **free) == 1
    assert allotted.cpus({"SLURM_CPUS_PER_TASK": "999"}, **free) == HERE
    assert allotted.cpus({}, **groups(tmp_path / "3", "0::/\n", {"cpu.max": "20000 100000\n"})) == 1


@pytest.mark.skipif(HERE < 2, reason="one CPU cannot be divided")
def test_a_process_that_is_tied_to_one_cpu_has_one(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert allotted.cpus({}, **groups(tmp_path, "", {})) == 1
    finally:
        os.sched_setaffinity(0, before)
