"""Decide which photos are of the unseen domain.

In: each row's species group. Out: seen or unseen per row.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def domain_of(groups: pd.Series, unseen: Collection[str]) -> NDArray[np.object_]:
    """`unseen` for rows whose species group is named so, else `seen`."""
    return np.where(groups.isin(list(unseen)), "unseen", "seen").astype(object)
