"""Tables of photos that the tests of splits start from."""

from collections.abc import Sequence

import pandas as pd


def rows_of(
    identities: Sequence[str],
    image_ids: Sequence[str] | None = None,
    *,
    dataset: str = "d",
    group: str | None = None,
) -> pd.DataFrame:
    """Rows as the catalogue makes them; ids are 000, 001, ... unless given."""
    ids = list(image_ids or [f"{place:03}" for place in range(len(identities))])
    return pd.DataFrame(
        {
            "key": [f"{dataset}/{image_id}" for image_id in ids],
            "image_id": ids,
            "identity": list(identities),
            "dataset": dataset,
            "group": group or dataset,
        }
    )
