"""Split one collection so that some animals are asked for that nothing was learnt about.

In: identities and image ids of one dataset. Out: reference, query, train or none per row. The
kinds are named and defined as in wildlife-datasets ("WildlifeDatasets", WACV 2024): in an open set
some animals have all their photos in the queries and the others are split as a closed set; in a
disjoint set each animal is either learnt from or asked for. Which animals these are is drawn by the
paper's generator, either in a way of our own or as wildlife-datasets draws (`split.draw`).
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.datasets import schema
from reid_ray.errors import DatasetError
from reid_ray.splits.closed_set import closed_set, lcg

UNKNOWN_SHARE, TEST_SHARE = 0.2, 0.5
"""Shares of photos where the config says nothing."""

Draw = Literal["own", "wildlife_datasets"]


def open_set(
    rows: pd.DataFrame,
    *,
    seed: int,
    reference_share: float,
    share: float | None,
    count: int | None,
    ask_unknown: bool,
    dataset: str,
    draw: Draw = "own",
) -> NDArray[np.object_]:
    """All photos of drawn animals are query; the others are split as `closed_set` does it alone.

    Args:
        share: of the photos, that of drawn animals comes nearest to; see `draw_animals`.
        count: how many animals are drawn, instead of a share.
        ask_unknown: photos of unknown animals are queries, too.

    Raises:
        DatasetError: fewer than two animals, or none would be left.
    """
    share = UNKNOWN_SHARE if share is None else share
    drawn = draw_animals(rows, seed=seed, share=share, count=count, dataset=dataset, draw=draw)
    split = np.full(len(rows), "query", dtype=object)
    others = ~drawn
    if draw == "wildlife_datasets":
        # There the share is one of all photos, so more of those that are left must be references.
        known = int(rows["identity"].ne(schema.UNKNOWN).sum())
        reference_share = min(known * reference_share / (known - int(drawn.sum())), 1.0)
    split[others] = closed_set(rows[others], seed=seed, reference_share=reference_share)
    if ask_unknown:
        split[rows["identity"].eq(schema.UNKNOWN).to_numpy()] = "query"
    return split


def disjoint_set(
    rows: pd.DataFrame,
    *,
    seed: int,
    reference_share: float,
    share: float | None,
    count: int | None,
    dataset: str,
    draw: Draw = "own",
) -> NDArray[np.object_]:
    """Drawn animals are split as a closed set, to be searched and asked for; the others are `train`.

    Nothing is learnt from a drawn animal, not even from its references.

    Raises:
        DatasetError: fewer than two animals, or none would be left to learn from.
    """
    share = TEST_SHARE if share is None else share
    drawn = draw_animals(rows, seed=seed, share=share, count=count, dataset=dataset, draw=draw)
    split = np.where(rows["identity"].eq(schema.UNKNOWN), "none", "train").astype(object)
    split[drawn] = closed_set(rows[drawn], seed=seed, reference_share=reference_share)
    return split


def draw_animals(
    rows: pd.DataFrame, *, seed: int, share: float, count: int | None, dataset: str, draw: Draw = "own"
) -> NDArray[np.bool_]:
    """Whether each row shows one of the drawn animals; never an unknown one.

    Animals in ascending order draw numbers from the generator, the smallest come first. So many are
    taken that their part of the photos comes nearest to `share` (the fewer of two equally near), at
    least one and not all; or exactly `count`.

    Args:
        draw: `wildlife_datasets`: animals with most photos first, of equally many the one with the first row,
            draw numbers in that order; so many are taken that they have at least `share` of the photos.

    Raises:
        DatasetError: fewer than two animals, or none would be left.
    """
    known = rows["identity"].ne(schema.UNKNOWN).to_numpy()
    animals, total = schema.ranks(rows["identity"][known])
    _, first_row = np.unique(animals, return_index=True)
    sizes = np.bincount(animals, minlength=total)
    chosen = choose_animals(sizes, first_row, seed=seed, share=share, count=count, dataset=dataset, draw=draw)
    drawn = np.zeros(len(rows), bool)
    drawn[known] = chosen[animals]
    return drawn


def choose_animals(
    sizes: NDArray[np.int64],
    first_row: NDArray[np.int64],
    *,
    seed: int,
    share: float,
    count: int | None,
    dataset: str,
    draw: Draw = "own",
) -> NDArray[np.bool_]:
    """Which animals `draw_animals` draws.

    Args:
        sizes: photos of each known animal, in ascending order of animals.
        first_row: of each; `wildlife_datasets` needs it.

    Raises:
        DatasetError: as `draw_animals`.
    """
    total = len(sizes)
    if total < 2:
        raise DatasetError(
            f"{dataset}: {total} animals cannot be divided into those asked for and others; "
            "name more animals or set split.kind to closed_set"
        )
    if count is not None and count >= total:
        raise DatasetError(
            f"{dataset}: {count} animals were to be kept apart, but there are {total} in all; "
            f"set split.unknown_identities or test_identities to {total - 1} at most"
        )
    order = np.argsort(lcg(seed, total), kind="stable")
    if draw == "wildlife_datasets":
        order = np.lexsort((first_row, -sizes))[order]
    if count is None:
        taken = np.cumsum(sizes[order])
        if draw == "wildlife_datasets":
            count = int(np.searchsorted(taken, np.round(taken[-1] * share))) + 1
        else:
            count = int(np.argmin(np.abs(taken[:-1] / taken[-1] - share))) + 1
    if count >= total:
        raise DatasetError(f"{dataset}: a share of {share} takes all {total} animals; lower it")
    chosen = np.zeros(total, bool)
    chosen[order[:count]] = True
    return chosen
