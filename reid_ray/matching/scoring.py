"""Score every reference for a block of queries, as the config says. In: features. Out: [q, g].

Legend: q queries, g references.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.matching.engine import Packed, count_block
from reid_ray.matching.features import Features
from reid_ray.matching.lnbnn import lnbnn_block
from reid_ray.matching.verify import inliers

EXCLUDED = np.float32(-np.inf)
"""Score of a reference that must not answer a query; it ranks last."""


@dataclass(frozen=True)
class References:
    """The searched side of one dataset.

    Attributes:
        packed: descriptors of all references.
        identities_g: int64 [g], equal for equal identities.
        encounters_g: int64 [g], equal for the same encounter, -1 where unknown.
        features: with keypoint positions, only where candidates are verified.
    """

    packed: Packed
    identities_g: NDArray[np.int64]
    encounters_g: NDArray[np.int64]
    features: Features | None = None


def score_block(
    queries: Features,
    encounters_q: NDArray[np.int64],
    references: References,
    config: Matching,
    threshold: float,
) -> NDArray[np.float32]:
    """Scores float32 [q, g], higher is better; equal scores are told apart only by position.

    References of the query's own encounter get `EXCLUDED` where the config leaves them out; they
    then give no votes to their identity either.
    """
    packed = Packed.of(queries)
    out_qg = left_out(encounters_q, references, config)
    scores = _scores(packed, references, config, threshold, out_qg)
    if config.verify is not None and references.features is not None:
        scores = _verified(scores, queries, references.features, config)
    scores[out_qg] = EXCLUDED
    return scores.astype(np.float32)


def left_out(
    encounters_q: NDArray[np.int64], references: References, config: Matching
) -> NDArray[np.bool_]:
    """Which references must not answer which query, bool [q, g]."""
    if not config.exclude_same_encounter:
        return np.zeros((len(encounters_q), len(references.packed)), bool)
    same_qg = encounters_q[:, None] == references.encounters_g[None]
    return np.asarray(same_qg & (encounters_q >= 0)[:, None])


def _scores(
    packed: Packed,
    references: References,
    config: Matching,
    threshold: float,
    out_qg: NDArray[np.bool_],
) -> NDArray[np.float64]:
    if config.score == "lnbnn":
        return _lnbnn(packed, references, config, out_qg)
    counts = count_block(
        packed, 0, len(packed), references.packed, [threshold],
        mutual=config.mutual, direction=config.direction,
    )[:, :, 0]  # fmt: skip
    scores = np.where(out_qg, 0, counts).astype(np.float64)
    return summed_per_identity(scores, references.identities_g) if config.per_identity else scores


def _lnbnn(
    packed: Packed, references: References, config: Matching, out_qg: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """LNBNN over the references that may answer: those left out must not push others off a list."""
    groups = references.identities_g if config.per_identity else None
    scores = np.zeros(out_qg.shape)
    if not out_qg.any():
        return lnbnn_block(
            packed, 0, len(packed), references.packed,
            neighbours=config.neighbours, identities_g=groups,
        )  # fmt: skip
    for q, out_g in enumerate(out_qg):
        allowed = np.flatnonzero(~out_g)
        scores[q, allowed] = lnbnn_block(
            packed, q, q + 1, references.packed.take(allowed),
            neighbours=config.neighbours,
            identities_g=None if groups is None else groups[allowed],
        )[0]  # fmt: skip
    return scores


def summed_per_identity(
    scores_qg: NDArray[np.float64], identities_g: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The sum over the identity's photos; a photo's own share (below 1) orders them within it."""
    names, place_g = np.unique(identities_g, return_inverse=True)
    order = np.argsort(place_g, kind="stable")
    starts = np.searchsorted(place_g[order], np.arange(len(names)))
    sums_qg = np.add.reduceat(scores_qg[:, order], starts, axis=1)[:, place_g]
    own = scores_qg / (1 + scores_qg.max(axis=1, keepdims=True, initial=0))
    return np.asarray(sums_qg + own)


def _verified(
    scores_qg: NDArray[np.float64], queries: Features, references: Features, config: Matching
) -> NDArray[np.float64]:
    """Best candidates by inliers (then by score); all others below them, in their old order."""
    assert config.verify is not None
    highest = scores_qg.max(axis=1, keepdims=True, initial=0) + 1
    verified: NDArray[np.float64] = scores_qg - highest
    for q, row in enumerate(scores_qg):
        for g in np.argsort(-row, kind="stable")[: config.verify.candidates]:
            agreeing = inliers(queries.image(q), references.image(int(g)), config.verify)
            verified[q, g] = agreeing + row[g] / highest[q, 0]
    return verified
