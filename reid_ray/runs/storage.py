"""Reach object storage behind the paths of a folder, its mirror.

In: a path. Out: the object that it stands for, if it stands for one. A storage that is given as a URI,
`s3://bucket/runs`, is known to the rest of the code as the folder `<cache>/reid_ray-mirror/s3/bucket/runs`
(see `results_folder`). The path alone says what lies where, so it can be sent to any node. `runs.files` reads
and writes the object of such a path; the folder itself holds only copies of what must be a file.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyarrow import ArrowException, fs

from reid_ray.config.named import MIRROR
from reid_ray.errors import StorageError


@dataclass(frozen=True)
class Remote:
    """One object, or a folder of such.

    Attributes:
        key: as its filesystem calls it.
    """

    filesystem: fs.FileSystem
    key: str

    def below(self) -> dict[str, int]:
        """Sizes in bytes of all objects below this one, by their relative POSIX path."""
        selector = fs.FileSelector(self.key, recursive=True, allow_not_found=True)
        start = self.key.rstrip("/") + "/"
        return {
            info.path.removeprefix(start): info.size
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        }


def remote(path: Path) -> Remote | None:
    """The object of a path; None for a path of an ordinary folder.

    Raises:
        StorageError: its storage cannot be opened.
    """
    parts = _parts(path)
    if parts is None:
        return None
    scheme, *names = parts
    filesystem, base = open_filesystem(f"{scheme}://{names[0]}")
    return Remote(filesystem, "/".join([base.rstrip("/"), *names[1:]]))


def address(path: Path) -> str:
    """What a person, Ray or MLflow calls it: a URI, or an absolute path."""
    parts = _parts(path)
    return str(path.absolute()) if parts is None else f"{parts[0]}://{'/'.join(parts[1:])}"


def _parts(path: Path) -> tuple[str, ...] | None:
    """Scheme, bucket and names; None for an ordinary path."""
    parts = path.parts
    if MIRROR not in parts:
        return None
    found = parts[parts.index(MIRROR) + 1 :]
    return found if len(found) > 1 else None


@lru_cache(maxsize=64)
def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """A filesystem of pyarrow, or else of fsspec, and the key of `uri` in it; once per process.

    Raises:
        StorageError: neither knows it, or its server does not answer.
    """
    try:
        try:
            filesystem, key = fs.FileSystem.from_uri(uri)
        except ValueError as unknown:  # a scheme that pyarrow does not have
            import fsspec

            if uri.partition("://")[0] not in fsspec.available_protocols():
                raise unknown
            found, key = fsspec.core.url_to_fs(uri)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(found))
    except (OSError, ValueError, ImportError, ArrowException) as error:
        raise StorageError(
            f"{uri}: cannot be opened ({error}); give a folder or an s3:// or gs:// URI, and its keys "
            "in the environment of every node"
        ) from None
    return filesystem, key
