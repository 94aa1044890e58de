"""Processes to be killed, disks to be filled, and the record of what was lost."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

Record = Callable[..., None]


def write_record(fault: str, how: str, *, tried: int, survived: int, **lost: Any) -> None:
    """Write a line of `reports/faults.md`, if $FAULT_RECORDS names the file for it.

    Called when a test has seen that everything was kept, with what was lost: `epochs`, `pairs`, `trials`;
    `doubled`: missing or done twice.
    """
    assert survived == tried
    line = {"fault": fault, "how": how, "tried": tried, "survived": survived, **lost}
    if path := os.environ.get("FAULT_RECORDS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@contextmanager
def forked(work: Callable[[], Any]) -> Iterator[int]:
    """The id of a copy of this process that does `work` and ends; it is killed with the block."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    try:
        yield child
    finally:
        if not ended(child, wait=False):
            os.kill(child, signal.SIGKILL)
            ended(child)


def ended(child: int, *, wait: bool = True) -> bool:
    """Whether a forked process has ended (and was taken leave of)."""
    try:
        return os.waitpid(child, 0 if wait else os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


@contextmanager
def mounted(folder: Path, *, kib: int, names: int = 64) -> Iterator[Path]:
    """A disk of its own, of so many KiB and names."""
    folder.mkdir()
    size = f"size={kib}k,nr_inodes={names}"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left of it; returns the file that has it."""
    path = disk / "filling"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path
