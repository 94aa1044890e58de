"""Write files whole or not at all, on disk or in object storage.

A reader sees the old file or the new one, never a half. On disk it is written beside, flushed and then
renamed; an object appears when all of it is there. A path in the mirror of an object storage
(see `reid_ray.runs.storage`) is read and written there, and nowhere else unless it says so.
"""

import fcntl
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import fs

from reid_ray.errors import StorageError
from reid_ray.runs.object_lock import refuse_if_lost
from reid_ray.runs.storage import Remote, address, remote

_AT_ONCE = 16
"""Objects under way when a whole folder is copied."""
_LOCKS = 64


class Entry(NamedTuple):
    """Size in bytes, and time of the last change in seconds since 1970."""

    size: int
    changed: float


def read_bytes(path: Path) -> bytes:
    """The whole content.

    Raises:
        OSError: as reading a file does; FileNotFoundError where there is none.
    """
    at = remote(path)
    if at is None:
        return path.read_bytes()
    with at.filesystem.open_input_file(at.key) as file:
        return bytes(file.read())


def write_bytes(path: Path, *parts: bytes | memoryview, keep: bool = False) -> None:
    """Atomically replace `path` with `parts`, one after another; parent folders are made.

    Args:
        keep: of an object, also leave a copy on this machine, where `mapped` finds it.
    """
    at = remote(path)
    if at is not None:
        refuse_if_lost(path)
    try:
        if at is None or keep:
            _write(path, *parts)
        if at is not None:
            _put(at, *parts)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{address(path)}: cannot be written ({error}); check space and permissions")


def _write(path: Path, *parts: bytes | memoryview) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def _put(at: Remote, *parts: bytes | memoryview) -> None:
    _make_parent(at)
    with at.filesystem.open_output_stream(at.key) as stream:
        for part in parts:
            stream.write(part)


def _make_parent(at: Remote) -> None:
    if not isinstance(at.filesystem, fs.S3FileSystem | fs.GcsFileSystem):  # these have no folders
        at.filesystem.create_dir(at.key.rpartition("/")[0], recursive=True)


def exists(path: Path) -> bool:
    """Whether there is such a file."""
    at = remote(path)
    if at is None:
        return path.is_file()
    return bool(at.filesystem.get_file_info(at.key).type == fs.FileType.File)


def remove(path: Path) -> None:
    """Delete a file, also its copy on this machine; nothing happens where there is none."""
    at = remote(path)
    path.unlink(missing_ok=True)
    if at is not None:
        with suppress(FileNotFoundError):
            at.filesystem.delete_file(at.key)


def entries(folder: Path) -> dict[str, Entry]:
    """The files right in a folder by name, sorted; none where there is no folder."""
    at = remote(folder)
    if at is None:
        found = {}
        for path in folder.glob("*"):
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[path.name] = Entry(path.stat().st_size, path.stat().st_mtime)
    else:
        selector = fs.FileSelector(at.key, allow_not_found=True)
        found = {
            info.base_name: Entry(info.size, (info.mtime_ns or 0) / 1e9)
            for info in at.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        }
    return dict(sorted(found.items()))


def append(path: Path, text: str) -> None:
    """Add to the end of a text file that one process writes; parent folders are made."""
    at = remote(path)
    if at is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _unwritable(path, error) from error
        return
    before = b""
    with suppress(FileNotFoundError):
        before = read_bytes(path)
    write_bytes(path, before, text.encode())


def mapped(path: Path) -> Path:
    """A file of this machine with the content of one that never changes; fetched once per machine.

    Raises:
        OSError: there is none, or no room for it.
    """
    if remote(path) is None or path.exists():
        return path
    with _lock(path):
        return path if path.exists() else fetched(path)


def fetched(path: Path) -> Path:
    """A file of this machine with the newest content.

    Raises:
        OSError: there is none, or no room for it.
    """
    if remote(path) is not None:
        _write(path, read_bytes(path))
    return path


def kept(path: Path) -> Path:
    """A file, or a folder without what is below its folders, on this machine; what has changed since
    it was fetched is fetched again.

    Raises:
        OSError: no room for it.
    """
    if remote(path) is None:
        return path
    found = {path / name: entry for name, entry in entries(path).items()} or {
        path.parent / name: entry for name, entry in entries(path.parent).items() if name == path.name
    }
    for file, entry in found.items():
        with _lock(file):
            if not file.exists() or _differs(file, entry):
                os.utime(fetched(file), (entry.changed, entry.changed))
    return path


def _differs(copy: Path, entry: Entry) -> bool:
    """Whether it is a copy of something older; clocks of this machine and the storage may differ."""
    there = copy.stat()
    return there.st_size != entry.size or abs(there.st_mtime - entry.changed) > 1e-3


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process of this machine at a time for this path, and for some others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = zlib.crc32(path.name.encode()) % _LOCKS
    with (path.parent / f".lock-{number}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch_folder(folder: Path) -> Path:
    """The folder with the newest of everything below it on this machine.

    Raises:
        OSError: no room for it.
    """
    at = remote(folder)
    if at is not None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: fetched(folder / name), at.below()))
    return folder


def publish_folder(folder: Path, *, last: str = "") -> None:
    """Put everything below a folder of this machine into its object storage, if it has one.

    Args:
        last: this file comes after all others: who sees it sees all.
    """
    if remote(folder) is None:
        return
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]

    def publish(path: Path) -> None:
        write_bytes(path, path.read_bytes())

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(publish, [path for path in paths if path.name != last]))
    for path in paths:
        if path.name == last:
            publish(path)


def move_folder(folder: Path, to: Path) -> None:
    """Rename a folder; nothing happens where there is none."""
    at, there = remote(folder), remote(to)
    if folder.exists():
        folder.rename(to)
    if at is not None and there is not None:
        for name in at.below():
            target = Remote(there.filesystem, f"{there.key}/{name}")
            _make_parent(target)
            at.filesystem.move(f"{at.key}/{name}", target.key)


def write_json(path: Path, value: Any) -> None:
    """Atomically write `value` as readable JSON; NaN and infinity are refused."""
    write_bytes(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode())


def read_json(path: Path) -> Any:
    """Read a JSON file, saying which file is damaged."""
    try:
        return json.loads(read_bytes(path))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{address(path)}: cannot be read as JSON ({error}); delete it to have it made again"
        ) from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Atomically write a table as Parquet."""
    write_bytes(path, table.to_parquet(index=False))


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table, saying which file is damaged."""
    try:
        return pd.read_parquet(pa.BufferReader(read_bytes(path)))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{address(path)}: cannot be read as Parquet ({error}); delete it to have it made again"
        ) from None
