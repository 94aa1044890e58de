"""Let only one process at a time work on a study. In: its folder. Out: a lock that dies with its holder.

On disk it is a file that the system locks; in object storage there is also an object (see `object_lock`).
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reid_ray.errors import StorageError
from reid_ray.runs import object_lock


@dataclass(frozen=True)
class Held:
    """What is held while the block runs."""

    remote: object_lock.ObjectLock | None = field(default=None)

    @property
    def lost(self) -> str:
        """Why it was lost in the meantime, which only a lock in object storage can be; "" otherwise."""
        return self.remote.lost if self.remote else ""


@contextmanager
def only_one(
    study: Path,
    *,
    busy: str = "study {} is being run already",
    say: Callable[[str], None] = lambda text: None,
    pace: object_lock.Pace | None = None,
) -> Iterator[Held]:
    """Hold the lock of a study's folder, or of another, a hidden file beside it, while the block runs.

    The system takes it from a process that ends in any way. Where the storage has no locks, there is
    none. If it is lost, which can happen in object storage, the block is interrupted as by Ctrl-C.

    Args:
        say: told why it takes a while, and where object storage has no locks.

    Raises:
        StorageError: another process has it, and is named; or it was lost while the block ran.
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
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace")
            raise StorageError(object_lock.refusal(busy, study.name, holder))
        taken = object_lock.take(study, busy=busy, say=say, pace=pace)
        try:
            yield Held(taken)
        finally:
            if taken is not None:
                object_lock.give_back(taken)
                if taken.lost:
                    raise StorageError(taken.lost) from None
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
        os.pwrite(handle, f"{object_lock.me()} since {now}".encode(), 0)
    return True
