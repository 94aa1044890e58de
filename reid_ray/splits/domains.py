"""Decide which photos are of the unseen domain, and what a training may learn from.

In: each row's species group. Out: seen or unseen per row; the rows as one training sees them.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.transfer import Variant


def domain_of(groups: pd.Series, unseen: Collection[str]) -> NDArray[np.object_]:
    """`unseen` for rows whose species group is named so, else `seen`."""
    return np.where(groups.isin(list(unseen)), "unseen", "seen").astype(object)


def withheld(rows: pd.DataFrame, evaluate: Collection[str], variant: Variant) -> NDArray[np.bool_]:
    """Which rows a variant must not learn from.

    `same_domain`: the evaluated datasets; `other_domains`: also whatever is of their groups. A photo
    that is the same file as a withheld one is withheld too, whichever dataset it lies in.
    """
    if variant == "all":
        return np.zeros(len(rows), bool)
    out = rows["dataset"].isin(list(evaluate))
    if variant == "other_domains":
        out |= rows["group"].isin(rows.loc[out, "group"].unique())
    if "content" in rows:
        known = rows["content"].ne("")
        out |= known & rows["content"].isin(rows.loc[out & known, "content"])
    return out.to_numpy(bool)


def variant_rows(rows: pd.DataFrame, evaluate: Collection[str], variant: Variant) -> pd.DataFrame:
    """The table as a variant sees it: what it must not learn from is unseen and validates nothing, and
    queries are those of the evaluated datasets alone.

    References stay references everywhere: they are what queries are searched among.
    """
    out = withheld(rows, evaluate, variant)
    rows = rows.copy()
    rows.loc[out, "domain"] = "unseen"
    rows.loc[out, "validation"] = False
    rows.loc[rows["split"].eq("query") & ~rows["dataset"].isin(list(evaluate)), "split"] = "none"
    return rows
