"""Let one machine at a time work on a study in object storage.

In: the place of a study. Out: a lock, an object beside it that its holder writes anew every few seconds.

It is made by a put that succeeds only where there is none (`If-None-Match: *`), and kept and taken over by
puts that succeed only on the object that was seen last (`If-Match`). No clocks are compared: who finds it
held watches whether it changes, and takes it over after `stale_s` in which it did not. A holder that could
not write it for `lost_s`, which is less, stops before that.
"""

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import GCSStore, S3Store
from pyarrow import fs

from reid_ray.errors import StorageError
from reid_ray.runs.storage import address, remote

_FREE = ""
"""What a lock that was given back says of its holder."""
_NO_TAG = '"00000000000000000000000000000000"'


@dataclass(frozen=True)
class Pace:
    """Seconds between two writes of a holder; after which it gives up; after which others take over."""

    beat_s: float = 15.0
    lost_s: float = 40.0
    stale_s: float = 60.0


class ObjectLock:
    """The lock of one study. Made by `take`, ended by `release`.

    Attributes:
        lost: why it is not ours any more, as a sentence; "" while it is.
    """

    def __init__(self, store: S3Store | GCSStore, key: str, study: Path, pace: Pace) -> None:
        self.lost = ""
        self.study = study
        self._store, self._key, self._pace = store, key, pace
        self._token = uuid.uuid4().hex
        self._count = 0
        self._tag = ""
        self._began = self._written = 0.0
        self._one_at_a_time = threading.RLock()
        self._ended = threading.Event()

    @property
    def where(self) -> str:
        return address(self.study)

    def acquire(self, say: Callable[[str], None], busy: str) -> bool:
        """Whether it is ours; False where the storage does not know conditional puts.

        Raises:
            StorageError: another process holds it, or it cannot be written.
        """
        try:
            if not (self._create() or self._take_over(say)):
                raise StorageError(refusal(busy, self.study.name, self._seen()[1]))
            if not self._conditions_are_known():
                obstore.delete(self._store, self._key)
                return False
        except (BaseError, OSError) as error:
            if _is_unknown(error):
                return False
            raise StorageError(
                f"{self.where}: cannot be locked ({_first_line(error)}); check the storage, its keys in the "
                "environment, and that they may write there"
            ) from None
        threading.Thread(target=self._keep, name="lock", daemon=True).start()
        return True

    def check(self) -> None:
        """Before something is written to the study.

        Raises:
            StorageError: it is not ours any more.
        """
        if not self.lost and _now() - self._written > self._pace.lost_s:  # this process was halted
            self._beat()
        if self.lost:
            raise StorageError(self.lost)

    def release(self) -> None:
        """Give it back, unless it is another's; the next start need not wait."""
        self._ended.set()
        with self._one_at_a_time:
            if not self.lost:
                with suppress(BaseError, OSError):  # it is stale soon anyhow
                    self._put(_FREE, {"e_tag": self._tag})

    def _create(self) -> bool:
        try:
            self._put(me(), "create")
        except AlreadyExistsError:
            return self._is_mine()
        return True

    def _take_over(self, say: Callable[[str], None]) -> bool:
        """Whether it was free or nobody wrote it any more, and is ours now."""
        tag, holder = self._seen()
        if holder != _FREE:
            say(
                f"{self.where} is locked by {holder}; for {self._pace.stale_s:.0f} s it is watched whether "
                "that still runs"
            )
            until = _now() + self._pace.stale_s
            while _now() < until:
                time.sleep(self._pace.beat_s / 3)
                changed, holder = self._seen()
                if changed != tag:
                    if holder != _FREE:
                        return False
                    tag = changed
                    break
        try:
            self._put(me(), {"e_tag": tag})
        except PreconditionError:
            return self._is_mine()
        return True

    def _conditions_are_known(self) -> bool:
        """Whether puts that must fail do, on what was just written; some servers ignore the conditions."""
        content = _content(self._token, self._count, me())
        try:
            obstore.put(self._store, self._key, content, mode="create")
            return False
        except AlreadyExistsError:
            pass
        try:
            obstore.put(self._store, self._key, content, mode={"e_tag": _NO_TAG})
            return False
        except PreconditionError:
            return True

    def _keep(self) -> None:
        while not self._ended.wait(self._pace.beat_s):
            self._beat()
            if self.lost:
                with self._one_at_a_time:
                    if not self._ended.is_set():  # as Ctrl-C would, which ends each phase in order
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    def _beat(self) -> None:
        with self._one_at_a_time:
            if self.lost or self._ended.is_set():
                return
            try:
                self._write_again()
            except (BaseError, OSError) as error:
                if _now() - self._written > self._pace.lost_s:
                    self.lost = (
                        f"{self.where}: its lock could not be written for {self._pace.lost_s:.0f} s "
                        f"({_first_line(error)}), so another machine may work on it; stopped. When the "
                        "storage answers again, the same command goes on"
                    )

    def _write_again(self) -> None:
        try:
            self._put(me(), {"e_tag": self._tag})
        except PreconditionError:
            if not self._is_mine():
                self.lost = (
                    f"{self.where}: {self._seen()[1] or 'another process'} took the study over, as this one "
                    "did not write its lock in time; stopped, nothing more is written here"
                )

    def _put(self, holder: str, mode: Any) -> None:
        self._began = _now()  # who watches begins to count later
        self._count += 1
        content = _content(self._token, self._count, holder)
        result = obstore.put(self._store, self._key, content, mode=mode)
        self._tag, self._written = result["e_tag"] or "", self._began

    def _is_mine(self) -> bool:
        """Whether a put that seemed to fail was written all the same: its answer was lost."""
        found = obstore.get(self._store, self._key)
        mine = bytes(found.bytes()) == _content(self._token, self._count, me())
        if mine:
            self._tag, self._written = found.meta["e_tag"] or "", self._began
        return mine

    def _seen(self) -> tuple[str, str]:
        """Its ETag, and who holds it."""
        found = obstore.get(self._store, self._key)
        try:
            holder = json.loads(bytes(found.bytes()))["holder"]
        except (ValueError, KeyError, TypeError):
            holder = None
        return found.meta["e_tag"] or "", holder if isinstance(holder, str) else "another process"


_held: list[ObjectLock] = []


def take(
    study: Path, *, busy: str, say: Callable[[str], None], pace: Pace | None = None
) -> ObjectLock | None:
    """Hold the lock of a study in object storage; None where it is in no such, or there can be none.

    Args:
        busy: what is said of the study's name where another process has it.
        say: told while it is watched whether a holder is alive, and where there can be no lock.

    Raises:
        StorageError: another process has it, or it cannot be written.
    """
    at = remote(study.with_name(f".{study.name}.lock"))
    if at is None:
        return None
    bucket, _, key = at.key.partition("/")
    store = _store(at.filesystem, bucket)
    lock = None if store is None else ObjectLock(store, key, study, pace or Pace())
    if lock is None or not lock.acquire(say, busy):
        say(
            f"{address(study)}: this storage knows no conditional puts (If-None-Match, If-Match), so nothing "
            "keeps two machines from running this study at once; see to it that only one does"
        )
        return None
    _held.append(lock)
    return lock


def give_back(lock: ObjectLock) -> None:
    """The end of `take`."""
    _held.remove(lock)
    lock.release()


def refuse_if_lost(path: Path) -> None:
    """To be called before an object is written.

    Raises:
        StorageError: this process held the study of `path`, and another may hold it now.
    """
    for lock in _held:
        if path.is_relative_to(lock.study):
            lock.check()


def _store(filesystem: fs.FileSystem, bucket: str) -> S3Store | GCSStore | None:
    patience: dict[str, Any] = {
        "client_options": {"timeout": "10s", "connect_timeout": "5s"},
        "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
    }
    if isinstance(filesystem, fs.GcsFileSystem):
        return GCSStore(bucket, **patience)
    if not isinstance(filesystem, fs.S3FileSystem):
        return None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        patience["endpoint"] = endpoint
        patience["client_options"]["allow_http"] = endpoint.startswith("http://")
    if "AWS_ACCESS_KEY_ID" not in os.environ and find_spec("boto3"):  # knows profiles, as pyarrow does
        from obstore.auth.boto3 import Boto3CredentialProvider

        patience["credential_provider"] = Boto3CredentialProvider()
    return S3Store(bucket, region=filesystem.region, **patience)


def _content(token: str, count: int, holder: str) -> bytes:
    return json.dumps({"holder": holder, "token": token, "count": count}).encode()


def me() -> str:
    """This process, for whoever finds its lock."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def refusal(busy: str, name: str, holder: str) -> str:
    """What is said where another process holds a lock."""
    by = holder or "another process"
    return f"{busy.format(name)}, by {by}; wait for it or end it, or give this one another name"


def _is_unknown(error: Exception) -> bool:
    """Whether a server says that it does not know conditional puts."""
    return "501 Not Implemented" in str(error) or "NotImplemented" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
