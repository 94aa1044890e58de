"""Show which keypoints speak for an answer. In: two photos, a method. Out: the matches that counted, and what
to think of the others.

A match counts where its place does: not outside the animal, as a mask or the weights of places have it,
and only with others that agree on one geometric transform.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching, Sift, Verify
from reid_ray.datasets.cutout import painted
from reid_ray.matching import sift
from reid_ray.matching.features import Features
from reid_ray.matching.places import PlaceWeights, cells_of
from reid_ray.matching.verify import inlier_mask, match_pair

Photo = NDArray[np.uint8]
Points = NDArray[np.floating]
BACKGROUND = 0.2
"""Weight of a place, where the mean vote has 1, below which it is taken for background."""


class Evidence(NamedTuple):
    """Matches of two photos.

    Attributes:
        query, reference: points [m, 2] of those that counted, in pixels.
        found: how many matched before any was left out.
        background: how many of these lie outside the animal.
    """

    query: Points
    reference: Points
    found: int
    background: int

    @property
    def note(self) -> str:
        """A sentence where most matches speak for a place, not for an animal; or ""."""
        if self.found and 2 * self.background > self.found:
            return (
                f"{self.background} of {self.found} matched keypoints lie outside the animal and do not count"
            )
        return ""


def evidence(
    query_rgb: Photo,
    reference_rgb: Photo,
    ratio: float,
    config: Matching,
    *,
    places: PlaceWeights | None = None,
    side: int = -1,
    cut: bool = False,
    away_q: NDArray[np.bool_] | None = None,
    away_r: NDArray[np.bool_] | None = None,
) -> Evidence:
    """The matches of a query with one reference.

    Of extractors other than SIFT, OpenCV's SIFT is drawn: it shows the same parts of the animal.

    Args:
        places: what votes count by where they come from in the query; None: all alike.
        side: that the query shows, a place in `SIDES`.
        cut: the query was painted black but for the animal.
        away_q, away_r: where the query, and the reference, show none of it, bool [H, W] at any size; None:
            it is not known, or does not matter.
    """
    features, pairs = matches(query_rgb, reference_rgb, ratio, config)
    query, reference = features.image(0), features.image(1)
    away = np.zeros(len(query), bool)
    if places is not None:
        own = features.take([0])
        away |= places.of(cells_of(own), np.full(len(query), side)) < BACKGROUND
    if cut:
        x, y = query.points_xy.astype(np.int64).T
        away |= painted(query_rgb)[y.clip(0, query_rgb.shape[0] - 1), x.clip(0, query_rgb.shape[1] - 1)]
    if away_q is not None:
        away |= query.within(away_q)
    not_there = np.zeros(len(reference), bool) if away_r is None else reference.within(away_r)
    beside = away[pairs[:, 0]] | not_there[pairs[:, 1]]
    kept = pairs[~beside]
    kept = kept[inlier_mask(query, reference, kept, Verify().model, Verify().reprojection_px)]
    return Evidence(
        query.points_xy[kept[:, 0]], reference.points_xy[kept[:, 1]], len(pairs), int(beside.sum())
    )


def matches(
    query_rgb: Photo, reference_rgb: Photo, ratio: float, config: Matching
) -> tuple[Features, NDArray[np.int64]]:
    """Features of both photos, and rows (query, reference keypoint) [m, 2] that match as the method does."""
    extractor = config.extractor if isinstance(config.extractor, Sift) else Sift()
    features = sift.extract([query_rgb, reference_rgb], extractor)
    query, reference = features.image(0), features.image(1)
    if config.direction == "query_to_reference":
        return features, match_pair(query, reference, ratio, mutual=config.mutual)
    return features, match_pair(reference, query, ratio, mutual=config.mutual)[:, ::-1]
