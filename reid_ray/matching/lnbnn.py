"""Score references by local naive-Bayes nearest neighbours (McCann and Lowe 2012, CVPR).

For each query descriptor the nearest references vote, each with how much nearer it is than the
first one that gets no vote. There is no threshold to choose. In: packed features. Out: scores.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.engine import Packed, nearest_images


def lnbnn_block(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    *,
    neighbours: int,
    identities_g: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Scores of queries start:stop against every reference, float64 [q, g]; higher is better.

    A descriptor's list of references has each once, by its nearest descriptor; ties: the lower
    position first. The first `neighbours` get (squared distance to the next one - own squared
    distance), summed over the query's descriptors. Sums of whole numbers are exact.

    Args:
        neighbours: votes per descriptor; at most the references minus one.
        identities_g: a number per reference: only the nearest reference of an identity votes, and
            its vote counts for every reference of that identity. None: each reference by itself.
    """
    kept = min(neighbours, len(references) - 1) + 1
    scores = np.zeros((stop - start, len(references)))
    if kept < 2:
        return scores
    groups = np.arange(len(references)) if identities_g is None else identities_g
    distances, images = nearest_images(queries, start, stop, references, kept=kept)
    owners = np.repeat(np.arange(stop - start), np.diff(queries.offsets[start : stop + 1]))
    votes = np.zeros((stop - start, int(groups.max()) + 1))
    _vote(distances, images, owners, groups, votes)
    scores[:] = votes[:, groups]
    return scores


@numba.njit(nogil=True, cache=True)
def _vote(distances, images, owners, groups, votes):  # type: ignore[no-untyped-def]
    """Add each descriptor's votes; the last of its list is what the others are measured by."""
    kept = distances.shape[1]
    for row in range(len(distances)):
        if images[row, kept - 1] < 0:
            continue
        background = np.float64(distances[row, kept - 1])
        for place in range(kept - 1):
            group = groups[images[row, place]]
            nearest = True
            for earlier in range(place):
                nearest = nearest and groups[images[row, earlier]] != group
            if nearest:
                votes[owners[row], group] += background - distances[row, place]
