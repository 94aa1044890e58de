"""Keep the split of a study beside its results, so that anyone can repeat or check it.

In: rows with their split. Out: `split.csv` (key, path, split, validation), `split.json` (settings,
sha256).
"""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from reid_ray.config.datasets import Split
from reid_ray.errors import SplitLeakError, StorageError
from reid_ray.runs import files

_COLUMNS = ["key", "path", "split", "validation"]


class Manifest(NamedTuple):
    """A saved split.

    Attributes:
        table: key, path, split, validation; by key. Splits of earlier versions have no path.
        settings: how it was made: split, unseen, and counts of rows per split.
        sha256: of split.csv.
    """

    table: pd.DataFrame
    settings: dict[str, Any]
    sha256: str


def write_manifest(folder: Path, rows: pd.DataFrame, split: Split, unseen: tuple[str, ...] = ()) -> str:
    """Write both files below `folder` and return the sha256; equal splits give equal bytes."""
    data = _csv(rows)
    sha256 = hashlib.sha256(data).hexdigest()
    counts = {str(name): int(count) for name, count in rows["split"].value_counts().sort_index().items()}
    files.write_bytes(folder / "split.csv", data)
    files.write_json(
        folder / "split.json",
        {
            "split": split.model_dump(mode="json"),
            "unseen": sorted(unseen),
            "rows": counts,
            "validation": int(rows["validation"].sum()),
            "sha256": sha256,
        },
    )
    return sha256


def read_manifest(folder: Path) -> Manifest:
    """Read a split back.

    Raises:
        StorageError: a file is missing, or the table is not the one its sha256 was taken of.
    """
    path = folder / "split.csv"
    settings = files.read_json(folder / "split.json")
    try:
        data = files.read_bytes(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error}); run the study again") from None
    sha256 = hashlib.sha256(data).hexdigest()
    if not isinstance(settings, dict) or settings.pop("sha256", None) != sha256:
        raise StorageError(
            f"{path}: does not have the sha256 that split.json says, it was changed or damaged; "
            "restore it or run the study again"
        )
    types = {"key": pa.string(), "path": pa.string(), "split": pa.string(), "validation": pa.bool_()}
    convert = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(io.BytesIO(data), parse_options=parse, convert_options=convert)
    return Manifest(table.to_pandas(), settings, sha256)


def verify_manifest(manifest: Manifest, rows: pd.DataFrame) -> None:
    """Check that `rows` have exactly the saved split.

    Raises:
        SplitLeakError: says how many photos differ, are new or gone, with an example.
    """
    columns = [name for name in _COLUMNS if name in manifest.table]
    if hashlib.sha256(_csv(rows, columns)).hexdigest() == manifest.sha256:
        return
    both = manifest.table.merge(rows[columns], on="key", how="outer", suffixes=("_saved", "_now"))
    both = both.fillna({"split_saved": "absent", "split_now": "absent"})
    moved = both[
        both["split_saved"].ne(both["split_now"])
        | (both["validation_saved"].astype(object) != both["validation_now"].astype(object))
        | (("path_saved" in both) and both["path_saved"].ne(both["path_now"]))
    ]
    first = moved.iloc[0]
    raise SplitLeakError(
        f"{len(moved)} of {len(both)} photos are not split as saved, for example {first['key']}: "
        f"saved {first['split_saved']}, now {first['split_now']}; use the saved data and settings, "
        "or start afresh"
    )


def _csv(rows: pd.DataFrame, columns: list[str] | None = None) -> bytes:
    table = (
        rows[columns or [name for name in _COLUMNS if name in rows]]
        .sort_values("key")
        .astype({"validation": bool})
    )
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), sink)
    return sink.getvalue()
