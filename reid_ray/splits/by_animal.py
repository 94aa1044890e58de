"""Split a table in parts, of which each has all photos of some animals: the rows `assign` would give.

In: how many photos each animal has, and rows of some animals. Out: the same rows with `split` and
`validation`. What a row becomes depends on other animals only by how many photos they have: each animal's
draws are a stretch of the generator's numbers, which starts where that of the animal before ends. So
counts are enough to plan, and rows may be divided anywhere.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Split
from reid_ray.datasets import schema
from reid_ray.errors import ConfigError, DatasetError
from reid_ray.splits.closed_set import lcg_after, rank_within, reference_counts
from reid_ray.splits.disjoint import TEST_SHARE, UNKNOWN_SHARE, choose_animals
from reid_ray.splits.validation import draw_validation

ANIMAL = ["dataset", "identity"]


def refuse_others(split: Split) -> None:
    """Refuse splits that need more of other rows than their number.

    Raises:
        ConfigError: says which, and what to do.
    """
    if split.kind not in ("closed_set", "open_set", "disjoint_set"):
        what = f"split.kind {split.kind}"
    elif split.draw != "own":
        what = f"split.draw {split.draw}, which goes by the order of rows,"
    elif split.leak_actions.same_encounter != "report":
        what = f"on_leak.same_encounter {split.leak_actions.same_encounter}"
    else:
        return
    raise ConfigError(
        f"{what} cannot be done in parts; use closed_set, open_set or disjoint_set with split.draw own and "
        "same_encounter report, or split the table as a whole (a study does)"
    )


def count_photos(rows: pd.DataFrame) -> pd.DataFrame:
    """Per animal `photos`, and whether all of its ids are `integers`; `add` joins counts of several parts."""
    integers = rows["image_id"].str.fullmatch(r"-?[0-9]{1,18}")
    given = rows[ANIMAL].assign(photos=1, integers=integers.astype(bool))
    return add([given])


def add(counts: list[pd.DataFrame]) -> pd.DataFrame:
    """Counts of several parts as one table."""
    joined = pd.concat(counts).groupby(ANIMAL, sort=False, as_index=False)
    return joined.agg({"photos": "sum", "integers": "all"})


def plan(counts: pd.DataFrame, split: Split) -> pd.DataFrame:
    """What to do with each animal: `part`, `start`, `by_number`.

    `part` is that of all its photos, or `closed`: divided by the closed set, with draws that follow the state
    `start`, photos ordered as numbers or (not `by_number`) as text.

    Raises:
        DatasetError: a dataset has no known animal, or too few to draw some.
        ConfigError: this split cannot be made in parts.
    """
    refuse_others(split)
    planned = counts.reset_index(drop=True)
    part_a, start_a = np.full(len(counts), "none", dtype=object), np.zeros(len(counts), np.int64)
    by_number_a = np.zeros(len(counts), bool)
    for name, places in planned.groupby("dataset", sort=False).indices.items():
        part = planned.iloc[places]
        known = np.flatnonzero(part["identity"].ne(schema.UNKNOWN))
        if not len(known):
            raise DatasetError(f"{name}: all animals are unknown; name them or leave this dataset out")
        known = known[schema.ascending(part["identity"].iloc[known])]
        parts = _parts(part["photos"].to_numpy()[known], split, str(name))
        closed = known[parts == "closed"]
        # Without the drawn animals, the others' names or ids may all be numbers.
        closed = closed[schema.ascending(part["identity"].iloc[closed])]
        before = np.cumsum(part["photos"].to_numpy()[closed]) - part["photos"].to_numpy()[closed]
        seeds = np.full(len(closed), split.seed & 0x7FFFFFFF, np.int64)
        part_a[places[known]] = parts
        start_a[places[closed]] = lcg_after(seeds, before)
        by_number_a[places[closed]] = bool(part["integers"].iloc[closed].all())
        if split.kind == "open_set" and split.ask_unknown:
            unknown = np.flatnonzero(part["identity"].eq(schema.UNKNOWN))
            part_a[places[unknown]] = "query"
    return planned[ANIMAL].assign(part=part_a, start=start_a, by_number=by_number_a)


def _parts(sizes: NDArray[np.int64], split: Split, dataset: str) -> NDArray[np.object_]:
    """Of each known animal, in ascending order."""
    parts = np.full(len(sizes), "closed", dtype=object)
    if split.kind == "closed_set":
        return parts
    opened = split.kind == "open_set"
    share = split.unknown_share if opened else split.test_share
    default, count = (
        (UNKNOWN_SHARE, split.unknown_identities) if opened else (TEST_SHARE, split.test_identities)
    )
    none = np.zeros(0, np.int64)
    drawn = choose_animals(
        sizes, none, seed=split.seed, share=default if share is None else share, count=count, dataset=dataset
    )
    parts[drawn if opened else ~drawn] = "query" if opened else "train"
    return parts


def divide(rows: pd.DataFrame, planned: pd.DataFrame, split: Split) -> pd.DataFrame:
    """The rows with `split` and `validation`; they must have all photos of each animal that they have.

    Args:
        rows: `key`, `dataset`, `identity`, `image_id` and any others; no id twice in a dataset.
        planned: of these animals, or more.
    """
    found = rows[ANIMAL].merge(planned, on=ANIMAL, how="left", validate="many_to_one")
    parts = found["part"].to_numpy(object).copy()
    for by_number in (False, True):
        places = np.flatnonzero(parts == "closed")
        places = places[found["by_number"].to_numpy(bool)[places] == by_number]
        parts[places] = _closed(
            rows.iloc[places], found["start"].to_numpy(np.int64)[places], by_number, split
        )
    rows = rows.assign(split=parts, validation=False, domain="seen")
    learnt = np.flatnonzero(rows["split"].eq("train" if split.kind == "disjoint_set" else "reference"))
    drawn = draw_validation(rows.iloc[learnt], seed=split.seed, share=split.validation_share)
    rows["validation"] = np.isin(np.arange(len(rows)), learnt[drawn])
    return rows.drop(columns="domain")


def _closed(
    rows: pd.DataFrame, starts: NDArray[np.int64], by_number: bool, split: Split
) -> NDArray[np.object_]:
    animals = rows.groupby(ANIMAL, sort=False).ngroup().to_numpy().astype(np.int64)
    ids = rows["image_id"].to_numpy(object)
    order = (
        np.lexsort((ids.astype(str), ids.astype(np.int64))) if by_number else np.argsort(ids, kind="stable")
    )
    photos = np.empty(len(rows), np.int64)
    photos[order] = np.arange(len(rows))
    draws = lcg_after(starts, rank_within(animals, photos) + 1)
    wanted = reference_counts(np.bincount(animals).astype(np.int64), split.reference_share)
    # Equal draws go by the place among the animal's photos, as in `closed_set`.
    by_photo = np.argsort(photos)
    place = np.empty(len(rows), np.int64)
    place[by_photo] = rank_within(animals[by_photo], draws[by_photo])
    return np.where(place < wanted[animals], "reference", "query").astype(object)
