"""What a matching process does with a few photos. In: references, features, vectors. Out: arrays.

It joins `matching`, which scores, and `evaluation`, which ranks. Legend: q queries, g references.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.evaluation.ranking import Ranked, concat, rank_block, rank_in_order
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.kept import kept_scores
from reid_ray.matching.scoring import EXCLUDED, References, Setting, left_out, score_photos
from reid_ray.matching.shortlist import (
    behind,
    candidates,
    curve_sizes,
    nearest_first,
    score_candidates,
    with_the_rest,
)

Arrays = dict[str, NDArray[Any]]
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
    setting: Setting,
    block: NDArray[np.int64],
    *,
    k: int,
    kept: Path | None,
) -> Arrays:
    """The fields of `Ranked` for a block of queries, matched with every reference."""
    parts = []
    for few in blocks(block, 1 if config.exclude_same_encounter else QUERIES_AT_ONCE):
        out_qg = left_out(looking.encounters_q[few], references, config)
        scores = all_scores(references, looking, config, setting, few, out_qg, kept)
        # A reference that is left out must not count as a right answer at the end of the list.
        possible = np.where(scores[0] == EXCLUDED, -1, references.identities_g)
        parts.append(rank_block(scores, looking.labels_q[few], possible, k=k))
    return dict(vars(concat(parts)))


def all_scores(
    references: References,
    looking: Looking,
    config: Matching,
    setting: Setting,
    few: NDArray[np.int64],
    out_qg: NDArray[np.bool_],
    kept: Path | None,
) -> NDArray[np.float32]:
    """Scores [q, g] of a few queries, from `kept` where they were made before."""
    queries = looking.features.take(few)
    return kept_scores(
        kept, f"{few[0]:08d}-{len(few)}", out_qg.shape,
        lambda: score_photos(Packed.of(queries), queries, references, config, setting, out_qg),
    )  # fmt: skip


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
    """The fields of `Ranked` for a block of queries, each matched with its own candidates, and what
    shorter lists would do: `among`, `right`, bool [q, sizes].

    Equal scores, and the references that are not matched, rank in the embedding's order.
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
            possible = np.where(out_qg[row], -1, references.identities_g)
            found.append(rank_in_order(every, order_qg[row], label, possible, k=k))
            same = references.identities_g[longest_q[row]] == label
            curves.append(behind(sizes, same, scores_of))
    among, right = (np.array([one[side] for one in curves]) for side in (0, 1))
    return {**vars(concat(found)), "among": among, "right": right}


def measured_sizes(config: Matching, references: int) -> list[int]:
    """Lengths of the shortlist at which accuracy is measured."""
    if config.shortlist is None or config.shortlist.curve == "none":
        return []
    whole = config.shortlist.curve == "all"
    return curve_sizes(references if whole else min(config.shortlist.size, references))


def _scorer(
    queries: Features,
    longest: NDArray[np.int64],
    references: References,
    config: Matching,
    setting: Setting,
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
