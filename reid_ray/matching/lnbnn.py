"""Score references by local naive-Bayes nearest neighbours (McCann and Lowe 2012, CVPR).

For each query descriptor the nearest references vote, each with how much nearer it is than the
first one that gets no vote. One pass over the descriptors serves any number of settings. In: packed
features. Out: scores.
"""

from collections.abc import Sequence
from typing import NamedTuple

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

    A descriptor's votes count as much as its `Packed.weights` says.

    Args:
        settings: each s is (votes per descriptor, kind of distance); a list that is shorter than
            that gives as many votes as it has references but one.
        identities_g: a number per reference: only the nearest reference of an identity votes, and
            its vote counts for every reference of that identity. None: each reference by itself.
        left_out_qg: references that are as if they were not there, for each of these queries.
    """
    groups = np.arange(len(references)) if identities_g is None else identities_g
    scores = np.zeros((len(settings), stop - start, len(references)))
    owners = np.repeat(np.arange(stop - start), np.diff(queries.offsets[start : stop + 1]))
    weights = None
    if queries.weights is not None:
        weights = queries.weights[queries.offsets[start] : queries.offsets[stop]].astype(np.float64)
    near = _nearest(queries, start, stop, references, settings, left_out_qg)
    if near is None:
        return scores
    for s, (neighbours, kind) in enumerate(settings):
        distances = near.by_kind[kind] if weights is None else near.by_kind[kind] * weights[:, None]
        votes = np.zeros((stop - start, int(groups.max()) + 1))
        _vote(distances, near.images, neighbours, owners, groups, votes)
        scores[s] = votes[:, groups]
    return scores


def lnbnn_by_part(
    queries: Packed,
    references: Packed,
    setting: LnbnnSetting,
    parts: NDArray[np.int64],
    count: int,
    *,
    left_out_qg: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Votes for every reference by the part of the query that they come from, float64 [q, parts, g].

    Args:
        parts: of each descriptor of the queries its part, 0 .. count - 1.
    """
    votes = np.zeros((len(queries) * count, len(references)))
    owners = np.repeat(np.arange(len(queries)), np.diff(queries.offsets)) * count + parts
    if near := _nearest(queries, 0, len(queries), references, [setting], left_out_qg):
        _vote(near.by_kind[setting[1]], near.images, setting[0], owners, np.arange(len(references)), votes)
    return votes.reshape(len(queries), count, len(references))


class _Near(NamedTuple):
    """The nearest references of each descriptor: distances by kind, and positions."""

    by_kind: dict[Distance, NDArray[np.float64]]
    images: NDArray[np.int64]


def _nearest(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    settings: Sequence[LnbnnSetting],
    left_out_qg: NDArray[np.bool_] | None,
) -> _Near | None:
    """As many as the settings need; None where there are too few references to vote."""
    kept = min(max(neighbours for neighbours, _ in settings), len(references) - 1) + 1
    if kept < 2:
        return None
    squared, images = nearest_images(queries, start, stop, references, kept=kept, left_out_qg=left_out_qg)
    by_kind: dict[Distance, NDArray[np.float64]] = {"squared": squared.astype(np.float64)}
    if any(kind == "plain" for _, kind in settings):
        by_kind["plain"] = np.sqrt(by_kind["squared"])
    return _Near(by_kind, images)


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
