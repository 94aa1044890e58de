"""Say which photos a model may learn from. In: rows with their split. Out: yes or no per row."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def learnable(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Photos of seen domains to learn from and to validate on.

    These are the references, but where a dataset has photos for training alone (`train`, as in a
    disjoint set) only those: its references show animals that nothing is to be learnt about.
    """
    split = rows["split"]
    apart = rows["dataset"].isin(rows.loc[split.eq("train"), "dataset"])
    found = rows["domain"].eq("seen") & (split.eq("train") | (split.eq("reference") & ~apart))
    return np.asarray(found.to_numpy(bool))


def trained_on(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """The learnable photos that are not kept out for validation."""
    return np.asarray(learnable(rows) & ~rows["validation"].to_numpy(bool))
