"""Score every reference for a block of queries, as the config says. In: features. Out: [q, g].

Legend: q queries, g references.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Distance, Matching
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

    def take(self, positions: NDArray[np.int64]) -> "References":
        """Copy of the given references, in the given order."""
        return References(
            self.packed.take(positions),
            self.identities_g[positions],
            self.encounters_g[positions],
            None if self.features is None else self.features.take(positions),
        )


@dataclass(frozen=True)
class Setting:
    """One candidate of what is chosen on the references.

    Attributes:
        threshold: of `count`, a ratio of squared distances.
        neighbours: of `lnbnn`, votes per descriptor.
        distance: of `lnbnn`.
    """

    threshold: float = 1.0
    neighbours: int = 1
    distance: Distance = "squared"


def settings_of(config: Matching) -> tuple[Setting, ...]:
    """What the config lets choose from, the preferred of equals first."""
    if config.score == "count":
        return tuple(Setting(threshold=value) for value in sorted(set(config.thresholds)))
    return tuple(
        Setting(neighbours=neighbours, distance=distance)
        for neighbours in sorted(set(config.neighbours))
        for distance in dict.fromkeys(config.distances)
    )


def score_block(
    queries: Features,
    encounters_q: NDArray[np.int64],
    references: References,
    config: Matching,
    setting: Setting,
) -> NDArray[np.float32]:
    """Scores float32 [q, g], higher is better; equal scores are told apart only by position.

    References of the query's own encounter get `EXCLUDED` where the config leaves them out; they
    then give no votes to their identity either.
    """
    out_qg = left_out(encounters_q, references, config)
    return score_photos(Packed.of(queries), queries, references, config, setting, out_qg)


def score_photos(
    packed: Packed,
    features: Features | None,
    references: References,
    config: Matching,
    setting: Setting,
    out_qg: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """As `score_block`, with the references to leave out given.

    Args:
        features: of the same photos as `packed`; needed only where candidates are verified.
    """
    scores = score_settings(packed, references, config, [setting], out_qg)[0]
    if config.verify is not None and features is not None and references.features is not None:
        scores = _verified(scores, features, references.features, config)
    scores[out_qg] = EXCLUDED
    return np.asarray(scores, np.float32)


def left_out(
    encounters_q: NDArray[np.int64], references: References, config: Matching
) -> NDArray[np.bool_]:
    """Which references must not answer which query, bool [q, g]."""
    if not config.exclude_same_encounter:
        return np.zeros((len(encounters_q), len(references.packed)), bool)
    same_qg = encounters_q[:, None] == references.encounters_g[None]
    return np.asarray(same_qg & (encounters_q >= 0)[:, None])


def score_settings(
    packed: Packed,
    references: References,
    config: Matching,
    settings: Sequence[Setting],
    out_qg: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Scores of each setting in one pass over the descriptors, float64 [s, q, g].

    References of `out_qg` are as if they were not there; their own scores mean nothing.
    """
    if config.score == "lnbnn":
        return lnbnn_block(
            packed, 0, len(packed), references.packed,
            [(setting.neighbours, setting.distance) for setting in settings],
            identities_g=references.identities_g if config.per_identity else None,
            left_out_qg=out_qg,
        )  # fmt: skip
    counts = count_block(
        packed, 0, len(packed), references.packed, [setting.threshold for setting in settings],
        mutual=config.mutual, direction=config.direction,
    )  # fmt: skip
    scores = np.where(out_qg, 0, counts.transpose(2, 0, 1)).astype(np.float64)
    if not config.per_identity:
        return scores
    return np.stack([summed_per_identity(one, references.identities_g) for one in scores])


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
