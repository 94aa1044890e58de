"""A table that is split in parts has the same rows as one that is split as a whole."""

import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Split
from reid_ray.errors import ConfigError, DatasetError
from reid_ray.splits.assign import assign
from reid_ray.splits.by_animal import add, count_photos, divide, plan
from reid_ray.splits.closed_set import lcg, lcg_after

KINDS = {
    "closed": {},
    "closed, half, other seed": {"reference_share": 0.5, "seed": 2**40 + 7},
    "open": {"kind": "open_set"},
    "open, unknown asked": {"kind": "open_set", "ask_unknown": True, "unknown_share": 0.4},
    "open, counted": {"kind": "open_set", "unknown_identities": 3},
    "disjoint": {"kind": "disjoint_set"},
    "disjoint, counted": {"kind": "disjoint_set", "test_identities": 2, "validation_share": 0.4},
}


def table(seed: int) -> pd.DataFrame:
    """Two datasets with unknown animals; names and ids are numbers, text, or numbers but for one animal."""
    random, parts = np.random.default_rng(seed), []
    for dataset, animals in (("a", 40), ("b", 9)):
        photos = random.geometric(0.2, animals)
        who = np.repeat(np.arange(animals), photos).astype(str).astype(object)
        if random.random() < 0.5:
            who = "animal " + who
        elif random.random() < 0.5:
            who[who == "3"] = "three"
        ids = random.permutation(len(who)).astype(str).astype(object)
        if (how := random.integers(3)) == 0:
            ids = "x" + ids
        elif how == 1:  # one animal has text in its ids
            ids[who == who[0]] = "x" + ids[who == who[0]]
        who[random.random(len(who)) < 0.1] = "unknown"
        parts.append(pd.DataFrame({"dataset": dataset, "identity": who, "image_id": ids}))
    rows = pd.concat(parts).sample(frac=1, random_state=seed, ignore_index=True)
    rows["key"] = rows["dataset"] + "/" + rows["image_id"]
    return rows.assign(group=rows["dataset"], path=rows["image_id"], encounter="")


@pytest.mark.parametrize("name", KINDS)
def test_rows_are_those_of_the_whole_table(name: str) -> None:
    split = Split(**KINDS[name])
    for seed in range(5):
        rows = table(seed)
        counts = add([count_photos(part) for _, part in rows.groupby(np.arange(len(rows)) % 7)])
        planned = plan(counts, split)
        bucket = pd.util.hash_pandas_object(rows["identity"], index=False) % 5
        ours = pd.concat([divide(part, planned, split) for _, part in rows.groupby(bucket)])
        theirs = assign(rows, split).rows
        columns = ["key", "split", "validation"]
        pd.testing.assert_frame_equal(
            ours[columns].sort_values("key", ignore_index=True),
            theirs[columns].sort_values("key", ignore_index=True),
            check_dtype=False,
        )


def test_the_generator_jumps_to_where_it_would_walk() -> None:
    states = lcg(666, 5000)
    steps = np.array([1, 2, 3, 999, 4096, 5000])
    assert lcg_after(np.full(6, 666), steps).tolist() == states[steps - 1].tolist()


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "given"},
        {"kind": "time_proportion"},
        {"kind": "time_cutoff", "cutoff": 2020},
        {"kind": "open_set", "draw": "wildlife_datasets"},
        {"on_leak": "drop"},
    ],
    ids=str,
)
def test_what_needs_the_whole_table_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="cannot be done in parts"):
        plan(count_photos(table(0)), Split(**given))


def test_a_dataset_without_a_known_animal_is_refused() -> None:
    with pytest.raises(DatasetError, match="a: all animals are unknown"):
        plan(count_photos(table(0).query("dataset == 'a'").assign(identity="unknown")), Split())
