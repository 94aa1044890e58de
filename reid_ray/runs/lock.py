"""Let only one process at a time work on a study. In: its folder. Out: a lock that dies with its holder."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reid_ray.errors import StorageError


@contextmanager
def only_one(study: Path, *, busy: str = "study {} is being run already") -> Iterator[None]:
    """Hold the lock of a study's folder, or of another, a hidden file beside it, while the block runs.

    The system takes it from a process that ends in any way. Where the storage has no locks, there is
    none.

    Raises:
        StorageError: another process has it; names that process.
    """
    path = study.with_name(f".{study.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}); check storage and its permissions"
        ) from error
    try:
        if not _taken(handle):
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace") or "another process"
            raise StorageError(
                f"{busy.format(study.name)}, by {holder}; wait for it or end it, or give "
                "this one another name"
            )
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    """Less the umask, so that a group may share; one that another user made is locked, not written to."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError as denied:
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise denied from None  # there is none, and none may be made


def _taken(handle: int) -> bool:
    """Whether the lock is ours, or there can be none here."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode(), 0)
    return True
