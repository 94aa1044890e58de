"""Name the animals of a gallery's queries. In: a ready method and what its scores are worth. Out: candidates.

Legend: q queries, s encounters, i animals, c candidates.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from reid_ray.methods import probability
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.probability import Candidates
from reid_ray.methods.ready import Ready
from reid_ray.methods.scorer import Animals
from reid_ray.methods.worth import Worth

QUERIES_AT_ONCE = 5000
"""Scores of every animal are held for no more."""


class Named(NamedTuple):
    """Candidates of each query, and the photos that speak for them.

    Attributes:
        candidates: probabilities are NaN where there is no probability model.
        photo_qc: row of each candidate's most alike photo; -1 where there is none.
        beside_qc: row of the query photo that it is like, one of the same encounter; or -1.
    """

    candidates: Candidates
    photo_qc: Positions
    beside_qc: Positions


def animal_names(gallery: Gallery, rows: pd.DataFrame) -> list[str]:
    """The known animals, in the order of candidates' positions."""
    labels, first = np.unique(gallery.labels_g, return_index=True)
    names = rows["identity"].iloc[gallery.photos[first]]
    return [str(name) for _, name in sorted(zip(labels, names, strict=True))]


def name_queries(
    ready: Ready,
    worth: Worth,
    bench: Bench,
    together_q: Positions,
    *,
    most: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Named:
    """Candidates of all queries, some thousands at a time.

    Args:
        together_q: equal for queries that are answered together, from what all of them show.
        most: candidates per query.
        progress: called with the queries asked so far.
    """
    gallery = ready.gallery
    _, of_q = np.unique(together_q, return_inverse=True)
    block_s = np.cumsum(np.bincount(of_q)) // QUERIES_AT_ONCE
    shape = (len(of_q), most)
    found = Candidates(np.full(shape, -1, np.int64), np.zeros(shape), np.ones(len(of_q)))
    photo_qc, beside_qc = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    count, done = len(np.unique(gallery.labels_g)), 0
    for block in np.unique(block_s):
        mine = np.flatnonzero(block_s[of_q] == block)
        animals = Animals.none(len(mine), count)
        for rows, part in ready.animals(bench, gallery.queries[mine], encounter=False):
            animals.fill(rows, part)
            done += len(part.photo)
            progress(done)
        _, of = np.unique(of_q[mine], return_inverse=True)
        own = candidates(worth, animals, of, most)
        found.identity_qc[mine] = own.identity_qc[of]
        found.probability_qc[mine] = own.probability_qc[of]
        found.unknown_q[mine] = own.unknown_q[of]
        photo, asked = _most_alike(own, animals, of)
        photo_qc[mine] = np.where(photo >= 0, gallery.photos[photo], -1)[of]
        beside_qc[mine] = np.where(asked >= 0, gallery.photos[gallery.queries[mine[asked]]], -1)[of]
    return Named(found, photo_qc, beside_qc)


def candidates(worth: Worth, animals: Animals, of_q: Positions, most: int) -> Candidates:
    """Candidates of each encounter; without a probability model they are ranked all the same.

    Args:
        of_q: the encounter of each query, 0 .. s - 1.
    """
    alone = len(np.unique(of_q)) == len(of_q)
    scores = probability.together(animals.scores, of_q)
    place = animals.place if alone else None
    if worth.model is not None:
        return worth.model.candidates(scores[: worth.model.looks], most=most, place_qi=place)
    ranked = probability.propose(scores[:1], most, place)[:, :most]
    best = np.take_along_axis(scores[0], np.maximum(ranked, 0), axis=1)
    ranked = np.where(np.isfinite(best), ranked, -1)
    return Candidates(ranked, np.full(ranked.shape, np.nan), np.full(len(ranked), np.nan))


def _most_alike(found: Candidates, animals: Animals, of_q: Positions) -> tuple[Positions, Positions]:
    """Of each encounter's candidates the most alike photo, and which of its own is like it.

    Returns:
        Places among the references, and among the queries, int64 [s, c]; -1 where there is none.
    """
    photo = np.full(found.identity_qc.shape, -1, np.int64)
    asked = photo.copy()
    for s, identities in enumerate(found.identity_qc):
        mine = np.flatnonzero(of_q == s)
        there = identities >= 0
        best = mine[np.argmax(animals.scores[0][np.ix_(mine, identities[there])], axis=0)]
        photo[s, there] = animals.photo[best, identities[there]]
        asked[s, there] = best
    return photo, asked
