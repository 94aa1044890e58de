"""How alike photos of a gallery are: what one process computes, and how references are ranked by it.

In: a `Gallery`, some of its photos. Out: blocks of scores, never all pairs at once; ranks.

Legend: v views, a asked photos, g references, i animals, n photos.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_ray.evaluation.ranking import Ranked, concat, rank_block, rank_in_order
from reid_ray.matching.scoring import EXCLUDED
from reid_ray.methods.gallery import Gallery, Positions

Arrays = dict[str, NDArray[Any]]
Outs = Sequence[NDArray[np.bool_]]
"""Per view, the references that must not answer, bool [a, g]."""
AT_ONCE = 8
"""Photos that are asked at once; their scores [v, 8, g] are all that a process holds beside one tile."""
_PAIRS = 2**22
"""Of vectors that are compared at once: some 100 MiB."""


class ScoreBlock(NamedTuple):
    """Scores of some photos.

    Attributes:
        scores: float32 [v, a, g], higher is more alike; `EXCLUDED` where a reference must not answer.
        order: int64 [a, g], all references in the order in which equal scores rank; None: by position.
    """

    scores: NDArray[np.float32]
    order: Positions | None = None


class Scorer(Protocol):
    """A method that is ready for one gallery; plain data, shared between processes."""

    @property
    def both_views(self) -> bool:
        """Whether it also answers without references of the asked photo's own encounter."""
        ...

    @property
    def excludes_encounter(self) -> bool:
        """Whether its first view leaves those out already."""
        ...

    @property
    def pairwise(self) -> bool:
        """Whether the score of two photos does not depend on which other references there are."""
        ...

    def scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> ScoreBlock:
        """Scores of photos that are all references or all queries, in one view or two."""
        ...

    def rank(self, gallery: Gallery, asked: Positions, *, k: int) -> Arrays:
        """A flattened `Ranked` with the k best references of each, and what else is measured."""
        ...

    def even(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores on a scale on which equal steps mean about the same; it keeps their order."""
        ...


def blocks(positions: Positions, size: int = AT_ONCE) -> Iterator[Positions]:
    """Consecutive positions, at most `size` together."""
    for at in range(0, len(positions), size):
        yield positions[at : at + size]


def views(scorer: Scorer, gallery: Gallery, asked: Positions) -> list[NDArray[np.bool_]]:
    """What queries are answered without: what the method leaves out and, where any encounter is known,
    whatever shows the own encounter.
    """
    outs = [gallery.excluded(asked, encounter=scorer.excludes_encounter)]
    if scorer.both_views and gallery.knows_encounters:
        outs.append(gallery.excluded(asked, encounter=True))
    return outs


def rank_blocks(
    scorer: Scorer, gallery: Gallery, asked: Positions, *, k: int, at_once: int = AT_ONCE
) -> Ranked:
    """Rank the references for each asked photo, a few at a time."""
    found = []
    for few in blocks(asked, at_once):
        outs = views(scorer, gallery, few)
        block = scorer.scores(gallery, few, outs)
        answers = [
            _ranked(scores, block.order, gallery.labels[few], gallery.labels_g, k, gallery.silent(few, out))
            for scores, out in zip(block.scores, outs, strict=True)
        ]
        found.append(replace(answers[0], other_encounter=answers[1] if len(answers) > 1 else None))
    return concat(found)


def _ranked(
    scores: NDArray[np.float32],
    order: Positions | None,
    labels: Positions,
    labels_g: Positions,
    k: int,
    out: NDArray[np.bool_],
) -> Ranked:
    if order is None:
        return rank_block(scores, labels, labels_g, k=k, left_out_qg=out)
    rows = range(len(scores))
    return concat(
        [
            rank_in_order(scores[row], order[row], int(labels[row]), labels_g, k=k, left_out_g=out[row])
            for row in rows
        ]
    )


@dataclass(frozen=True)
class EmbeddingScorer:
    """Cosine of embeddings.

    Attributes:
        units: float32 [n, d], of all photos of the gallery; rows have length 1, or are all zero.
    """

    units: NDArray[np.float32]
    both_views = True
    excludes_encounter = False
    pairwise = True

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> "EmbeddingScorer":
        """From vectors of any length."""
        from reid_ray.evaluation.stream import (
            unit_rows,  # loads torch, which local features need not wait for
        )

        return cls(unit_rows(vectors)[0])

    def scores(self, gallery: Gallery, asked: Positions, outs: Outs) -> ScoreBlock:
        """The dot product in float64, rounded once, as the exact search has it."""
        exact = self.units[asked].astype(np.float64) @ self.units[: gallery.references].T.astype(np.float64)
        scores = exact.astype(np.float32)
        return ScoreBlock(np.stack([np.where(out, EXCLUDED, scores) for out in outs]))

    def rank(self, gallery: Gallery, asked: Positions, *, k: int) -> Arrays:
        if gallery.sets.rules:
            # References are made float64 for each block, so it is not too small.
            many = max(AT_ONCE, _PAIRS // gallery.references)
            return rank_blocks(self, gallery, asked, k=k, at_once=many).arrays()
        from reid_ray.evaluation.knn import cosine_knn

        encounters = (gallery.encounters[asked], gallery.encounters_g) if gallery.knows_encounters else None
        return cosine_knn(
            self.units[asked],
            self.units[: gallery.references],
            gallery.labels[asked],
            gallery.labels_g,
            k=k,
            encounters=encounters,
        ).arrays()

    def even(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        return scores


class Animals(NamedTuple):
    """What the photos of each animal say together.

    Attributes:
        scores: float32 [2, a, i], on an even scale: the best photo's, and the mean of the best two
            (the best one's where there is a single one); minus infinity where none may answer.
        best: float32 [a, i], the best photo's score as it ranks.
        photo: int64 [a, i], the reference that is most alike; -1 where none may answer.
        place: int64 [a, i], its place in the order in which equal scores rank; -1 as above.
    """

    scores: NDArray[np.float32]
    best: NDArray[np.float32]
    photo: Positions
    place: Positions

    @classmethod
    def none(cls, asked: int, animals: int) -> "Animals":
        """As many as that, of which none may answer."""
        shape = (asked, animals)
        return cls(
            np.full((2, *shape), EXCLUDED),
            np.full(shape, EXCLUDED),
            np.full(shape, -1, np.int64),
            np.full(shape, -1, np.int64),
        )

    def part(self, chosen: Any) -> "Animals":
        """Some of the asked photos."""
        return Animals(self.scores[:, chosen], self.best[chosen], self.photo[chosen], self.place[chosen])

    def fill(self, rows: slice, part: "Animals") -> None:
        """Take over what some of the asked photos were told."""
        self.scores[:, rows], self.best[rows], self.photo[rows], self.place[rows] = part

    def without(self, own: Positions) -> "Animals":
        """The same as if each photo's own animal had no photo, where scores do not depend on others.

        Args:
            own: int64 [a], -1 where the animal is none of these.
        """
        rows = np.flatnonzero(own >= 0)
        found = Animals(self.scores.copy(), self.best.copy(), self.photo.copy(), self.place.copy())
        found.scores[:, rows, own[rows]] = EXCLUDED
        found.best[rows, own[rows]] = EXCLUDED
        found.photo[rows, own[rows]] = found.place[rows, own[rows]] = -1
        return found

    def first(self) -> Positions:
        """The animal of each asked photo's best reference, int64 [a]; equal scores in their order."""
        last = np.where(self.place < 0, np.iinfo(np.int64).max, self.place)
        return np.asarray(np.lexsort((last, -self.best), axis=1)[:, 0])


def per_animal(block: ScoreBlock, even: NDArray[np.floating], animal_g: Positions, count: int) -> Animals:
    """Gather the first view of a block by animal.

    Two photos that are alike say more than one, which may be so by chance (`reports/identify.md`).

    Args:
        even: float [a, g], the scores on an even scale.
        animal_g: of each reference its animal, 0 .. count - 1.
    """
    scores = block.scores[0]
    found = Animals.none(len(scores), count)
    everywhere = np.arange(scores.shape[1])
    for row, own in enumerate(scores):
        order = everywhere if block.order is None else block.order[row]
        # By animal, then the best first; equal scores stay in their order.
        best_first = np.lexsort((-own[order], animal_g[order]))
        photos = order[best_first]
        animals = animal_g[photos]
        first = np.flatnonzero(np.r_[True, animals[1:] != animals[:-1]])
        who = animals[first]
        after = np.minimum(first + 1, len(photos) - 1)
        second = np.where((after > first) & (animals[after] == who), even[row, photos[after]], EXCLUDED)
        top = even[row, photos[first]]
        found.scores[0, row, who] = top
        found.scores[1, row, who] = np.where(np.isfinite(second), (top + second) / 2, top)
        found.best[row, who] = own[photos[first]]
        found.photo[row, who], found.place[row, who] = photos[first], best_first[first]
    gone = ~np.isfinite(found.best)
    found.photo[gone] = found.place[gone] = -1
    return found
