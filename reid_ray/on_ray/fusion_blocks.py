"""What a process does for a fusion with a few photos. In: parts of one dataset. Out: pairs, answers.

Legend: q photos that look (queries or references), g references, p parts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.encounters import same_encounter
from reid_ray.evaluation.fusion import Fused, Pairs, sample_pairs
from reid_ray.evaluation.ranking import Ranked, concat, rank_in_order
from reid_ray.matching.engine import Packed
from reid_ray.matching.kept import kept_scores
from reid_ray.matching.scoring import EXCLUDED, References, Setting, score_photos
from reid_ray.matching.shortlist import candidates, nearest_first, score_candidates, spread
from reid_ray.on_ray.matching_blocks import QUERIES_AT_ONCE, Looking, Vectors, all_scores, blocks, views_of

Positions = NDArray[np.int64]
_UNMATCHED = np.float32(-1)


@dataclass(frozen=True)
class LocalPart:
    """A local-feature method on one dataset.

    Attributes:
        references, looking: `References` and `Looking`, or where they lie in the object store.
        settings: the first is used; the second is of the scores that are kept beside.
        kept: folder of scores of all pairs; None keeps none.
    """

    references: Any
    looking: Any
    config: Matching
    settings: tuple[Setting, Setting]
    kept: Path | None


Part = LocalPart | Vectors


@dataclass(frozen=True)
class Task:
    """One dataset, apart from its parts.

    Attributes:
        labels_q, labels_g: int64, equal for equal identities.
        encounters_q, encounters_g: int64, -1 where unknown.
        hidden_g: references that answer no look-up, bool [g]; None: all do.
        exclude: whether references of the looking photo's own encounter are left out.
        size: of the shortlist; None: all references.
        seed: of the pairs that are drawn.
    """

    labels_q: Positions
    labels_g: Positions
    encounters_q: Positions
    encounters_g: Positions
    hidden_g: NDArray[np.bool_] | None
    exclude: bool
    size: int | None
    seed: int

    def out(self, encounters: Positions) -> NDArray[np.bool_]:
        """References left out for their encounter, bool [q, g]."""
        if not self.exclude:
            return np.zeros((len(encounters), len(self.labels_g)), bool)
        return same_encounter(encounters, self.encounters_g)


def lookup_pairs(task: Task, lookups: Positions, parts: Sequence[Any]) -> Pairs:
    """Pairs of some references with the others, scored by all parts; only on the shortlist, if any.

    Args:
        parts: what the shortlist goes by (or None), then the parts.
    """
    near, *joined = parts
    found = []
    for few in blocks(lookups, QUERIES_AT_ONCE):
        out_qg = task.out(task.encounters_g[few])
        out_qg[np.arange(len(few)), few] = True
        if task.hidden_g is not None:
            out_qg |= task.hidden_g
        chosen = None
        if near is not None and task.size is not None:
            order_qg = nearest_first(near.references_gd[few], near.references_gd)
            chosen = candidates(order_qg, out_qg, task.size)
        scores = np.stack([_looked_up(part, few, out_qg, chosen) for part in joined], axis=-1)
        for row, own in enumerate(few):
            found.append(
                sample_pairs(
                    scores[row],
                    task.labels_g == task.labels_g[own],
                    ~out_qg[row] & ~np.isnan(scores[row]).any(axis=1),
                    lookup=int(own),
                    rng=np.random.default_rng((task.seed, int(own))),
                )
            )
    return Pairs.concat(found)


def _looked_up(
    part: Part, few: Positions, out_qg: NDArray[np.bool_], chosen: list[Positions] | None
) -> NDArray[np.float32]:
    """Scores [q, g] of references that look; NaN off the shortlist."""
    if isinstance(part, Vectors):
        return part.references_gd[few] @ part.references_gd.T
    references: References = part.references
    features = None if references.features is None else references.features.take(few)
    packed = references.packed.take(few)
    if chosen is None:
        digest = hashlib.sha256(few.tobytes() + out_qg.tobytes()).hexdigest()[:16]
        return kept_scores(
            part.kept,
            f"lookups-{digest}",
            out_qg.shape,
            lambda: score_photos(packed, features, references, part.config, part.settings[0], out_qg),
        )
    found = score_candidates(packed, features, chosen, references, part.config, part.settings[0])
    return spread(found, chosen, out_qg.shape[1], np.nan)


def rank_fused(task: Task, fused: Fused, queries: Positions, parts: Sequence[Any], *, k: int) -> Ranked:
    """Rank all references by joined probability; the score is that probability.

    Equal probabilities (an isotonic curve has flat steps) rank as `Fused.best_first` says. With a
    shortlist the others follow, in its embedding's order, at -1. A part's curve holds for the
    references it was fitted with, so there is no second answer without the query's own encounter:
    `other_encounter` is None.
    """
    near, *joined = parts
    found = []
    for few in blocks(queries, QUERIES_AT_ONCE):
        out_qg = task.out(task.encounters_q[few])
        order_qg = chosen = None
        if near is not None and task.size is not None:
            order_qg = nearest_first(near.queries_qd[few], near.references_gd)
            chosen = candidates(order_qg, out_qg, task.size)
        scores = np.stack([_queried(part, few, out_qg, chosen) for part in joined], axis=-1)
        for row, q in enumerate(few):
            places = np.arange(out_qg.shape[1]) if chosen is None else chosen[row]
            rest = None if order_qg is None else order_qg[row]
            every, order = _answer(fused, scores[row], places, out_qg[row], rest)
            found.append(
                rank_in_order(every, order, int(task.labels_q[q]), task.labels_g, k=k, left_out_g=out_qg[row])
            )
    return concat(found)


def _answer(
    fused: Fused,
    scores_gp: NDArray[np.float32],
    places: Positions,
    out_g: NDArray[np.bool_],
    rest: Positions | None,
) -> tuple[NDArray[np.float32], Positions]:
    """Joined scores [g], and the order in which equal ones rank."""
    places = np.sort(places)
    probability = fused.probability(scores_gp[places]).astype(np.float32)
    order = places[fused.best_first(scores_gp[places])]
    if rest is not None:
        order = np.concatenate([order, rest[~np.isin(rest, places)]])
    every = np.full(len(out_g), _UNMATCHED)
    every[places] = probability
    every[out_g] = EXCLUDED
    return every, order


def _queried(
    part: Part, few: Positions, out_qg: NDArray[np.bool_], chosen: list[Positions] | None
) -> NDArray[np.float32]:
    """Scores [q, g] of queries; NaN off the shortlist, `EXCLUDED` where one must not answer."""
    if isinstance(part, Vectors):
        cosines = part.queries_qd[few] @ part.references_gd.T
        cosines[out_qg] = EXCLUDED
        return cosines
    looking: Looking = part.looking
    if chosen is None:
        views = views_of(part.references, looking, part.config, part.settings, few)
        kept = part.kept if np.array_equal(views[0][1], out_qg) else None
        if kept is None:
            views = [(part.settings[0], out_qg)]
        scores_vqg = all_scores(part.references, looking, part.config, views, few, kept)
        return np.asarray(scores_vqg[0])
    queries = looking.features.take(few)
    found = score_candidates(
        Packed.of(queries), queries, chosen, part.references, part.config, part.settings[0]
    )
    return spread(found, chosen, out_qg.shape[1], np.nan)
