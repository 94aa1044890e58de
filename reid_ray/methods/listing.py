"""Put a gallery's references in the order in which a method names them, for a shortlist.

In: any method that is ready. Out: positions of references. Legend: a asked photos, g references.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.shortlist import nearest_first
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.ready import Learnt, Method, Ready
from reid_ray.methods.scorer import AT_ONCE, EmbeddingScorer, Scorer, blocks

NEAR = "near"
"""What the shortlist's method has learnt, within what is learnt behind it."""


def listed(near: Scorer, gallery: Gallery, asked: Positions, out: NDArray[np.bool_]) -> Positions:
    """All references, the most alike first, int64 [a, g]; equal ones in the order that `near` has.

    Args:
        near: of this gallery; of an embedding the cosine decides, without a block of exact scores.
        out: references that must not answer, bool [a, g]: they are as if they were not there, and last.
    """
    if isinstance(near, EmbeddingScorer):
        return nearest_first(near.units[asked], near.units[: gallery.references])
    order = np.empty(out.shape, np.int64)
    for rows in blocks(np.arange(len(asked)), AT_ONCE):
        scores, ties = near.scores(gallery, asked[rows], [out[rows]])
        for row, own in zip(rows, scores[0], strict=True):
            same = np.arange(len(own)) if ties is None else ties[row - rows[0]]
            order[row] = same[np.argsort(-own[same], kind="stable")]
    return order


def ready_to_list(
    near: Method,
    gallery: Gallery,
    bench: Bench,
    known: Mapping[str, Learnt],
    *,
    had: Mapping[str, Learnt],
    folder: Path | None,
) -> Ready | None:
    """The shortlist's method on a gallery; None where it has nothing for it.

    Args:
        known: what whatever is behind the shortlist has learnt before, by the gallery's fingerprint.
        had: what `near` has learnt by itself, by fingerprint.
        folder: of `near`, with its finished work.
    """
    inside = {key: one[NEAR] for key, one in known.items() if NEAR in one}
    return next(iter(near.prepare([gallery], bench, learnt={**had, **inside}, folder=folder)), None)


def with_near(learnt: Learnt, near: Learnt) -> Learnt:
    """What was learnt, with what the shortlist's method has learnt, if it learns anything."""
    return {**learnt, NEAR: dict(near)} if near else learnt
