"""Reach the files of a collection, local or behind a URI, without ever leaving its root.

In: a root (folder, `file://`, `s3://`, `gs://`) and a relative path. Out: bytes, or why there are
none.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlparse

from pyarrow import fs

from reid_ray.errors import DatasetError, StorageError
from reid_ray.runs.storage import open_filesystem

MAX_BYTES = 1 << 29
"""A larger file is no photo; reading it would only fill the memory."""

HIDDEN = ("@eaDir",)
"""Folders that storage boxes put beside photos; names that begin with a dot are hidden as well."""


class Root(Protocol):
    """Where the files of one collection are."""

    @property
    def text(self) -> str:
        """How the rows name this root."""
        ...

    def exists(self) -> bool: ...

    def files(self) -> Iterator[str]:
        """Relative POSIX paths of all files that are not hidden, sorted within each folder.

        A folder that is not entered, as it is a link or may not be read, is given with a `/` at its end.
        """
        ...

    def fault(self, path: str) -> str | None:
        """Why `path` cannot be a photo of this collection; None if it can."""
        ...

    def read(self, path: str) -> bytes:
        """The file's bytes; OSError or ValueError with the reason if there are none."""
        ...


def open_root(root: str) -> Root:
    """The collection's root: a local folder unless it is a URI of another scheme."""
    scheme = root.partition("://")[0] if "://" in root else ""
    if not scheme:
        return LocalRoot(str(Path(root).expanduser().resolve()))
    if scheme == "file":
        return LocalRoot(str(Path(unquote(urlparse(root).path)).resolve()))
    try:
        filesystem, base = open_filesystem(root)
    except StorageError as error:
        raise DatasetError(str(error)) from None
    return RemoteRoot(root.rstrip("/"), filesystem, base.rstrip("/"))


def hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def path_fault(path: str) -> str | None:
    """What the text of a relative path alone already forbids."""
    if not path:
        return "no path"
    if "\0" in path:
        return "path contains a NUL character"
    if path.startswith(("/", "\\")) or path[1:3] in (":/", ":\\"):
        return "path is absolute; expected one relative to the root"
    if ".." in PurePosixPath(path.replace("\\", "/")).parts:
        return "path leaves the root"
    return None


def _size_fault(size: int) -> str | None:
    if size == 0:
        return "empty file"
    return f"file of {size} bytes is too large for a photo" if size > MAX_BYTES else None


def _missing(path: str) -> str:
    return "missing file" + (" (paths are written with /, not \\)" if "\\" in path else "")


@dataclass(frozen=True)
class LocalRoot:
    """A folder of this machine; `text` is absolute and free of links."""

    text: str
    _parents: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def exists(self) -> bool:
        return os.path.isdir(self.text)

    def files(self) -> Iterator[str]:
        closed: list[str] = []
        walk = os.walk(self.text, onerror=lambda error: closed.append(error.filename))
        for folder, folders, names in walk:
            folders[:] = sorted(name for name in folders if not hidden(name))
            linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            closed += [os.path.join(folder, name) for name in linked]
            for name in sorted(name for name in names if not hidden(name)):
                yield self._relative(os.path.join(folder, name))
        for folder in closed:
            yield self._relative(folder) + "/"

    def _relative(self, full: str) -> str:
        return os.path.relpath(full, self.text)

    def fault(self, path: str) -> str | None:
        if fault := path_fault(path):
            return fault
        try:
            full = os.path.join(self._real_parent(os.path.dirname(path)), os.path.basename(path))
            found = os.lstat(full)
            if stat.S_ISLNK(found.st_mode):
                full = os.path.realpath(full, strict=True)
                found = os.stat(full)
            if not full.startswith(self.text.rstrip("/") + "/"):
                return "path leaves the root through a link"
        except (FileNotFoundError, NotADirectoryError):
            return _missing(path)
        except (OSError, ValueError) as error:
            return f"cannot be reached: {getattr(error, 'strerror', None) or error}"
        return _size_fault(found.st_size) if stat.S_ISREG(found.st_mode) else "not a regular file"

    def _real_parent(self, parent: str) -> str:
        """Links resolved once per folder, not once per photo."""
        if parent not in self._parents:
            self._parents[parent] = os.path.realpath(os.path.join(self.text, parent), strict=True)
        return self._parents[parent]

    def read(self, path: str) -> bytes:
        if fault := self.fault(path):
            raise ValueError(fault)
        # Non-blocking, so that a pipe put there meanwhile cannot hang the run.
        handle = os.open(os.path.join(self.text, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("not a regular file")
            return file.read(min(found.st_size, MAX_BYTES))  # takes memory for as much as is asked for


@dataclass(frozen=True)
class RemoteRoot:
    """A folder of object storage; its files are listed once, then known by size."""

    text: str
    filesystem: fs.FileSystem
    base: str
    _sizes: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    def exists(self) -> bool:
        return bool(self.filesystem.get_file_info(self.base).type == fs.FileType.Directory)

    def files(self) -> Iterator[str]:
        for path in sorted(self._listing()):
            if not any(map(hidden, path.split("/"))):
                yield path

    def fault(self, path: str) -> str | None:
        if fault := path_fault(path):
            return fault
        size = self._listing().get(str(PurePosixPath(path)))
        return _missing(path) if size is None else _size_fault(size)

    def _listing(self) -> dict[str, int]:
        if not self._sizes:
            selector = fs.FileSelector(self.base, recursive=True)
            for info in self.filesystem.get_file_info(selector):
                if info.type == fs.FileType.File:
                    self._sizes[info.path.removeprefix(self.base).lstrip("/")] = info.size
        return self._sizes

    def read(self, path: str) -> bytes:
        if fault := path_fault(path):
            raise ValueError(fault)
        with self.filesystem.open_input_file(f"{self.base}/{PurePosixPath(path)}") as file:
            if fault := _size_fault(file.size()):
                raise ValueError(fault)
            return bytes(file.read())
