"""Processes to be killed, and the record of what was lost."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Record = Callable[..., None]


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
