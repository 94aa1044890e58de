"""A look ahead sees the very rows that a run will have, without rendering a photo."""

from pathlib import Path

import pandas as pd

from reid_ray.config.datasets import Data
from reid_ray.datasets.catalogue import expected_rows, load_rows

SYNTHETIC = {"source": "synthetic", "species": "zebra", "identities": 3, "photos": 3, "size_px": 64}


def test_a_herd_is_counted_without_being_made(tmp_path: Path) -> None:
    data = Data.parse({"datasets": [{**SYNTHETIC, "name": "z"}]}, where="test")
    ahead = expected_rows(data, made=tmp_path).rows
    assert not list(tmp_path.iterdir())
    made = load_rows(data, made=tmp_path).rows
    assert len(made) == 9
    pd.testing.assert_frame_equal(ahead.drop(columns="root"), made.drop(columns="root"))
