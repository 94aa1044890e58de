"""What can go wrong, as types: every error a user can meet says what was found, expected and what to do."""

import errno


class ReidError(Exception):
    """Base of all errors that are explained to the user in one sentence, without a traceback.

    `exit_code` is what the command returns to the shell: 2 where the user's input is at fault,
    1 where the work itself failed.
    """

    exit_code = 1


class ConfigError(ReidError):
    """A configuration file, key or `--set` override that cannot be used."""

    exit_code = 2


class DatasetError(ReidError):
    """A photo collection that cannot be read, or has too little left once bad rows are quarantined."""

    exit_code = 2


class SplitLeakError(ReidError):
    """Query and reference are not independent, so any score on them would be wrong."""

    exit_code = 2


class WeightsError(ReidError):
    """Model weights that are missing, of another architecture, or damaged."""

    exit_code = 2


class ResourceError(ReidError):
    """The machine or cluster has too little for the work, found out before it starts."""


class StorageError(ReidError):
    """Files of a study that are missing, unreadable or not what they say they are."""


class TrackingError(ReidError):
    """The MLflow store cannot be reached or written."""


class TrialError(ReidError):
    """A trial that ended without a result; the others went on."""


_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or set `storage` and `out` to another disk",
    errno.EDQUOT: "your quota of the disk is used up: free some space, or set `storage` to another disk",
    errno.EROFS: "the disk cannot be written to: set `storage` and `out` to a folder that can",
    errno.EACCES: "not allowed: change its permissions, or choose another folder",
    errno.EPERM: "not allowed: change its permissions, or choose another folder",
    errno.ENOENT: "no such file or folder: check the path, and whether the disk is connected",
    errno.ENOTDIR: "a part of the path is a file and no folder: check the path",
    errno.EISDIR: "a folder where a file was expected: check the path",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EMFILE: "too many open files: raise the limit with `ulimit -n 65536`",
    errno.EADDRINUSE: "the port is used by another program: choose another one with --port",
    errno.ECONNREFUSED: "nothing answers there: check the address, and whether the server runs",
    errno.ETIMEDOUT: "no answer in time: check the address and the network",
    errno.EIO: "the disk reports an error: check that it is connected and sound",
    errno.ENOTCONN: "the network drive is gone: connect it again",
    errno.ESTALE: "the network drive is gone: connect it again",
}
_RAY_IS_SLOW = ("timed out", "timeout", "took too long", "failed to start", "not been started", "gcs")


def explained(error: BaseException) -> str | None:
    """A sentence with the way out for what goes wrong outside of this program; None for its own faults."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _ADVICE:
            where = f"{one.filename}: " if one.filename else ""
            return where + _ADVICE[one.errno]
        if isinstance(one, MemoryError) or type(one).__name__ == "OutOfMemoryError":
            return "out of memory: close other programs, or lower the batch size or the number of workers"
    if _is_of_ray(error) and any(part in str(error).lower() for part in _RAY_IS_SLOW):
        return (
            f"Ray did not start in time ({_first_line(error)}): the machine may be busy, so try again; "
            "`python -m reid_ray.doctor` checks the ports and memory it needs"
        )
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those that led to it."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or getattr(one, "cause", None)
        one = one if isinstance(one, BaseException) else None
    return found


def _is_of_ray(error: BaseException) -> bool:
    """Whether Ray raised it: its own types, or plain ones from inside it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return type(error).__module__.startswith("ray.") or name.startswith("ray.")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
