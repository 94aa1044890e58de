"""Find query photos that are a reference photo once more: scaled, encoded anew, cropped, brightened.

In: prepared photos. Out: pairs (query, other), each the closest found. Three steps, each for what
the one before left over: perceptual hashes (signs of low DCT frequencies, as in pHash) that differ
in few of 64 bits; small grey pictures that correlate; and these once more, one laid over the other
at the offset and scale where both agree best, because a crop shifts everything. There they must
agree in their fine detail, too: seals on ice are all dark before light. Legend: q queries, o others.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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

_SMALL_PX = 64
_FINE_PX = 2.0  # deviation of the blur that leaves the coarse
_HASHED_PX = 32
_TINY_PX = 16
_BLOCK = 1 << 22  # hash pairs compared at once
_CROPS = (1.0, 0.95, 0.9, 0.85)
"""Sides of the part of one picture that the other may show."""


class Looks(NamedTuple):
    """What photos look like from afar.

    Attributes:
        hashes: uint64 [n].
        tiny: float32 [n, 256], grey at 16 x 16 pixels, mean 0 and length 1.
        small: float32 [n, 64, 64], grey, smoothed.
    """

    hashes: NDArray[np.uint64]
    tiny: NDArray[np.float32]
    small: NDArray[np.float32]


def find_near_duplicates(
    images: PreparedImages, queries: NDArray[np.int64], others: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Each query (position in `images`) that nearly is one of `others`, with the closest of them."""
    if not len(queries) or not len(others):
        return []
    looks_q, looks_o = looks_of(images, queries), looks_of(images, others)
    best: dict[int, tuple[float, int]] = {}
    for q, o in _correlating(looks_q, looks_o):
        found, fine = agreement(looks_q.small[q], looks_o.small[o])
        if found >= AGREEMENT and fine >= FINE_AGREEMENT:
            best[q] = max(best.get(q, (0.0, 0)), (found, o))
    return [(int(queries[q]), int(others[o])) for q, (_, o) in sorted(best.items())]


def looks_of(images: PreparedImages, positions: NDArray[np.int64]) -> Looks:
    """Hashes and small pictures of the given photos, by threads (OpenCV lets them run at once)."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda position: _look(images[int(position)]), positions))
    return Looks(
        np.array([bits for bits, _, _ in found], np.uint64),
        np.array([tiny for _, tiny, _ in found], np.float32),
        np.array([small for _, _, small in found], np.float32),
    )


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Highest correlation of a part of one small picture with the other as a whole, and that of their
    fine detail in the same place, both -1..1.
    """
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
    size = (round(width * _SMALL_PX), round(height * _SMALL_PX))
    shrunk = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    _, best, _, (left, top) = cv2.minMaxLoc(cv2.matchTemplate(whole, shrunk, cv2.TM_CCOEFF_NORMED))
    if best < AGREEMENT:
        return best, -1.0  # the detail decides nothing
    covered = whole[top : top + size[1], left : left + size[0]]
    details = (_fine(covered), _fine(shrunk))
    return best, float(cv2.matchTemplate(*details, cv2.TM_CCOEFF_NORMED)[0, 0])


def _fine(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), _FINE_PX), np.float32)


def _look(pixels: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    hashed = cv2.resize(small, (_HASHED_PX, _HASHED_PX), interpolation=cv2.INTER_AREA)
    # 8 x 8 lowest frequencies less the mean of the picture: one bit for each above their median.
    low = cv2.dct(hashed)[:8, :8].reshape(-1)
    bits = np.packbits(low > np.median(low[1:])).view(np.uint64)[0]
    tiny = cv2.resize(small, (_TINY_PX, _TINY_PX), interpolation=cv2.INTER_AREA).reshape(-1)
    tiny -= tiny.mean()
    return int(bits), tiny / (np.linalg.norm(tiny) or 1), cv2.GaussianBlur(small, (3, 3), 0)


def _correlating(queries: Looks, others: Looks) -> Iterator[tuple[int, int]]:
    """Pairs with close hashes whose tiny pictures correlate."""
    for q, o in _close(queries.hashes, others.hashes):
        alike = np.einsum("np,np->n", queries.tiny[q], others.tiny[o])
        for place in np.flatnonzero(alike >= CORRELATION):
            yield int(q[place]), int(o[place])


def _close(
    hashes_q: NDArray[np.uint64], hashes_o: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs whose hashes differ in at most `HASH_BITS` bits, a block of queries at a time."""
    step = max(1, _BLOCK // len(hashes_o))
    for start in range(0, len(hashes_q), step):
        differing = np.bitwise_count(hashes_q[start : start + step, None] ^ hashes_o[None])
        q, o = np.nonzero(differing <= HASH_BITS)
        for at in range(0, len(q), 4096):
            yield q[at : at + 4096] + start, o[at : at + 4096]
