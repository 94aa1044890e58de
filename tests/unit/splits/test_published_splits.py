"""The metadata files that the paper's authors published go in, and the same splits come out."""

import os
from pathlib import Path

import pandas as pd
import pytest

from reid_ray.config.collections import collections
from reid_ray.config.datasets import Split
from reid_ray.splits.assign import assign

DATA = (
    Path(os.environ.get("REID_RAY_DATA", Path(__file__).parents[4] / "shared" / "data")) / "published_splits"
)
TABLES = sorted(path for path in DATA.glob("*.csv") if path.name != "published.csv")
PARTS = {"train": "reference", "test": "query", "": "none"}

pytestmark = pytest.mark.skipif(not TABLES, reason=f"no published splits in {DATA}")


def rows_of(path: Path) -> pd.DataFrame:
    """The published columns, with those that a collection gets when it is read."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    key = path.stem + "/" + rows["image_id"]
    return rows.assign(key=key, root="", dataset=path.stem, group=path.stem, encounter="", date="")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_closed_set_split_is_the_published_one(path: Path) -> None:
    rows = rows_of(path)
    shuffled = rows.sample(frac=1, random_state=0)
    ours = assign(shuffled, Split(validation_share=0.0)).rows.set_index("key")["split"]
    published = rows.set_index("key")["split"].map(PARTS)
    # Only photos of unknown animals have no part.
    assert set(rows.loc[published.eq("none").to_numpy(), "identity"]) <= {"unknown"}
    assert ours.reindex(published.index).equals(published)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_published_column_is_taken_as_it_is(path: Path) -> None:
    rows = rows_of(path)
    read = rows.rename(columns={"split": "split_given"})  # as the table source reads it
    ours = assign(read, Split(kind="given", validation_share=0.0)).rows
    assert ours["split"].tolist() == rows["split"].map(PARTS).tolist()


def test_the_table_of_collections_has_the_published_preparations_and_figures() -> None:
    published = pd.read_csv(DATA / "published.csv").set_index("dataset")
    known = collections()
    assert list(known) == list(published.index)
    for name, row in published.iterrows():
        one = known[str(name)]
        assert one.preparation == row["image_load"]
        assert one.published == row.drop("image_load").astype(float).to_dict()
