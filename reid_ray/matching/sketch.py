"""Shorten byte descriptors so that most comparisons are settled without the whole ones. In: int8
[K, d]. Out: int8 [K, 48].

A sketch holds a descriptor's shares in the 48 directions in which descriptors vary most (principal
components, turned at random so that all are equally long, as in Gong and Lazebnik 2011, CVPR),
rounded to whole steps. Leaving directions out only shortens distances, and what rounding changes is
measured for each descriptor: its `slack`. So with distances in the plain (not squared) sense

    true distance >= step * distance of sketches - slack - slack of the other

holds always, and nothing that is left out because of it can change a count.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.compiled import compiled

LENGTH = 48
"""Of SIFT's 128: three eighths of the work, and enough for ratios of squared distances to 0.6."""
LEAST_DESCRIPTORS = 4096
"""Below that, whole descriptors are compared in no time."""
INDEX_BITS = 12
"""An image's row number, put below the sketch distance in one int32; see `fused.py`."""
LONGEST = 2 ** (31 - INDEX_BITS) // 3
"""Largest squared norm of a sketch, so that norm - 2 product fits beside the row number."""

_SAMPLE = 20_000
_BLOCK = 32_768
_ROUNDING = np.float32(0.01)
"""More than float32 arithmetic is wrong by, on distances of up to some thousands."""


@dataclass(frozen=True)
class Basis:
    """What turns descriptors into sketches; both sides need the same.

    Attributes:
        directions: float32 [d, 48], orthonormal.
        centre: float32 [d].
        step: length of 1 in a sketch.
    """

    directions: NDArray[np.float32]
    centre: NDArray[np.float32]
    step: np.float32

    @classmethod
    def learn(cls, descriptors: NDArray[np.int8]) -> "Basis":
        """Directions of the largest variance of (a sample of) these descriptors."""
        sample = descriptors[:: -(-len(descriptors) // _SAMPLE)].astype(np.float32)
        centre = sample.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov(sample.T.astype(np.float64)))
        random = np.random.default_rng(0).normal(size=(LENGTH, LENGTH))
        directions = (vectors[:, -LENGTH:] @ np.linalg.qr(random)[0]).astype(np.float32)
        widest = np.abs((sample - centre) @ directions).max()
        return cls(directions, centre, np.float32(max(widest, 1.0) / 127))


@dataclass(frozen=True)
class Sketches:
    """Sketches of K descriptors.

    Attributes:
        basis: what made them.
        codes: int8 [K, 48].
        slack: float32 [K], by how much rounding moved each, in the descriptors' plain distance.
    """

    basis: Basis
    codes: NDArray[np.int8]
    slack: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.slack.nbytes

    @classmethod
    def of(cls, descriptors: NDArray[np.int8], basis: Basis) -> "Sketches":
        """Sketches of int8 descriptors [K, d]."""
        codes = np.empty((len(descriptors), LENGTH), np.int8)
        slack = np.empty(len(descriptors), np.float32)
        for at in range(0, len(descriptors), _BLOCK):
            part = slice(at, at + _BLOCK)
            shares = (descriptors[part].astype(np.float32) - basis.centre) @ basis.directions
            _round(shares, basis.step, codes[part], slack[part])
        return cls(basis, codes, slack)

    def take(self, rows: slice | NDArray[np.int64]) -> "Sketches":
        """Those of the given descriptors."""
        return Sketches(self.basis, self.codes[rows], self.slack[rows])


@compiled()
def _round(shares, step, codes, slack):  # type: ignore[no-untyped-def]
    """Nearest codes that are not too long, and their distance from what they stand for."""
    for k in range(len(shares)):
        squared, length = np.float32(0), shares.shape[1]
        for share in shares[k]:
            squared += (share / step) ** 2
        # Rounding adds up to half a step per direction, hence the margin.
        allowed = np.float32(np.sqrt(LONGEST) - np.sqrt(length) / 2)
        shrink = min(np.float32(1), allowed / max(np.sqrt(squared), np.float32(1)))
        moved = np.float32(0)
        for i in range(length):
            code = np.round(shares[k, i] / step * shrink)
            code = min(max(code, np.float32(-127)), np.float32(127))
            codes[k, i] = np.int8(code)
            moved += (shares[k, i] - code * step) ** 2
        slack[k] = np.sqrt(moved) + _ROUNDING
