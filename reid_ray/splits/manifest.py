"""Keep the split of a study beside its results, so that anyone can repeat or check it.

In: rows with their split. Out: `split.csv` (key, path, split, validation), `split.json` (settings,
sha256).
"""

import hashlib
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from reid_ray.config.datasets import Split
from reid_ray.runs import files

_COLUMNS = ["key", "path", "split", "validation"]


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


def _csv(rows: pd.DataFrame) -> bytes:
    columns = [name for name in _COLUMNS if name in rows]
    table = rows[columns].sort_values("key").astype({"validation": bool})
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), sink)
    return sink.getvalue()
