"""Say how much of this machine is ours: what a batch system or a container allots, not what is there."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import psutil

CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpus(environment: Mapping[str, str] = os.environ, *, cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """CPUs that this process may use, at least 1: the least of its affinity, the quota of its control group,
    and what SLURM gave to the task.
    """
    found = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    given = environment.get("SLURM_CPUS_PER_TASK", "")
    if given.isdecimal():
        found.append(int(given))
    for folder in _groups("cpu", cgroups, own):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        quota = quota or _text(folder / "cpu.cfs_quota_us")
        period = period or _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            found.append(int(quota) // int(period))
    return max(1, min(found))


def memory(*, cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """Bytes that this process and its children may use together: the least limit of its control groups,
    or all there is.
    """
    found = [int(psutil.virtual_memory().total)]
    for folder in _groups("memory", cgroups, own):
        texts = [_text(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        found += [int(text) for text in texts if text.isdecimal()]
    return min(found)


def _groups(controller: str, cgroups: Path, own: Path) -> Iterator[Path]:
    """Folders of the process's control group and all above it, of version 2 and of version 1.

    A job's limit may stand at any level: SLURM's is that of the job, below which are a step and a task.
    """
    for line in _text(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        home = cgroups / controller if controllers else cgroups
        for part in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield home / str(part).strip("/")
    yield from (cgroups, cgroups / controller)  # of a container, which sees itself as the whole machine


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
