"""What a matching process does with a few photos. In: references, features, vectors. Out: arrays.

It joins `matching`, which scores, and `evaluation`, which ranks. Legend: q queries, g references.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.encounters import same_encounter
from reid_ray.evaluation.open_set import Gallery, Lookups, fold, join
from reid_ray.evaluation.ranking import Ranked, concat, rank_block, rank_in_order
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.kept import kept_scores
from reid_ray.matching.scoring import EXCLUDED, References, Setting, left_out, score_lookups, score_views
from reid_ray.matching.shortlist import (
    behind,
    candidates,
    curve_sizes,
    nearest_first,
    score_candidates,
    spread,
    with_the_rest,
)

Arrays = dict[str, NDArray[Any]]
View = tuple[Setting, NDArray[np.bool_]]
"""A setting, and which references are left out of which query."""
QUERIES_AT_ONCE = 8
"""Their scores [8, g] are all that a process holds beside one tile."""


@dataclass(frozen=True)
class Looking:
    """The queries of one dataset, all of them.

    Attributes:
        features: of their photos.
        labels_q, encounters_q: int64 [q], as those of the references.
    """

    features: Features
    labels_q: NDArray[np.int64]
    encounters_q: NDArray[np.int64]


@dataclass(frozen=True)
class Vectors:
    """Embeddings of one dataset's queries and references, float32 [q, d] and [g, d], `unit` rows."""

    queries_qd: NDArray[np.float32]
    references_gd: NDArray[np.float32]


def rank_all(
    references: References,
    looking: Looking,
    config: Matching,
    settings: tuple[Setting, Setting],
    block: NDArray[np.int64],
    *,
    k: int,
    kept: Path | None,
) -> Arrays:
    """The flattened `Ranked` of a block of queries, matched with every reference; without their own
    encounter too, where one is known.
    """
    parts = []
    for few in blocks(block, QUERIES_AT_ONCE):
        views = views_of(references, looking, config, settings, few)
        scores_vqg = all_scores(references, looking, config, views, few, kept)
        answers = [
            rank_block(one, looking.labels_q[few], references.identities_g, k=k, left_out_qg=out_qg)
            for one, (_, out_qg) in zip(scores_vqg, views, strict=True)
        ]
        other = answers[1] if len(answers) > 1 else None
        parts.append(replace(answers[0], other_encounter=other))
    return concat(parts).arrays()


def views_of(
    references: References,
    looking: Looking,
    config: Matching,
    settings: tuple[Setting, Setting],
    few: NDArray[np.int64],
) -> list[View]:
    """What a few queries are matched with: what the config leaves in and, where any encounter is
    known, what shows others.
    """
    encounters_q = looking.encounters_q[few]
    views = [(settings[0], left_out(encounters_q, references, config))]
    if (references.encounters_g >= 0).any():
        views.append((settings[1], same_encounter(encounters_q, references.encounters_g)))
    return views


def all_scores(
    references: References,
    looking: Looking,
    config: Matching,
    views: list[View],
    few: NDArray[np.int64],
    kept: Path | None,
) -> NDArray[np.float32]:
    """Scores [v, q, g] of a few queries, from `kept` where they were made before."""
    return kept_scores(
        kept,
        f"{few[0]:08d}-{len(few)}",
        (len(views), *views[0][1].shape),
        lambda: score_views(looking.features.take(few), references, config, views),
    )


def look_up(
    references: References,
    vectors_gd: NDArray[np.float32] | None,
    config: Matching,
    setting: Setting,
    places: NDArray[np.int64],
) -> Lookups:
    """Some references looked up among the others, behind the config's shortlist if it has one."""
    gallery = Gallery(references.identities_g, references.encounters_g)
    parts = []
    for few in blocks(places, QUERIES_AT_ONCE):
        out_qg = gallery.left_out(few)
        # Scores of LNBNN and of sums per identity, and shortlists, depend on which others are there.
        present, withheld = (
            _lookup_scores(few, references, vectors_gd, config, setting, out)
            for out in (out_qg, out_qg | gallery.own(few))
        )
        parts.append(fold(present, withheld, few, gallery))
    return join(parts)


def _lookup_scores(
    few: NDArray[np.int64],
    references: References,
    vectors_gd: NDArray[np.float32] | None,
    config: Matching,
    setting: Setting,
    out_qg: NDArray[np.bool_],
) -> NDArray[np.float32]:
    if config.shortlist is None or vectors_gd is None:
        return score_lookups(few, references, config, setting, out_qg)
    order_qg = nearest_first(vectors_gd[few], vectors_gd)
    chosen = candidates(order_qg, out_qg, config.shortlist.size)
    features = None if references.features is None else references.features.take(few)
    packed = references.packed.take(few)
    found = score_candidates(packed, features, chosen, references, config, setting)
    return spread(found, chosen, len(references.packed), EXCLUDED)


def blocks(positions: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Consecutive positions, at most `size` together."""
    return [positions[at : at + size] for at in range(0, len(positions), size)]


def rank_shortlisted(
    references: References,
    looking: Looking,
    vectors: Vectors,
    config: Matching,
    setting: Setting,
    block: NDArray[np.int64],
    *,
    k: int,
) -> Arrays:
    """The flattened `Ranked` of a block of queries, each matched with its own candidates, and what
    shorter lists would do: `among`, `right`, bool [q, sizes]; `known`, bool [q]: whether the query's
    animal has a reference at all.

    Candidates without the query's own encounter would be others, to be matched once more, so
    `other_encounter` is None: ask for it by `exclude_same_encounter`. Equal scores, and the
    references that are not matched, rank in the embedding's order.
    """
    assert config.shortlist is not None
    found: list[Ranked] = []
    curves = []
    sizes = measured_sizes(config, len(references.packed))
    for few in blocks(block, QUERIES_AT_ONCE):
        out_qg = left_out(looking.encounters_q[few], references, config)
        order_qg = nearest_first(vectors.queries_qd[few], vectors.references_gd)
        longest_q = candidates(order_qg, out_qg, max([config.shortlist.size, *sizes]))
        for row, q in enumerate(few):
            queries, label = looking.features.take([q]), int(looking.labels_q[q])
            scores_of = _scorer(queries, longest_q[row], references, config, setting)
            scores = scores_of(config.shortlist.size)
            every = with_the_rest(longest_q[row][: len(scores)], scores, out_qg[row])
            found.append(
                rank_in_order(
                    every, order_qg[row], label, references.identities_g, k=k, left_out_g=out_qg[row]
                )
            )
            same = references.identities_g[longest_q[row]] == label
            curves.append(behind(sizes, same, scores_of))
    among, right = (np.array([one[side] for one in curves]) for side in (0, 1))
    known = np.isin(looking.labels_q[block], references.identities_g)
    return {**concat(found).arrays(), "among": among, "right": right, "known": known}


def measured_sizes(config: Matching, references: int) -> list[int]:
    """Lengths of the shortlist at which accuracy is measured."""
    if config.shortlist is None or config.shortlist.curve == "none":
        return []
    whole = config.shortlist.curve == "all"
    return curve_sizes(references if whole else min(config.shortlist.size, references))


def _scorer(
    queries: Features, longest: NDArray[np.int64], references: References, config: Matching, setting: Setting
) -> Any:
    """Scores of the first so many candidates; of pairwise scores all are made once."""
    packed = Packed.of(queries)

    def score(size: int) -> NDArray[np.float32]:
        return score_candidates(packed, queries, [longest[:size]], references, config, setting)[0]

    if not config.pairwise:
        return score
    every = score(len(longest))
    return partial(_first, every)


def _first(scores: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return scores[:size]
