"""Give every photo its part in the study: domain, split and validation.

In: rows and the config. Out: the same rows in the same order with `domain`, `split`, `validation`.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Split
from reid_ray.errors import DatasetError
from reid_ray.splits.closed_set import closed_set
from reid_ray.splits.disjoint import disjoint_set, open_set
from reid_ray.splits.domains import domain_of
from reid_ray.splits.given import given
from reid_ray.splits.leaks import Finding, settle_leaks
from reid_ray.splits.time_aware import time_cutoff, time_proportion
from reid_ray.splits.validation import draw_validation


class Assigned(NamedTuple):
    """Rows with their split, and the leaks that were found in it."""

    rows: pd.DataFrame
    findings: list[Finding]


def assign(rows: pd.DataFrame, split: Split, unseen: Collection[str] = ()) -> Assigned:
    """Mark domains, split each dataset by itself, draw validation, then settle leaks as the config
    says.

    Files on both sides are found only where rows have their `content`. A dataset whose own table
    marks validation photos keeps those; none are drawn for it.

    Raises:
        DatasetError: `unseen` names a group that no photo is of; a dataset has no reference photo at
            all, or cannot be split so.
        SplitLeakError: a leak was found that is to be refused.
    """
    if missing := sorted(set(unseen) - set(rows["group"])):
        raise DatasetError(
            f"data.unseen names no group of a photo: {missing}; groups are {sorted(rows['group'].unique())}"
        )
    rows = rows.assign(domain=domain_of(rows["group"], unseen), split="none", validation=False)
    parts, validation = np.full(len(rows), "none", dtype=object), np.zeros(len(rows), bool)
    for name, places in rows.groupby("dataset", sort=False).indices.items():
        part = rows.iloc[places]
        if split.kind == "given":
            parts[places], validation[places] = given(part, dataset=str(name), ask_unknown=split.ask_unknown)
        else:
            parts[places] = _parts(part, split, str(name))
        if "reference" not in parts[places]:
            raise DatasetError(
                f"{name}: no photo can be a reference (all animals unknown, or none marked so); "
                "name the animals or leave this dataset out"
            )
    rows = rows.assign(split=parts)
    marks = rows["dataset"].isin(rows["dataset"][validation]).to_numpy()
    drawn = draw_validation(rows, seed=split.seed, share=split.validation_share)
    validation = np.where(marks, validation & rows["domain"].eq("seen"), drawn)
    return Assigned(*settle_leaks(rows.assign(validation=validation), split))


def _parts(part: pd.DataFrame, split: Split, dataset: str) -> NDArray[np.object_]:
    """The split of one dataset by the config's kind."""
    if split.kind == "open_set":
        return open_set(
            part,
            seed=split.seed,
            reference_share=split.reference_share,
            share=split.unknown_share,
            count=split.unknown_identities,
            draw=split.draw,
            ask_unknown=split.ask_unknown,
            dataset=dataset,
        )
    if split.kind == "disjoint_set":
        return disjoint_set(
            part,
            seed=split.seed,
            reference_share=split.reference_share,
            share=split.test_share,
            count=split.test_identities,
            draw=split.draw,
            dataset=dataset,
        )
    if split.kind == "time_proportion":
        return time_proportion(part, reference_share=split.reference_share, dataset=dataset)
    if split.kind == "time_cutoff":
        cutoff, until = split.days
        return time_cutoff(part, cutoff=cutoff, until=until, ask_unknown=split.ask_unknown, dataset=dataset)
    return closed_set(part, seed=split.seed, reference_share=split.reference_share)
