"""Split one collection exactly as the MegaDescriptor paper does (arXiv 2311.09118, closed set).

In: identities and image ids of one dataset. Out: reference, query or none per row. With seed 666
and share 0.8 published splits are reproduced.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.datasets import schema

_MULTIPLIER, _INCREMENT, _MASK = 1103515245, 12345, 0x7FFFFFFF


def closed_set(rows: pd.DataFrame, *, seed: int, reference_share: float) -> NDArray[np.object_]:
    """`reference`, `query` or (unknown animals) `none` for each row of one dataset.

    Animals in ascending order, each one's photos in ascending image_id, draw numbers from one
    linear congruential generator. Of n photos those with the smallest draws are reference:
    `reference_share` of n rounded half to even, but one less where that would be all of several,
    and never fewer than one. The order of the rows does not matter.
    """
    split = np.full(len(rows), "none", dtype=object)
    known = np.flatnonzero(rows["identity"].ne(schema.UNKNOWN))
    animals, count = schema.ranks(rows["identity"].iloc[known])
    photos, _ = schema.ranks(rows["image_id"].iloc[known])
    order = np.lexsort((photos, animals))
    animals, known = animals[order], known[order]
    sizes = np.bincount(animals, minlength=count)
    chosen = rank_within(animals, lcg(seed, len(known))) < reference_counts(sizes, reference_share)[animals]
    split[known] = np.where(chosen, "reference", "query")
    return split


def reference_counts(sizes: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """How many of each animal's photos are reference."""
    counts = np.round(share * sizes).astype(np.int64)
    counts -= (counts == sizes) & (sizes > 1)
    return np.maximum(counts, 1)


def rank_within(groups: NDArray[np.int64], values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Place of each value among those of its group, from 0; earlier rows first on ties."""
    order = np.lexsort((values, groups))
    starts = np.concatenate(([0], np.cumsum(np.bincount(groups))))
    place = np.empty(len(groups), np.int64)
    place[order] = np.arange(len(groups)) - starts[groups[order]]
    return place


def lcg(seed: int, count: int) -> NDArray[np.int64]:
    """The first `count` states after `seed` of state -> (state * 1103515245 + 12345) mod 2^31.

    Doubling: n states give the next n by one multiply-add, because n steps are again such a step.
    """
    states = np.empty(count + 1, np.int64)
    states[0] = seed & _MASK
    multiplier, increment, have = _MULTIPLIER, _INCREMENT, 1
    while have <= count:
        fresh = min(have, count + 1 - have)
        states[have : have + fresh] = (states[:fresh] * multiplier + increment) & _MASK
        increment = (multiplier * increment + increment) & _MASK
        multiplier = (multiplier * multiplier) & _MASK
        have += fresh
    return states[1:]


def lcg_after(states: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each state's successor after so many steps, without those between: steps are taken by powers of two."""
    multiplier, increment, left = _MULTIPLIER, _INCREMENT, steps.copy()
    while left.any():
        states = np.where(left & 1, (states * multiplier + increment) & _MASK, states)
        increment = (multiplier * increment + increment) & _MASK
        multiplier = (multiplier * multiplier) & _MASK
        left >>= 1
    return states
