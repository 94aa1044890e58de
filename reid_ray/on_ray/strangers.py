"""Group photos of unknown animals by animal, and say what to expect of the groups.

In: photos that were given no name, and lookers. Out: a number per photo, and what was learnt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.evaluation import grouping
from reid_ray.on_ray.album import Album
from reid_ray.on_ray.looking import Looker, Positions

MOST_GROUPED = 4000
"""Unknown photos that are grouped; each is compared with each."""
POOR_ARI = 0.4
_PAIR_SAMPLE = 200


def group_strangers(
    album: Album, lookers: Sequence[Looker], unknown_q: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.int64] | None, dict[str, Any], list[str]]:
    """A group per query, -1 where it is not unknown; what was learnt; sentences for the reader.

    Args:
        unknown_q: places among the queries.

    Returns:
        None in place of groups where there are too many photos.
    """
    if len(unknown_q) > MOST_GROUPED:
        much = f"{len(unknown_q)} photos of unknown animals are too many to group, at most {MOST_GROUPED}"
        return None, {}, [much]
    sampled = _pair_sample(album, seed)
    theirs = album.encounter_n[album.queries[unknown_q]]
    told = bool((theirs >= 0).any())  # else it is learnt without, as it will be used
    learnt = grouping.learn(
        _pairs(lookers, album.references[sampled]),
        album.identity_g[sampled],
        album.encounter_n[album.references[sampled]] if told else None,
        seed=seed,
    )
    groups = np.full(len(album.queries), -1, np.int64)
    if len(unknown_q):
        groups[unknown_q] = learnt.groups(_pairs(lookers, album.queries[unknown_q]), theirs)
    notes = []
    if learnt.ari < POOR_ARI:
        notes.append(
            "photos of unknown animals are hard to group here: known animals, grouped in the same way, "
            f"agree with the truth to {learnt.ari:.2f} (1 is perfect, 0 is chance), so take the groups as "
            "hints" + ("" if told else "; which photos were taken together (encounter) would help most")
        )
    facts = {
        "ari": None if np.isnan(learnt.ari) else learnt.ari,
        "ari_encounters": learnt.ari_encounters,
        "cut": learnt.cut,
        "photos": len(sampled),
    }
    return groups, facts, notes


def _pair_sample(album: Album, seed: int) -> NDArray[np.int64]:
    """Reference photos of whole animals, at most `_PAIR_SAMPLE` and one animal more."""
    animals = np.random.default_rng(seed).permutation(len(album.names))
    sizes = np.bincount(album.identity_g, minlength=len(album.names))[animals]
    taken = animals[: int(np.searchsorted(np.cumsum(sizes), _PAIR_SAMPLE)) + 1]
    return np.flatnonzero(np.isin(album.identity_g, taken))


def _pairs(lookers: Sequence[Looker], photos: Positions) -> NDArray[np.float32]:
    """How alike each photo is to each other, [m, n, n]."""
    scores = np.zeros((len(lookers), len(photos), len(photos)), np.float32)
    nothing = np.eye(len(photos), dtype=bool)
    for m, looker in enumerate(lookers):
        for rows, block in looker.scores(photos, photos, nothing):
            scores[m, rows] = np.where(np.isfinite(block), block, 0)
    return scores
