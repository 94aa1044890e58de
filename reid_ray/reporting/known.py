"""List the photos of known animals, so that a review can show all of an animal. In: rows. Out: plain data."""

from collections.abc import Collection
from typing import Any

import pandas as pd

from reid_ray.datasets.schema import UNKNOWN

TOLD = ("date", "location", "orientation", "species")


def known_photos(rows: pd.DataFrame, references: Collection[str]) -> list[dict[str, Any]]:
    """`row`, `identity`, `root`, `path` and what else is known of each photo of a known animal.

    Args:
        rows: the table of photos; a card's candidate tells its photo by its row number in it.
        references: names of the collections of known animals.
    """
    known = rows["dataset"].isin(list(references)) & rows["identity"].ne(UNKNOWN)
    return [
        {
            "row": int(row),
            "identity": str(one["identity"]),
            "root": str(one["root"]),
            "path": str(one["path"]),
            "facts": {name: str(one[name]) for name in TOLD if name in rows and str(one[name] or "")},
        }
        for row, one in enumerate(rows.to_dict("records"))
        if known.iloc[row]
    ]
