"""Split one collection by time, so that queries are later than what they are searched among.

In: dates and identities of one dataset. Out: reference, query or none per row. Named and defined
as in wildlife-datasets ("WildlifeDatasets", WACV 2024; "SeaTurtleID", arXiv 2211.10307), where the
proportion is 0.5 unless said otherwise. Photos without a day take no part.
"""

import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.datasets import schema
from reid_ray.errors import DatasetError
from reid_ray.splits.closed_set import rank_within

Days = NDArray[np.datetime64]

_DAY = r"^\s*(\d{4})[-:/]?(\d{2})[-:/]?(\d{2})(?:\D|$)"


def days_of(rows: pd.DataFrame) -> Days:
    """The day of each row, NaT where there is none that can be read.

    Year, month and day must come in this order (`2021-03-01`, also with `:` or `/` as EXIF writes
    it, or without a sign); a time after them is cut off. Days that name the day or month first are
    not guessed.
    """
    if "date" not in rows:
        return np.full(len(rows), "NaT", "datetime64[D]")
    parts = rows["date"].astype(str).str.extract(_DAY)
    text = parts[0] + "-" + parts[1] + "-" + parts[2]
    found = pd.to_datetime(text, format="%Y-%m-%d", errors="coerce")
    return found.to_numpy("datetime64[D]")


def time_proportion(rows: pd.DataFrame, *, reference_share: float, dataset: str) -> NDArray[np.object_]:
    """Of each animal's days the first `reference_share` are reference, the later ones query.

    Rounded half to even, at least one and, of several, not all; an animal of one day is reference.

    Raises:
        DatasetError: no photo of a named animal has a day.
    """
    split = np.full(len(rows), "none", dtype=object)
    days = days_of(rows)
    usable = np.flatnonzero(rows["identity"].ne(schema.UNKNOWN).to_numpy() & ~np.isnat(days))
    _refuse_none(rows, usable, dataset=dataset)
    animals, count = schema.ranks(rows["identity"].iloc[usable])
    _, day_of_all = np.unique(days[usable], return_inverse=True)
    pairs, place = np.unique(np.stack([animals, day_of_all]), axis=1, return_inverse=True)
    day_number = rank_within(pairs[0], pairs[1])[place.reshape(-1)]
    total = np.bincount(pairs[0], minlength=count)
    first = np.round(reference_share * total).astype(np.int64)
    first = np.maximum(np.minimum(first, total - 1), 1)
    split[usable] = np.where(day_number < first[animals], "reference", "query")
    return split


def time_cutoff(
    rows: pd.DataFrame, *, cutoff: datetime.date, until: datetime.date, ask_unknown: bool, dataset: str
) -> NDArray[np.object_]:
    """Before `cutoff` reference, from then on query, from `until` on none.

    Animals that were first seen after the cutoff are new: their queries have no reference.

    Args:
        ask_unknown: photos of unknown animals can be queries, too.

    Raises:
        DatasetError: no photo of a named animal before the cutoff, or none after it.
    """
    split = np.full(len(rows), "none", dtype=object)
    days, named = days_of(rows), rows["identity"].ne(schema.UNKNOWN).to_numpy()
    dated = ~np.isnat(days)
    _refuse_none(rows, np.flatnonzero(named & dated), dataset=dataset)
    start = np.datetime64(cutoff, "D")
    later = days >= start
    asked = later & (days < np.datetime64(until, "D")) & (named | ask_unknown)
    reference = named & dated & ~later
    if not asked.any() or not reference.any():
        side = "on or after" if reference.any() else "before"
        raise DatasetError(
            f"{dataset}: no photo was taken {side} the cutoff {start}; those with a day are from "
            f"{days[dated].min()} to {days[dated].max()}; move split.cutoff or until"
        )
    split[reference], split[asked] = "reference", "query"
    return split


def _refuse_none(rows: pd.DataFrame, usable: NDArray[np.int64], *, dataset: str) -> None:
    if len(usable):
        return
    found = [text for text in rows["date"].unique()[:3] if text] if "date" in rows else []
    what = f"found {found}" if found else "there is no column 'date', or it is empty"
    raise DatasetError(
        f"{dataset}: no photo of a named animal has a day, which a split by time needs ({what}); "
        "write days as 2021-03-01 in column 'date' (or set columns.date), or choose another "
        "split.kind"
    )
