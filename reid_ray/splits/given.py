"""Take the split from the table's own column.

In: `split_given`. Out: reference, query or none per row, and which reference rows are for
validation.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.datasets import schema
from reid_ray.errors import DatasetError

MEANING = {
    "train": "reference",
    "training": "reference",
    "reference": "reference",
    "gallery": "reference",
    "database": "reference",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "query",
    "testing": "query",
    "query": "query",
    "": "none",
    "none": "none",
    "unused": "none",
}
"""What the field's words mean, in any case. `val` is a reference photo kept out of training."""


def given(
    rows: pd.DataFrame, *, dataset: str, ask_unknown: bool = False
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Split and validation of each row of one dataset; unknown animals are `none`, but may be
    queries with `ask_unknown`.

    Raises:
        DatasetError: no split column, or words in it that have no known meaning.
    """
    words = rows["split_given"].str.strip().str.lower() if "split_given" in rows else pd.Series(dtype=str)
    if not words.ne("").any():
        raise DatasetError(
            f"{dataset}: no split in its table; add a column 'split' (or set columns.split), "
            "or set split.kind to closed_set"
        )
    if strange := sorted(set(words.unique()) - set(MEANING)):
        raise DatasetError(
            f"{dataset}: the split column says {strange[:10]}; "
            f"expected one of {sorted(filter(None, MEANING))}"
        )
    meaning = words.map(MEANING).to_numpy(dtype=object)
    unknown = rows["identity"].eq(schema.UNKNOWN).to_numpy()
    meaning[unknown & ~((meaning == "query") & ask_unknown)] = "none"
    validation = meaning == "validation"
    return np.where(validation, "reference", meaning).astype(object), validation
