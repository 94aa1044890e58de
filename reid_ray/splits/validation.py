"""Keep some reference photos out of training, to choose among models without looking at a query.

In: rows of seen datasets with their split. Out: which reference rows are for validation.
"""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.splits.closed_set import rank_within
from reid_ray.splits.learnable import learnable


def draw_validation(rows: pd.DataFrame, *, seed: int, share: float) -> NDArray[np.bool_]:
    """Whether each row is for validation; only `learnable` rows can be.

    An animal with n >= 3 such photos gives `share` of them, rounded half to even, at least 1
    and at most n - 2; one with fewer gives none. So each validation photo has two training photos
    of its animal or more. Photos are ranked by a hash of the seed and their key: the draw depends
    neither on the order of the rows nor on other animals.
    """
    marked = np.zeros(len(rows), bool)
    places = np.flatnonzero(learnable(rows))
    if not share or not len(places):
        return marked
    part = rows.iloc[places]
    animals = part.groupby(["dataset", "identity"], sort=False).ngroup().to_numpy().astype(np.int64)
    sizes = np.bincount(animals).astype(np.int64)
    wanted = np.clip(np.round(share * sizes).astype(np.int64), 1, np.maximum(sizes - 2, 0))
    draws = np.array([_draw(seed, key) for key in part["key"]], np.uint64)
    marked[places] = rank_within(animals, draws) < wanted[animals]
    return marked


def _draw(seed: int, key: str) -> int:
    digest = hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
