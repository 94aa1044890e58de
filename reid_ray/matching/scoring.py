"""Score every reference for a block of queries, as the config says. In: features. Out: [q, g].

Legend: q queries, g references.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import UNLISTED, Distance, Matching
from reid_ray.matching.engine import Packed, count_block
from reid_ray.matching.features import Features
from reid_ray.matching.lnbnn import lnbnn_block, lnbnn_by_part
from reid_ray.matching.second_look import SecondLook, put_in_order

EXCLUDED = np.float32(-np.inf)
"""Score of a reference that must not answer a query; it ranks last."""
WORTH_LEAVING = 0.2
"""Share of the references from which on leaving them out is worth copying the others."""


@dataclass(frozen=True)
class References:
    """The searched side of one dataset.

    Attributes:
        packed: descriptors of all references.
        identities_g: int64 [g], equal for equal identities.
        encounters_g: int64 [g], equal for the same encounter, -1 where unknown.
        features: with keypoint positions, only where candidates are verified.
        cells: int64 [K], of each keypoint (see `places`), only where votes are weighed by place.
    """

    packed: Packed
    identities_g: NDArray[np.int64]
    encounters_g: NDArray[np.int64]
    features: Features | None = None
    cells: NDArray[np.int64] | None = None

    def weighed(self, weights: NDArray[np.float32]) -> "References":
        """The same, whose matches count as much as the weight of their keypoint, [K]."""
        return replace(self, packed=replace(self.packed, weights=weights))

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
    if not config.scores_first:
        return (Setting(),)
    if config.score == "count":
        return tuple(Setting(threshold=value) for value in sorted(set(config.thresholds)))
    return tuple(
        Setting(neighbours=neighbours, distance=distance)
        for neighbours in sorted(set(config.neighbours))
        for distance in dict.fromkeys(config.distances)
    )


def score_views(
    packed: Packed,
    features: Features | None,
    references: References,
    config: Matching,
    views: Sequence[tuple[Setting, NDArray[np.bool_]]],
    *,
    listed: bool = False,
) -> NDArray[np.float32]:
    """Scores of the same photos under several (setting, references left out), float32 [v, q, g].

    Higher is better; references that are left out [q, g] get `EXCLUDED`, and give no votes to their
    identity either. Descriptors are compared once for all views (by `lnbnn` once for each that leaves
    out others).

    Args:
        features: of the same photos as `packed`; needed only where candidates are verified.
        listed: the references are a shortlist, all of which is looked at again where no number is given.
    """
    settings, outs = [setting for setting, _ in views], [out for _, out in views]
    each = np.arange(len(views))
    if config.scores_first:
        scores = score_settings(packed, references, config, settings, outs)[each, each]
    else:
        scores = np.zeros((len(views), *outs[0].shape))
    if config.verify is not None and references.features is not None and features is not None:
        look = SecondLook(features, references.features, config, packed=(packed, references.packed))
        candidates = config.verify.candidates or (len(references.packed) if listed else UNLISTED)
        scores = np.stack(
            [
                put_in_order(one, look, setting.threshold, candidates)
                for one, setting in zip(scores, settings, strict=True)
            ]
        )
    scores[np.stack(outs)] = EXCLUDED
    return np.asarray(scores, np.float32)


def score_settings(
    packed: Packed,
    references: References,
    config: Matching,
    settings: Sequence[Setting],
    outs: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Scores of each setting with each of `outs` left out, float64 [v, s, q, g].

    References that are left out [q, g] are as if they were not there; their own scores mean
    nothing.
    """
    scorer = _votes if config.score == "lnbnn" else _counts
    here, few = matched(references, outs)
    found = scorer(packed, here, config, settings, few)
    if here is references:
        return found
    scores = np.zeros((*found.shape[:-1], len(references.packed)))
    scores[..., ~np.stack(outs).all(axis=(0, 1))] = found
    return scores


def matched(
    references: References, outs: Sequence[NDArray[np.bool_]]
) -> tuple[References, Sequence[NDArray[np.bool_]]]:
    """Without the references that are left out of every [q, g], if these are many: they cost nothing."""
    gone = np.stack(outs).all(axis=(0, 1)) if len(outs[0]) else np.zeros(len(references.packed), bool)
    if gone.mean() < WORTH_LEAVING or gone.all():
        return references, outs
    kept = np.flatnonzero(~gone)
    here = replace(references, features=None, cells=None).take(kept)
    return here, [out[:, kept] for out in outs]


def _votes(
    packed: Packed,
    references: References,
    config: Matching,
    settings: Sequence[Setting],
    outs: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    kinds = [(setting.neighbours, setting.distance) for setting in settings]
    identities_g = references.identities_g if config.per_identity else None
    scores: list[NDArray[np.float64]] = []
    for v, out_qg in enumerate(outs):
        if v and np.array_equal(out_qg, outs[v - 1]):
            scores.append(scores[-1])
            continue
        block = packed, 0, len(packed), references.packed
        scores.append(lnbnn_block(*block, kinds, identities_g=identities_g, left_out_qg=out_qg))
    return np.stack(scores)


def _counts(
    packed: Packed,
    references: References,
    config: Matching,
    settings: Sequence[Setting],
    outs: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    counts = count_block(
        packed,
        0,
        len(packed),
        references.packed,
        [setting.threshold for setting in settings],
        mutual=config.mutual,
        direction=config.direction,
    )
    counts_sqg = counts.transpose(2, 0, 1).astype(np.float64)
    if config.normalised:
        keypoints_q, keypoints_g = np.diff(packed.offsets), np.diff(references.packed.offsets)
        counts_sqg /= np.sqrt(np.maximum(np.outer(keypoints_q, keypoints_g), 1))
    scores = np.where(np.stack(outs)[:, None], 0, counts_sqg)
    if config.per_identity:
        for view in scores:
            for s, one in enumerate(view):
                view[s] = summed_per_identity(
                    one, references.identities_g, most=1e-5 if config.normalised else 1.0
                )
    return scores


def votes_by_part(
    packed: Packed,
    references: References,
    config: Matching,
    setting: Setting,
    parts: NDArray[np.int64],
    count: int,
    out_qg: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Scores by the part of the asked photo that they come from, float32 [q, parts, g]; 0 where a
    reference is left out.

    Args:
        parts: of each descriptor of `packed` its part, 0 .. count - 1.
    """
    here, (few,) = matched(references, [out_qg])
    if here is not references:
        every = np.zeros((len(packed), count, len(references.packed)), np.float32)
        every[:, :, ~out_qg.all(axis=0)] = votes_by_part(packed, here, config, setting, parts, count, few)
        return every
    if config.score == "lnbnn":
        kind = (setting.neighbours, setting.distance)
        votes = lnbnn_by_part(packed, references.packed, kind, parts, count, left_out_qg=out_qg)
        return votes.astype(np.float32)
    by_part, limits = packed.by_part(parts, count), [setting.threshold]
    block = by_part, 0, len(by_part), references.packed
    counts = count_block(*block, limits, direction="query_to_reference", least=1)
    return np.where(out_qg[:, None], 0, counts.reshape(len(packed), count, -1)).astype(np.float32)


def summed_per_identity(
    scores_qg: NDArray[np.float64], identities_g: NDArray[np.int64], *, most: float = 1.0
) -> NDArray[np.float64]:
    """The sum over the identity's photos; a photo's own share orders them within it.

    Args:
        most: that share stays below it, so it should not be above the step between two sums.
    """
    names, place_g = np.unique(identities_g, return_inverse=True)
    order = np.argsort(place_g, kind="stable")
    starts = np.searchsorted(place_g[order], np.arange(len(names)))
    sums_qg = np.add.reduceat(scores_qg[:, order], starts, axis=1)[:, place_g]
    own = most * scores_qg / (1 + scores_qg.max(axis=1, keepdims=True, initial=0))
    return np.asarray(sums_qg + own)
