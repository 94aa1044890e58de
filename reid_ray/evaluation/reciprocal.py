"""Re-rank what an embedding finds by k-reciprocal neighbours (Zhong et al. 2017, arXiv 1701.08398).

Two photos that are in each other's lists of nearest ones, and share most of these lists, are more likely of
one animal than their distance alone says. In: unit vectors of a query and its candidates. Out: distances.

Legend: n photos, the query first, then its candidates; d dims.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SHARED = 2 / 3
"""Share of a candidate's own reciprocal neighbours that must be the photo's, too, to take over the rest."""


class Reciprocal(NamedTuple):
    """The paper's parameters.

    Attributes:
        k1: length of the lists of nearest photos.
        k2: photos, itself included, whose lists are averaged (query expansion).
        weight: lambda, the share (0..1) of the plain distance; 1 leaves the order as it was.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3


def reciprocal_distances(units_nd: NDArray[np.float32], settings: list[Reciprocal]) -> NDArray[np.float32]:
    """Distances of the first photo to all others, float32 [settings, n - 1], from 0 to 1.

    The final distance of equation 12, with the Jaccard distance of equation 10 of the encodings of equations
    5, 7 and 11, and the squared Euclidean distance over each photo's largest, as in the authors' code.
    """
    plain = np.maximum(2 - 2 * (units_nd.astype(np.float64) @ units_nd.T.astype(np.float64)), 0)
    np.fill_diagonal(plain, 0)
    plain /= np.maximum(plain.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    order = np.argsort(plain, axis=1, kind="stable")
    found = np.empty((len(settings), len(units_nd) - 1), np.float32)
    encoded: dict[int, NDArray[np.float64]] = {}
    for number, one in enumerate(settings):
        if one.weight == 1:
            found[number] = plain[0, 1:]
            continue
        if one.k1 not in encoded:
            encoded[one.k1] = _encodings(plain, order, one.k1)
        own = encoded[one.k1]
        if one.k2 > 1:
            own = np.stack([own[nearest].mean(axis=0) for nearest in order[:, : one.k2]])
        shared = np.minimum(own[0], own[1:]).sum(axis=1)
        jaccard = 1 - shared / (2 - shared)
        found[number] = jaccard * (1 - one.weight) + plain[0, 1:] * one.weight
    return found


def _encodings(plain: NDArray[np.float64], order: NDArray[np.int64], k1: int) -> NDArray[np.float64]:
    """How near the expanded k-reciprocal neighbours of each photo are, float64 [n, n]; rows sum up to 1."""
    whole, half = (_mutual(order, size + 1) for size in (k1, int(np.around(k1 / 2))))
    shared = whole.astype(np.float32) @ half.astype(np.float32).T
    similar = whole & (shared > _SHARED * half.sum(axis=1))
    expanded = whole | (similar.astype(np.float32) @ half.astype(np.float32) > 0)
    weights = np.where(expanded, np.exp(-plain), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _mutual(order: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which photos are each among the other's first so many, bool [n, n]."""
    near = np.zeros(order.shape, bool)
    np.put_along_axis(near, order[:, :size], True, axis=1)
    return near & near.T
