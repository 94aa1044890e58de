"""Score references by local naive-Bayes nearest neighbours (McCann and Lowe 2012, CVPR).

For each query descriptor the nearest references vote, each with how much nearer it is than the
first one that gets no vote. One pass over the descriptors serves any number of settings. In: packed
features. Out: scores.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Distance
from reid_ray.matching.compiled import compiled
from reid_ray.matching.engine import Packed, nearest_images

LnbnnSetting = tuple[int, Distance]
"""Votes per descriptor, and whether distances are squared or plain."""


def lnbnn_block(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    settings: Sequence[LnbnnSetting],
    *,
    identities_g: NDArray[np.int64] | None = None,
    left_out_qg: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Scores of queries start:stop against every reference, float64 [s, q, g]; higher is better.

    A descriptor's list of references has each once, by its nearest descriptor; ties: the lower
    position first. The first `neighbours` get (distance of the next one - own distance), summed
    over the query's descriptors. Sums of squared distances are whole numbers and exact.

    Args:
        settings: each s is (votes per descriptor, kind of distance); a list that is shorter than
            that gives as many votes as it has references but one.
        identities_g: a number per reference: only the nearest reference of an identity votes, and
            its vote counts for every reference of that identity. None: each reference by itself.
        left_out_qg: references that are as if they were not there, for each of these queries.
    """
    groups = np.arange(len(references)) if identities_g is None else identities_g
    scores = np.zeros((len(settings), stop - start, len(references)))
    kept = min(max(neighbours for neighbours, _ in settings), len(references) - 1) + 1
    if kept < 2:
        return scores
    squared, images = nearest_images(queries, start, stop, references, kept=kept, left_out_qg=left_out_qg)
    by_kind = {"squared": squared.astype(np.float64)}
    if any(kind == "plain" for _, kind in settings):
        by_kind["plain"] = np.sqrt(by_kind["squared"])
    owners = np.repeat(np.arange(stop - start), np.diff(queries.offsets[start : stop + 1]))
    for s, (neighbours, kind) in enumerate(settings):
        votes = np.zeros((stop - start, int(groups.max()) + 1))
        _vote(by_kind[kind], images, neighbours, owners, groups, votes)
        scores[s] = votes[:, groups]
    return scores


@compiled()
def _vote(distances, images, neighbours, owners, groups, votes):  # type: ignore[no-untyped-def]
    """Add each descriptor's votes; the one after the last voter is what they are measured by."""
    for row in range(len(distances)):
        last = min(neighbours, distances.shape[1] - 1)
        while last > 0 and images[row, last] < 0:
            last -= 1
        background = distances[row, last]
        for place in range(last):
            group = groups[images[row, place]]
            nearest = True
            for earlier in range(place):
                nearest = nearest and groups[images[row, earlier]] != group
            if nearest:
                votes[owners[row], group] += background - distances[row, place]
