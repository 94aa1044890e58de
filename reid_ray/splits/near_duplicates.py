"""Find query photos that are a reference photo once more: scaled, encoded anew, cropped, brightened.

In: prepared photos. Out: pairs (query, other), each the closest found. Three steps, each for what
the one before left over: perceptual hashes (signs of low DCT frequencies, as in pHash) that differ
in few of 64 bits; tiny grey pictures that correlate; and larger ones, one laid over the other at the
offset and scale where both agree best, because a crop shifts everything. There they must agree in
their fine detail, too: seals on ice are all dark before light.

Of many photos, a query meets only those of the cells of tiny pictures that are next to its own, so that the
work grows with n^1.5. Legend: q queries, o others, c cells.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.datasets.prepared import PreparedImages

HASH_BITS = 16
"""Hashes of copies differ in so many bits at most."""
CORRELATION = 0.45
"""Correlation of two tiny pictures, as they are, below which they are not looked at again."""
AGREEMENT = 0.93
"""Correlation at the best offset and scale from which on two pictures are nearly the same.

Measured on three synthetic collections, 740 photos of lions and 729 of nyalas: of different photos none
agrees by more than 0.891; of copies that were scaled to 2/3, encoded at quality 40, brightened, darkened,
cut to 90 % of their sides, or all of it at once, none by less than 0.934. Of 300 copies of each kind all
three steps find all that were scaled, encoded anew, brightened or darkened, 298 cut to 95 %, 231 cut to 90
%, and 283 with all of it at once. """
FINE_AGREEMENT = 0.8
"""The same of what is finer than about four of 64 pixels.

Measured as above, and on ringed seals of the synthetic collections: of different photos that agree by more
than 0.85, none by more than 0.71; of 60 to 100 copies of each kind none by less than 0.90. """

COARSE_AGREEMENT = 0.88
"""As `AGREEMENT`, at 24 pixels: of 1227 cropped copies of lions and nyalas, none has less than 0.897, of
452 pairs of different photos that reach this step, 0.7 % have more. It is three times as fast. """
COMPARED_WITH_ALL = 20_000
"""Up to so many others, a query is compared with all."""
CELLS_LOOKED_INTO = 16
"""Of about sqrt(o). Of 300 copies of each kind among 60 000 photos, of those that comparing with all finds,
these hold all that were scaled, encoded anew, brightened or cut to 95 %, 92.5 % of those cut to 90 %, and
96.7 % of those with all of it at once."""

_SMALL_PX = 64
_COARSE_PX = 24
_FINE_PX = 2.0  # deviation of the blur that leaves the coarse
_HASHED_PX = 32
_TINY_PX = 16
_BLOCK = 1 << 22  # hash pairs compared at once
_AT_ONCE = 4096
_CROPS = (1.0, 0.95, 0.9, 0.85)
"""Sides of the part of one picture that the other may show."""


class Looks(NamedTuple):
    """What photos look like from afar, half a kilobyte of each.

    Attributes:
        hashes: uint64 [n].
        tiny: float16 [n, 256], grey at 16 x 16 pixels, mean 0 and length 1.
    """

    hashes: NDArray[np.uint64]
    tiny: NDArray[np.float16]

    def take(self, places: NDArray[np.int64]) -> "Looks":
        return Looks(self.hashes[places], self.tiny[places])

    @classmethod
    def concat(cls, parts: "Sequence[Looks]") -> "Looks":
        return cls(*(np.concatenate(of) for of in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Known:
    """The photos that queries may repeat, by cell.

    Attributes:
        positions: int64 [o], of photos.
        looks: of each.
        centres: float32 [c, 256], tiny pictures of some of them.
        starts: int64 [c + 1], where each cell begins; photos lie in the order of their cells.
    """

    positions: NDArray[np.int64]
    looks: Looks
    centres: NDArray[np.float32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, positions: NDArray[np.int64], looks: Looks) -> "Known":
        """One cell of all, or about sqrt(o) where there are many."""
        few = len(positions) <= COMPARED_WITH_ALL
        count = 1 if few else int(np.sqrt(len(positions)))
        drawn = np.random.default_rng(0).choice(len(positions), count, replace=False)
        centres = looks.tiny[drawn].astype(np.float32)
        cell = np.concatenate([_nearest(part, centres, 1)[:, 0] for part in _parts(looks.tiny)])
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.arange(count + 1))
        return cls(positions[order], looks.take(order), centres, starts)

    def near(self, tiny_q: NDArray[np.float16]) -> Iterator[tuple[NDArray[np.int64], slice]]:
        """For each cell: the queries that look into it, and where its photos are."""
        cells = _nearest(tiny_q, self.centres, min(CELLS_LOOKED_INTO, len(self.centres)))
        for cell in np.unique(cells):
            asked = np.flatnonzero((cells == cell).any(axis=1))
            yield asked, slice(int(self.starts[cell]), int(self.starts[cell + 1]))


def find_near_duplicates(
    images: PreparedImages, queries: NDArray[np.int64], others: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Each query (position in `images`) that nearly is one of `others`, with the closest of them."""
    if not len(queries) or not len(others):
        return []
    known = Known.of(others, looks_of(images, others))
    return repeated(images, queries, looks_of(images, queries), known)


def repeated(
    images: PreparedImages, queries: NDArray[np.int64], looks: Looks, known: Known
) -> list[tuple[int, int]]:
    """As `find_near_duplicates`, with what photos look like."""
    best: dict[int, tuple[float, int]] = {}
    for q, o in sorted(_correlating(looks, known)):
        query, other = int(queries[q]), int(known.positions[o])
        found, fine = agreement(_small(images[query]), _small(images[other]))
        if found >= AGREEMENT and fine >= FINE_AGREEMENT:
            best[query] = max(best.get(query, (0.0, 0)), (found, other))
    return [(query, other) for query, (_, other) in sorted(best.items())]


def looks_of(images: PreparedImages, positions: NDArray[np.int64]) -> Looks:
    """Of the given photos, by threads (OpenCV lets them run at once)."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda position: _look(images[int(position)]), positions))
    return Looks(
        np.array([bits for bits, _ in found], np.uint64),
        np.array([tiny for _, tiny in found], np.float16).reshape(-1, _TINY_PX**2),
    )


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Highest correlation of a part of one small picture with the other as a whole, and that of their
    fine detail in the same place, both -1..1. Pictures that are far apart at a third of their size are not
    looked at more closely.
    """
    coarse = [
        cv2.resize(picture, (_COARSE_PX, _COARSE_PX), interpolation=cv2.INTER_AREA)
        for picture in (one, other)
    ]
    if (apart := _best(*coarse))[0] < COARSE_AGREEMENT:
        return apart
    return _best(one, other)


def _best(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    return max(
        _inside(whole, part, height, width)
        for whole, part in ((one, other), (other, one))
        for height in _CROPS
        for width in _CROPS
        if height != 1.0 or width != 1.0 or whole is one
    )


def _inside(
    whole: NDArray[np.float32], part: NDArray[np.float32], height: float, width: float
) -> tuple[float, float]:
    size = (round(width * len(whole)), round(height * len(whole)))
    shrunk = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    _, best, _, (left, top) = cv2.minMaxLoc(cv2.matchTemplate(whole, shrunk, cv2.TM_CCOEFF_NORMED))
    if best < AGREEMENT:
        return best, -1.0  # the detail decides nothing
    covered = whole[top : top + size[1], left : left + size[0]]
    details = (_fine(covered), _fine(shrunk))
    return best, float(cv2.matchTemplate(*details, cv2.TM_CCOEFF_NORMED)[0, 0])


def _fine(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), _FINE_PX), np.float32)


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey, float32 [64, 64], smoothed."""
    return np.asarray(cv2.GaussianBlur(_shrunk(pixels), (3, 3), 0), np.float32)


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _look(pixels: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32]]:
    small = _shrunk(pixels)
    hashed = cv2.resize(small, (_HASHED_PX, _HASHED_PX), interpolation=cv2.INTER_AREA)
    # 8 x 8 lowest frequencies less the mean of the picture: one bit for each above their median.
    low = cv2.dct(hashed)[:8, :8].reshape(-1)
    bits = np.packbits(low > np.median(low[1:])).view(np.uint64)[0]
    tiny = cv2.resize(small, (_TINY_PX, _TINY_PX), interpolation=cv2.INTER_AREA).reshape(-1)
    tiny -= tiny.mean()
    return int(bits), tiny / (np.linalg.norm(tiny) or 1)


def _parts(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for at in range(0, len(values), _AT_ONCE):
        yield values[at : at + _AT_ONCE]


def _nearest(tiny: NDArray[np.float16], centres: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The cells whose centres correlate most with each picture, int64 [n, count], in any order."""
    alike = tiny.astype(np.float32) @ centres.T
    return np.argpartition(-alike, count - 1, axis=1)[:, :count]


def _correlating(queries: Looks, known: Known) -> Iterator[tuple[int, int]]:
    """Pairs of the same cells with close hashes whose tiny pictures correlate, by place."""
    for asked, cell in known.near(queries.tiny):
        for q, o in _close(queries.hashes[asked], known.looks.hashes[cell]):
            q, o = asked[q], o + cell.start
            tiny_q, tiny_o = (
                looks.tiny[at].astype(np.float32) for looks, at in ((queries, q), (known.looks, o))
            )
            alike = np.einsum("np,np->n", tiny_q, tiny_o) >= CORRELATION
            yield from zip(q[alike].tolist(), o[alike].tolist(), strict=True)


def _close(
    hashes_q: NDArray[np.uint64], hashes_o: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs whose hashes differ in at most `HASH_BITS` bits, a block of queries at a time."""
    step = max(1, _BLOCK // max(1, len(hashes_o)))
    for start in range(0, len(hashes_q), step):
        differing = np.bitwise_count(hashes_q[start : start + step, None] ^ hashes_o[None])
        q, o = np.nonzero(differing <= HASH_BITS)
        for at in range(0, len(q), _AT_ONCE):
            yield q[at : at + _AT_ONCE] + start, o[at : at + _AT_ONCE]
