"""Look at the best candidates again: how many matches stand a network or a geometric transform.

In: features of asked photos and references. Out: a number per pair. Legend: q queries, g references.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import LoFTR, Matching, Verify
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.packed import Packed
from reid_ray.matching.verify import inlier_mask, match_pair

LNBNN_VERIFY = 0.5
"""Ratio of the matches that are verified where no ratio was chosen."""


class SecondLook:
    """Counts what agrees of pairs; no pair is looked at twice.

    Where keypoints have weights (`Packed.weights`), a match counts as the geometric mean of its two ends'
    weights: one end in the background is enough to speak for a place.
    """

    def __init__(
        self,
        queries: Features,
        references: Features,
        config: Matching,
        *,
        packed: tuple[Packed, Packed] | None = None,
    ) -> None:
        """Prepare to look; `packed` are queries and references, for their weights."""
        self._sides = queries, references
        self._packed = packed
        self._config = config
        self._found: dict[tuple[float, int, int], float] = {}

    def __call__(self, threshold: float, q: int, places: Sequence[int]) -> NDArray[np.float64]:
        """What agrees of query q with each of these references, float64, 0 or more.

        Args:
            threshold: the ratio that `count` chose.
        """
        ratio = self._ratio(threshold)
        wanted = [g for g in places if (ratio, q, g) not in self._found]
        if wanted:
            query = self._sides[0].image(q)
            references = [self._sides[1].image(g) for g in wanted]
            for g, one, pairs in zip(
                wanted, references, self._matches(query, references, ratio), strict=True
            ):
                self._found[ratio, q, g] = self._count(q, g, pairs[self._agree(query, one, pairs)])
        return np.array([self._found[ratio, q, g] for g in places], np.float64)

    def _ratio(self, threshold: float) -> float:
        verify = self._config.verify
        if not isinstance(verify, Verify):
            return 0.0
        return verify.threshold or (LNBNN_VERIFY if self._config.score == "lnbnn" else threshold)

    def _matches(
        self, query: ImageFeatures, references: Sequence[ImageFeatures], ratio: float
    ) -> list[NDArray[np.int64]]:
        verify = self._config.verify
        assert verify is not None
        if isinstance(verify, Verify):
            return [match_pair(query, one, ratio, mutual=self._config.mutual) for one in references]
        # Networks take a second to import, so only who uses them waits.
        if isinstance(verify, LoFTR):
            from reid_ray.matching import loftr

            return loftr.match_pairs(query, references, verify)
        from reid_ray.matching import lightglue

        return lightglue.match_pairs(query, references, verify, self._config.extractor.kind)

    def _agree(
        self, query: ImageFeatures, reference: ImageFeatures, pairs: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        verify = self._config.verify
        assert verify is not None
        geometry = verify.model if isinstance(verify, Verify) else verify.geometry
        if geometry == "off":
            return np.ones(len(pairs), bool)
        return inlier_mask(query, reference, pairs, geometry, verify.reprojection_px)

    def _count(self, q: int, g: int, pairs: NDArray[np.int64]) -> float:
        if self._packed is None or self._packed[0].weights is None or self._packed[1].weights is None:
            return float(len(pairs))
        ends = [
            side.weights[side.offsets[place] : side.offsets[place + 1]][pairs[:, end]]
            for end, (side, place) in enumerate(zip(self._packed, (q, g), strict=True))
            if side.weights is not None
        ]
        return float(np.sqrt(ends[0].astype(np.float64) * ends[1]).sum())


def put_in_order(
    scores_qg: NDArray[np.float64], look: SecondLook, threshold: float, candidates: int
) -> NDArray[np.float64]:
    """Best candidates by what agrees (then by score); all others below them, in their old order."""
    highest = scores_qg.max(axis=1, keepdims=True, initial=0) + 1
    verified: NDArray[np.float64] = scores_qg - highest
    for q, row in enumerate(scores_qg):
        places = np.argsort(-row, kind="stable")[:candidates]
        verified[q, places] = look(threshold, q, places.tolist()) + row[places] / highest[q, 0]
    return verified
