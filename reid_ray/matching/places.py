"""Learn from where in a photo votes go to the right animal. In: votes by cell of a grid. Out: weights.

Photos of one encounter share a background, and so do photos of one site: votes from there name places.
Where photos of the own animal, of other encounters, get no more votes than photos of other animals do,
there is nothing to be learnt of the animal. Flanks are mirrored, so that a head is always on one side.

Legend: q asked photos, c cells, g photos that answer, K keypoints of all photos.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from reid_ray.errors import StorageError
from reid_ray.matching.features import Features

GRID = 8
CELLS = GRID * GRID
"""Cells of a photo, row by row."""
LEFT, RIGHT = 0, 1
"""Sides of which one is seen mirrored; any other number is no such side."""


def cells_of(features: Features) -> NDArray[np.int64]:
    """The cell of each keypoint, int64 [K]; of photos whose size is unknown, the first one."""
    sizes = np.repeat(np.maximum(features.sizes_px, 1), features.keypoints, axis=0)
    share = np.clip(features.points_xy / sizes, 0, np.nextafter(np.float32(1), np.float32(0)))
    column, row = (share * GRID).astype(np.int64).T
    return np.asarray(row * GRID + column)


def mirrored(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cell on the other side of a photo's middle."""
    return np.asarray(cells - cells % GRID + (GRID - 1 - cells % GRID))


@dataclass(frozen=True)
class PlaceWeights:
    """What a vote counts, by where it comes from.

    Attributes:
        weights_c: of the cells of a left flank, 0 or more.
        sided: whether they were learnt of flanks; then a right one is mirrored, and where the side is
            not known, both have a half.
    """

    weights_c: tuple[float, ...]
    sided: bool

    def of(self, cells: NDArray[np.int64], sides: NDArray[np.int64]) -> NDArray[np.float32]:
        """The weight of each keypoint, float32 [K].

        Args:
            cells: of each keypoint.
            sides: of each keypoint's photo, `LEFT`, `RIGHT` or another number.
        """
        plain = np.array(self.weights_c, np.float32)
        if not self.sided:
            return np.asarray(plain[cells])
        turned = plain[mirrored(np.arange(CELLS))]
        kind = np.where(sides == LEFT, 0, np.where(sides == RIGHT, 1, 2))
        return np.asarray(np.stack([plain, turned, (plain + turned) / 2])[kind, cells])

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        return {"weights": list(self.weights_c), "sided": self.sided}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PlaceWeights":
        """What `as_json` gave.

        Raises:
            StorageError: it is something else.
        """
        try:
            found = cls(tuple(map(float, raw["weights"])), bool(raw["sided"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"not weights of places ({error!r})") from None
        values = np.array(found.weights_c)
        if len(values) != CELLS or not np.isfinite(values).all() or (values < 0).any():
            raise StorageError(f"not weights of places: expected {CELLS} numbers of 0 or more")
        return found


class Shape(NamedTuple):
    """How boldly weights follow votes.

    Attributes:
        smooth: standard deviation of the Gaussian that cells share their votes by, in cells.
        power: of the excess over chance.
    """

    smooth: float
    power: int


SHAPES = tuple(Shape(smooth, power) for power in (1, 2) for smooth in (1.5, 1.0, 0.7, 0.5))
"""What may be chosen, the most careful of equals first."""
_PRIOR = 0.1
"""Votes, in mean votes of a cell, by which each cell is drawn to the excess of the whole photo."""


class Evidence(NamedTuple):
    """Mean votes of some asked photos' cells, all as of a left flank.

    Attributes:
        own: float64 [q, c], for a photo of the own animal.
        others: float64 [q, c], for a photo of another one.
    """

    own: NDArray[np.float64]
    others: NDArray[np.float64]

    def take(self, chosen: Any) -> "Evidence":
        return Evidence(self.own[chosen], self.others[chosen])


def learn(evidence: Evidence, shape: Shape) -> NDArray[np.float64]:
    """Weights [c]: by how much votes for the own animal exceed those for others, as a share of these.

    Votes for others have a mean weight of 1, so that scores keep their size. All weights are 1 where no
    cell has an excess.
    """
    own, others = (
        gaussian_filter(side.sum(axis=0).reshape(GRID, GRID), shape.smooth, mode="nearest").ravel()
        for side in evidence
    )
    prior = _PRIOR * others.mean()
    if not prior > 0:
        return np.ones(CELLS)
    lift = (own + prior * own.sum() / others.sum()) / (others + prior)
    weights = np.maximum(lift - 1, 0) ** shape.power
    mean = float(np.average(weights, weights=others))
    return weights / mean if mean > 0 else np.ones(CELLS)
