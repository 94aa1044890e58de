"""Start a Ray on this machine that nobody else can reach, and remove what it leaves.

Others may use the machine: files lie in a folder that only its user enters, a token guards the ports, and
these listen on loopback (see `reid_ray.on_ray`).
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import psutil

from reid_ray import allotted

_LONGEST = 40
"""Of the temporary folder's name: Ray adds some 60 characters, and sockets may have 107."""
_REMOVED_WITHIN_S = 10.0
_STORE, _WORK = 0.3, 0.9
"""Shares of memory for shared objects, and for these and processes together, as Ray divides it."""


@contextmanager
def private_ray() -> Iterator[None]:
    """Ray runs once this is entered. Who leaves it has shut Ray down; its files go then."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=_short_folder()))  # of mode 0700
    port = _free_port()
    environment: dict[str, str | None] = {
        # Unset, Ray sets it to `token`, for itself too; set by us, it would have been read too early.
        "RAY_AUTH_MODE": None,
        "TMPDIR": str(folder),  # of Ray's processes, which leave files there as well
        # Trials talk to their own Ray's API server, not to another one on this machine.
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}",
        "RAY_AUTH_TOKEN": _token(),
    }
    before = {name: os.environ.get(name) for name in environment}
    _set_environment(environment)
    try:
        ray.init(
            address="local",
            **_allotted(),
            dashboard_port=port,
            include_dashboard=True,  # without it, a stopped nested trial keeps its reserved resources
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder / "r"),  # Ray opens its folder to all, not the one around it
        )
        yield
    finally:
        _set_environment(before)
        _remove(folder)


def _allotted() -> dict[str, int]:
    """What Ray is told of this machine where we may not use all of it, as in a batch job; Ray looks at
    containers alone.
    """
    found: dict[str, int] = {"num_cpus": allotted.cpus()}
    memory = allotted.memory()
    if memory < psutil.virtual_memory().total:
        store = int(memory * _STORE)
        found |= {"object_store_memory": store, "_memory": int(memory * _WORK) - store}
    return found


def guard_token_file() -> None:
    """Ray writes its token for `ray start` readable by all; whoever has it can run any code as us."""
    path = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # not there, or not ours
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _set_environment(values: Mapping[str, str | None]) -> None:
    """Set these variables; None takes one away."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@lru_cache(maxsize=1)
def _token() -> str:
    """One per process: Ray reads it once, whatever is started later."""
    return secrets.token_hex(32)


def _short_folder() -> str | None:
    return None if len(tempfile.gettempdir()) <= _LONGEST else "/tmp"


def _remove(folder: Path) -> None:
    """Processes that end just now may still write into it."""
    until = time.monotonic() + _REMOVED_WITHIN_S
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
