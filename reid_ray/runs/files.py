"""Write files whole or not at all.

A reader sees the old file or the new one, never a half: written beside, flushed to disk, then renamed.
"""

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from reid_ray.errors import StorageError


def write_bytes(path: Path, *parts: bytes | memoryview) -> None:
    """Atomically replace `path` with `parts`, one after another; parent folders are made."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise StorageError(
            f"{path}: cannot be written ({error}); check space and permissions"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Atomically write `value` as readable JSON; NaN and infinity are refused."""
    write_bytes(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode())


def read_json(path: Path) -> Any:
    """Read a JSON file, saying which file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path}: cannot be read as JSON ({error}); delete it to have it made again"
        ) from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Atomically write a table as Parquet."""
    write_bytes(path, table.to_parquet(index=False))


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table, saying which file is damaged."""
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path}: cannot be read as Parquet ({error}); delete it to have it made again"
        ) from None
