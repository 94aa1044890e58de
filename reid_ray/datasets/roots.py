"""Reach the files of a collection, local or behind a URI, without ever leaving its root.

In: a root (folder, `file://`, `s3://`, `gs://`) and a relative path. Out: bytes, or why there are
none.
"""

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlparse

from pyarrow import fs

from reid_ray.datasets.kinds import HEAD_BYTES
from reid_ray.errors import DatasetError, StorageError
from reid_ray.runs.storage import open_filesystem

MAX_BYTES = 1 << 29
"""A larger file is no photo; reading it would only fill the memory."""

_ASKED_AT_ONCE = 16
"""Files of object storage that are asked for at once."""

HIDDEN = frozenset({"@eadir", "thumbs.db", "desktop.ini", "__macosx"})
"""What systems and storage boxes put beside photos, in lower case; names that begin with a dot, or as
those of files open in Office with `~$`, are hidden as well."""

BINS = frozenset(
    {
        *("#recycle", "$recycle.bin", "@recycle", "@recycle.bin", "recycler", "recycled", "recycle bin"),
        *("_trash", "trash", "trashed", "deleted", "_deleted", "found.000", "lost+found", "#snapshot"),
        *("system volume information", "@tmp", "thumbnails", "_thumbnails", "@__thumb"),
    }
)
"""Folders of deleted photos, small copies and the system, in lower case: passed over, but named."""

LINKS = "?links=follow"
"""At the end of the address of a root whose links are followed."""


@dataclass(frozen=True)
class Inventory:
    """All that lies below a root, each tuple sorted within folders.

    Attributes:
        files: relative POSIX paths of files that are not hidden.
        closed: folders that are not entered, as they are a link or may not be read.
        bins: folders of deleted photos and of the system, which are passed over.
        hidden: how many files and folders are hidden.
    """

    files: tuple[str, ...]
    closed: tuple[str, ...] = ()
    bins: tuple[str, ...] = ()
    hidden: int = 0


class Root(Protocol):
    """Where the files of one collection are."""

    @property
    def text(self) -> str:
        """How the rows name this root."""
        ...

    def exists(self) -> bool: ...

    def inventory(self) -> Inventory:
        """Everything there is, by name alone."""
        ...

    def head(self, path: str) -> bytes:
        """The first few bytes of a file; none where it cannot be read."""
        ...

    def fault(self, path: str) -> str | None:
        """Why `path` cannot be a photo of this collection; None if it can."""
        ...

    def stamps(self, paths: Sequence[str]) -> list[str]:
        """Of each file size and times of the last change, in nanoseconds, with `:` between; another one once
        the file was written. "" where it cannot be told.
        """
        ...

    def read(self, path: str) -> bytes:
        """The file's bytes; OSError or ValueError with the reason if there are none."""
        ...


def open_root(root: str, *, follow_links: bool = False) -> Root:
    """The collection's root: a local folder unless it is a URI of another scheme.

    Args:
        follow_links: enter and read what links lead to, also out of the root.
    """
    follow = follow_links or root.endswith(LINKS)
    root = root.removesuffix(LINKS)
    scheme = root.partition("://")[0] if "://" in root else ""
    if not scheme:
        return LocalRoot(str(Path(root).expanduser().resolve()), follow)
    if scheme == "file":
        return LocalRoot(str(Path(unquote(urlparse(root).path)).resolve()), follow)
    try:
        filesystem, base = open_filesystem(root)
    except StorageError as error:
        raise DatasetError(str(error)) from None
    return RemoteRoot(root.rstrip("/"), filesystem, base.rstrip("/"))


def hidden(name: str) -> bool:
    return name.startswith((".", "~$")) or name.casefold() in HIDDEN


def is_bin(name: str) -> bool:
    """Whether a folder of this name holds what was deleted, or belongs to the system."""
    return name.casefold() in BINS


def path_fault(path: str) -> str | None:
    """What the text of a relative path alone already forbids."""
    if not path:
        return "no path"
    if "\0" in path:
        return "path contains a NUL character"
    if path.startswith(("/", "\\")) or path[1:3] in (":/", ":\\"):
        return "path is absolute; expected one relative to the root"
    if ".." in path.replace("\\", "/").split("/"):
        return "path leaves the root"
    return None


def _first_bin(path: str) -> str:
    """The folder in which a deleted file lies; "" if it lies in none."""
    folders = path.split("/")[:-1]
    for depth, name in enumerate(folders, 1):
        if is_bin(name):
            return "/".join(folders[:depth])
    return ""


def _size_fault(size: int) -> str | None:
    if size == 0:
        return "empty file"
    return f"file of {size} bytes is too large for a photo" if size > MAX_BYTES else None


def _missing(path: str) -> str:
    return "missing file" + (" (paths are written with /, not \\)" if "\\" in path else "")


@dataclass(frozen=True)
class LocalRoot:
    """A folder of this machine.

    Attributes:
        folder: absolute and free of links.
        follow: whether links are followed.
    """

    folder: str
    follow: bool = False
    _parents: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def text(self) -> str:
        return self.folder + (LINKS if self.follow else "")

    def exists(self) -> bool:
        return os.path.isdir(self.folder)

    def inventory(self) -> Inventory:
        files: list[str] = []
        closed: list[str] = []
        bins: list[str] = []
        hid = 0
        entered: set[str] = set()
        walk = os.walk(
            self.folder, onerror=lambda error: closed.append(error.filename), followlinks=self.follow
        )
        for folder, folders, names in walk:
            if self.follow and self._was_entered(folder, entered):
                folders.clear()
                continue
            shown = sorted(name for name in folders if not hidden(name))
            bins += [os.path.join(folder, name) for name in shown if is_bin(name)]
            linked = [name for name in shown if os.path.islink(os.path.join(folder, name))]
            closed += [] if self.follow else [os.path.join(folder, name) for name in linked]
            kept = sorted(name for name in names if not hidden(name))
            hid += len(names) - len(kept) + len(folders) - len(shown)
            folders[:] = [name for name in shown if not is_bin(name)]
            files += [os.path.join(folder, name) for name in kept]
        below = [tuple(map(self._relative, part)) for part in (files, closed, bins)]
        return Inventory(below[0], below[1], below[2], hid)

    def _was_entered(self, folder: str, entered: set[str]) -> bool:
        """Whether links led here before; they may lead in a circle."""
        real = os.path.realpath(folder)
        if real in entered:
            return True
        entered.add(real)
        return False

    def _relative(self, full: str) -> str:
        return full[len(self.folder.rstrip("/")) + 1 :]

    def head(self, path: str) -> bytes:
        try:
            handle = os.open(os.path.join(self.folder, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as file:
                return file.read(HEAD_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        except (OSError, ValueError):
            return b""

    def fault(self, path: str) -> str | None:
        if fault := path_fault(path):
            return fault
        try:
            full = os.path.join(self._real_parent(os.path.dirname(path)), os.path.basename(path))
            found = os.lstat(full)
            if stat.S_ISLNK(found.st_mode):
                full = os.path.realpath(full, strict=True)
                found = os.stat(full)
            if not self.follow and not full.startswith(self.folder.rstrip("/") + "/"):
                return "path leaves the root through a link"
        except (FileNotFoundError, NotADirectoryError):
            return _missing(path)
        except (OSError, ValueError) as error:
            return f"cannot be reached: {getattr(error, 'strerror', None) or error}"
        return _size_fault(found.st_size) if stat.S_ISREG(found.st_mode) else "not a regular file"

    def _real_parent(self, parent: str) -> str:
        """Links resolved once per folder, not once per photo."""
        if parent not in self._parents:
            self._parents[parent] = os.path.realpath(os.path.join(self.folder, parent), strict=True)
        return self._parents[parent]

    def stamps(self, paths: Sequence[str]) -> list[str]:
        return [self._stamp(path) for path in paths]  # threads would only wait for one another

    def _stamp(self, path: str) -> str:
        try:
            found = os.stat(os.path.join(self.folder, path))
        except (OSError, ValueError):
            return ""
        # What sets the time of the last write back does not set that of the last change.
        return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"

    def read(self, path: str) -> bytes:
        if fault := self.fault(path):
            raise ValueError(fault)
        # Non-blocking, so that a pipe put there meanwhile cannot hang the run.
        handle = os.open(os.path.join(self.folder, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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

    def inventory(self) -> Inventory:
        listed = sorted(self._listing())
        shown = [path for path in listed if not any(map(hidden, path.split("/")))]
        binned = {path: folder for path in shown if (folder := _first_bin(path))}
        files = tuple(path for path in shown if path not in binned)
        return Inventory(files, bins=tuple(sorted(set(binned.values()))), hidden=len(listed) - len(shown))

    def head(self, path: str) -> bytes:
        try:
            with self.filesystem.open_input_file(f"{self.base}/{PurePosixPath(path)}") as file:
                return bytes(file.read(HEAD_BYTES))
        except (OSError, ValueError):
            return b""

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

    def stamps(self, paths: Sequence[str]) -> list[str]:
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            return list(pool.map(self._stamp, paths))

    def _stamp(self, path: str) -> str:
        try:
            found = self.filesystem.get_file_info(f"{self.base}/{PurePosixPath(path)}")
        except OSError:
            return ""
        told = found.type == fs.FileType.File and found.mtime_ns
        return f"{found.size}:{found.mtime_ns}" if told else ""

    def read(self, path: str) -> bytes:
        if fault := path_fault(path):
            raise ValueError(fault)
        with self.filesystem.open_input_file(f"{self.base}/{PurePosixPath(path)}") as file:
            if fault := _size_fault(file.size()):
                raise ValueError(fault)
            return bytes(file.read())
