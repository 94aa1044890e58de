"""Split a table of photos that does not fit one process, as a Ray Data operation.

In: Parquet files with a row per photo. Out: Parquet files with `split` and `validation`, row by row those
that a study would give. Rows are with workers only: this process has a count per animal.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import Dataset

from reid_ray.config.datasets import Split
from reid_ray.datasets import schema
from reid_ray.errors import DatasetError
from reid_ray.splits.by_animal import add, count_photos, divide, plan, refuse_others

ROWS_AT_ONCE = 100_000
"""Rows of a batch, and about as many of a bucket."""
NEEDED = ("identity", "image_id")


def split_file(source: str, to: str, split: Split, *, name: str) -> dict[str, int]:
    """Split the table at `source` and write it below `to`; Ray must be running.

    Args:
        source: a Parquet file, or a folder of such.
        name: of the dataset, where the table has no column `dataset`.

    Returns:
        Rows per part.

    Raises:
        DatasetError: a column is missing, or animals cannot be split so, or `to` is there. ConfigError: see
            `refuse_others`.
    """
    refuse_others(split)
    if "://" not in to and Path(to).exists():
        raise DatasetError(f"{to}: is there already; name another folder, or move it away")
    table = ray.data.read_parquet(source)
    names = table.schema().names
    if missing := [column for column in NEEDED if column not in names]:
        raise DatasetError(f"{source}: no column {missing}; found {names}; rename them")
    split_table(table.map_batches(_prepared(name), batch_format="pyarrow"), split).write_parquet(to)
    parts = ray.data.read_parquet(to, columns=["split"]).groupby("split").count().take_all()
    return {row["split"]: row["count()"] for row in parts}


def split_table(table: Dataset, split: Split) -> Dataset:
    """`split` and `validation` beside the columns that are there, in any order of rows.

    Animals are put into buckets of about `ROWS_AT_ONCE` rows, each with all photos of its animals.

    Args:
        table: `key`, `dataset`, `identity`, `image_id` as text and any others; no key twice.

    Raises:
        DatasetError: animals cannot be split so. ConfigError: see `refuse_others`.
    """
    counts = _counts(table)
    planned = ray.put(plan(counts, split))
    buckets = max(1, int(counts["photos"].sum()) // ROWS_AT_ONCE)

    def in_bucket(rows: pd.DataFrame) -> pd.DataFrame:
        names = rows["dataset"] + "\0" + rows["identity"]
        return rows.assign(bucket=(pd.util.hash_pandas_object(names, index=False) % buckets).astype("int64"))

    def divided(rows: pd.DataFrame) -> pd.DataFrame:
        return divide(rows.drop(columns="bucket").reset_index(drop=True), ray.get(planned), split)

    placed = table.map_batches(in_bucket, batch_format="pandas")
    return placed.groupby("bucket", num_partitions=min(buckets, 64)).map_groups(
        divided, batch_format="pandas"
    )


def _counts(table: Dataset) -> pd.DataFrame:
    """Photos per animal, joined as batches come, so that no more than these is ever here."""
    parts = table.select_columns(["dataset", "identity", "image_id"]).map_batches(
        count_photos, batch_format="pandas", batch_size=ROWS_AT_ONCE
    )
    counts = pd.DataFrame()
    for part in parts.iter_batches(batch_format="pandas", batch_size=None):
        counts = add([counts, part]) if len(counts) else add([part])
    return counts


def _prepared(name: str) -> Callable[[pa.Table], pa.Table]:
    def prepared(rows: pa.Table) -> pa.Table:
        """Names and ids as text, unknown animals by their one name, `dataset` and `key` if there are none."""
        for column in NEEDED:
            text = pc.fill_null(rows[column].cast(pa.string()), "")
            rows = rows.set_column(rows.column_names.index(column), column, text)
        identity = schema.clean_identities(rows["identity"].to_pandas())
        rows = rows.set_column(
            rows.column_names.index("identity"), "identity", pa.array(identity, pa.string())
        )
        if "dataset" not in rows.column_names:
            rows = rows.append_column("dataset", pa.array([name] * len(rows), pa.string()))
        if "key" not in rows.column_names:
            key = pc.binary_join_element_wise(rows["dataset"], rows["image_id"], "/")
            rows = rows.append_column("key", key)
        return rows

    return prepared
