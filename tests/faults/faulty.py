"""Processes to be killed, and the record of what was lost."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
