"""Plan which photos make up each batch of an epoch.

The plan is a pure function of (labels, seed, epoch): every rank makes the same one and takes its
part, so the same global batches are trained on whatever the number of workers, and a resumed run
goes on exactly.
"""

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


def epoch_plan(
    labels: Index, *, batch_size: int, seed: int, epoch: int, photos_per_identity: int | None = None
) -> Index:
    """Positions of the photos of each batch.

    Args:
        labels: identity number of every training photo, [n].
        photos_per_identity: K of identity-balanced batches of P x K; None: plain shuffling.

    Returns:
        [batches, batch_size]. Every photo comes at least once; where the last batch is not full, it
        is filled from the start of the order, so that all batches (and all ranks) are equal in
        size.
    """
    rng = np.random.default_rng([seed, epoch])
    if photos_per_identity is None:
        order = rng.permutation(len(labels))
    else:
        order = _balanced_order(labels, photos_per_identity, rng)
    batches = max(1, -(-len(order) // batch_size))
    return np.resize(order, (batches, batch_size)).astype(np.int64)


def _balanced_order(labels: Index, k: int, rng: np.random.Generator) -> Index:
    """Groups of K photos of one identity, shuffled so that a batch mixes identities.

    Identities with fewer than K photos (or a remainder) repeat some of their own, so that each
    anchor has a positive; identities of one photo repeat it and serve as negatives only by their
    label's rarity.
    """
    by_label = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[by_label], prepend=-1))
    groups = []
    for photos in np.split(by_label, starts[1:]):
        shuffled = rng.permutation(photos)
        rounds = -(-len(shuffled) // k)
        groups.append(np.resize(shuffled, (rounds, k)))
    stacked = np.concatenate(groups)
    return stacked[rng.permutation(len(stacked))].reshape(-1)
