"""Notice when what was written is not what is read: a sha256 travels with the data.

In: bytes or a map to be written. Out: the same with its seal; and back, or an error that names the file.
Neither JSON nor Parquet nor an archive of arrays notices every flipped bit by itself.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid_ray.errors import StorageError
from reid_ray.runs import files
from reid_ray.runs.storage import address

SEAL = "seal"
"""Key of a sealed map's sha256."""
_BYTES = 32


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The map with the sha256 of all else in it, for JSON that people may read as well."""
    return {**value, SEAL: _digest(value)}


def unsealed(value: Any, path: Path) -> dict[str, Any]:
    """The map without its seal; one that never had a seal is taken as it is.

    Raises:
        StorageError: it is not what was sealed, or no map.
    """
    if not isinstance(value, dict):
        raise damaged(path)
    content = {key: item for key, item in value.items() if key != SEAL}
    if SEAL in value and value[SEAL] != _digest(content):
        raise damaged(path)
    return content


def seal_bytes(data: bytes) -> bytes:
    """The bytes, then their sha256."""
    return data + hashlib.sha256(data).digest()


def unseal_bytes(data: bytes, path: Path) -> bytes:
    """What was sealed; StorageError if it is not that any more."""
    content = data[:-_BYTES]
    if hashlib.sha256(content).digest() != data[-_BYTES:]:
        raise damaged(path)
    return content


def sha256_of(path: Path) -> str:
    """Of a file's bytes; "" if it cannot be read."""
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()
    except OSError:
        return ""


def damaged(path: Path) -> StorageError:
    return StorageError(f"{address(path)}: damaged, its sha256 is another; delete it to have it made again")


def _digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
