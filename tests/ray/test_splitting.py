"""A table of Parquet files is split by Ray Data as it would be in memory."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Split
from reid_ray.errors import DatasetError
from reid_ray.on_ray import splitting
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.splits.assign import assign

pytestmark = pytest.mark.ray


def table(rows: int) -> pd.DataFrame:
    """Photos of one collection in any order, ids without gaps, one in ten of an unknown animal."""
    random = np.random.default_rng(0)
    who = pd.Series(random.integers(rows // 8, size=rows)).astype(str)
    return pd.DataFrame(
        {"identity": who.mask(random.random(rows) < 0.1), "image_id": random.permutation(rows), "place": 1.5}
    )


def test_rows_are_those_in_memory(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an open set, which has what other kinds have; tests/unit/splits/test_by_animal.py has all."""
    monkeypatch.setattr(splitting, "ROWS_AT_ONCE", 500)
    rows = table(2000)
    (tmp_path / "in").mkdir()
    for number, part in rows.groupby(np.arange(len(rows)) % 3):
        part.to_parquet(tmp_path / "in" / f"{number}.parquet", index=False)
    split = Split(kind="open_set")
    parts = splitting.split_file(str(tmp_path / "in"), str(tmp_path / "out"), split, name="a")
    ours = pd.concat(pd.read_parquet(path) for path in (tmp_path / "out").glob("*.parquet"))
    text = rows.assign(image_id=rows["image_id"].astype(str), identity=rows["identity"].fillna("unknown"))
    text = text.assign(dataset="a", group="a", path="", encounter="", key="a/" + text["image_id"])
    theirs = assign(text, split).rows
    columns = ["key", "identity", "place", "split", "validation"]
    pd.testing.assert_frame_equal(
        ours[columns].sort_values("key", ignore_index=True),
        theirs[columns].sort_values("key", ignore_index=True),
        check_dtype=False,
    )
    assert parts == theirs["split"].value_counts().to_dict()


def test_a_missing_column_is_told(running_ray: Cluster, tmp_path: Path) -> None:
    table(10).drop(columns="identity").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"no column .'identity'"):
        splitting.split_file(str(tmp_path / "a.parquet"), str(tmp_path / "out"), Split(), name="a")
