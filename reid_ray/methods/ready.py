"""A method that is ready for one gallery, and how its photos are asked. In: positions. Out: ranks, scores.

Legend: a asked photos, i animals.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_ray.evaluation.ranking import Ranked, concat
from reid_ray.methods.bench import Bench, answers
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.scorer import Animals, Arrays, Scorer, blocks, per_animal

Params = dict[str, str | int | float | bool]
Learnt = Mapping[str, Any]
"""What was chosen or fitted on one gallery's references, as plain data."""
Known = Mapping[str, Learnt] | None
"""What was learnt before, by a gallery's fingerprint; it is not learnt again."""


class Method(Protocol):
    """Something that says how alike photos are: an embedding, local features, a fusion, each perhaps
    behind a shortlist.
    """

    @property
    def name(self) -> str: ...

    @property
    def trained(self) -> bool:
        """Whether it was trained on reference photos, which it then knows too well to be asked."""
        ...

    def check(self) -> None:
        """Raises WeightsError where weights are missing or not what they should be."""
        ...

    def prepare(
        self, galleries: Sequence[Gallery], bench: Bench, *, learnt: Known = None, folder: Path | None = None
    ) -> "list[Ready]":
        """Features or vectors of all photos, and what is chosen or fitted on the references.

        Args:
            learnt: see `Known`.
            folder: of the method; finished work is kept there.

        Returns:
            One per gallery that the method can answer, in their order.
        """
        ...


@dataclass(frozen=True)
class Ready:
    """A method that is ready for one gallery.

    Attributes:
        shared: the scorer and the gallery, as the bench hands them to requests.
        learnt: what was chosen or fitted on the references.
        unvalidated: the same without the validation photos, where that differs.
        params: what of it people should see.
        keypoints: int64, of each photo, for local features.
        size: photos that are asked in one request.
        matched: references that each photo is compared with.
        work: folder of finished work; None: nothing is kept.
        parts: of a fusion, each ready for the same gallery.
    """

    method: Method
    gallery: Gallery
    scorer: Scorer
    shared: tuple[Any, Any]
    learnt: Learnt
    size: int
    matched: int
    unvalidated: Learnt | None = None
    params: Params = field(default_factory=dict)
    keypoints: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    work: Path | None = None
    parts: "tuple[Ready, ...]" = ()

    def rank(
        self, bench: Bench, asked: Positions, *, k: int, done: Callable[[int, bool], None] = lambda *_: None
    ) -> tuple[Ranked, Arrays]:
        """The k best references of each query, and what else was measured, query by query.

        Args:
            done: called with the queries that were answered, and whether that was done now.
        """
        requests = {
            f"ranked-{at:08d}": RankRequest(asked[at : at + self.size], k) for at in self._starts(asked)
        }
        ended: dict[str, Arrays] = {}
        for name, arrays, fresh in bench.run(requests, *self.shared, folder=self.work):
            ended[name] = arrays
            done(len(arrays["first_correct"]), fresh)
        parts = [ended[name] for name in sorted(ended)]
        names = [name for name in parts[0] if name.startswith(MEASURED)] if parts else []
        rest = {name: np.concatenate([part[name] for part in parts]) for name in names}
        ranked = [
            Ranked.of_arrays({name: one for name, one in part.items() if not name.startswith(MEASURED)})
            for part in parts
        ]
        return concat(ranked), rest

    def animals(
        self,
        bench: Bench,
        asked: Positions,
        *,
        encounter: bool,
        hidden_g: NDArray[np.bool_] | None = None,
        withheld: bool = False,
    ) -> Iterator[tuple[slice, Animals]]:
        """What every known animal's photos say, a block of the asked photos at a time, in any order.

        Args:
            encounter, hidden_g, withheld: as in `Gallery.excluded`.
        """
        requests = {
            f"{at:08d}": AnimalsRequest(asked[at : at + self.size], encounter, hidden_g, withheld)
            for at in self._starts(asked)
        }
        for name, found, _ in bench.run(requests, *self.shared):
            yield slice(int(name), int(name) + len(found.photo)), found

    def between(self, bench: Bench, asked: Positions) -> NDArray[np.float32]:
        """Even scores of references among each other, float32 [a, g]; 0 for a photo and itself."""
        found = answers(bench, asked, self.size, ScoresRequest, *self.shared)
        scores = np.concatenate([np.zeros((0, self.gallery.references), np.float32), *found])
        return np.where(np.isfinite(scores), scores, np.float32(0))

    def _starts(self, asked: Positions) -> range:
        return range(0, len(asked), self.size)


MEASURED = "measured_"
"""Names of arrays of a rank request that are not the ranks."""


@dataclass(frozen=True)
class RankRequest:
    """Rank the references for some query photos."""

    asked: Positions
    k: int

    def run(self, scorer: Scorer, gallery: Gallery) -> Arrays:
        return scorer.rank(gallery, self.asked, k=self.k)


@dataclass(frozen=True)
class AnimalsRequest:
    """Gather scores by animal."""

    asked: Positions
    encounter: bool
    hidden_g: NDArray[np.bool_] | None
    withheld: bool

    def run(self, scorer: Scorer, gallery: Gallery) -> Animals:
        names, animal_g = np.unique(gallery.labels_g, return_inverse=True)
        found = []
        for few in blocks(self.asked):
            out = gallery.excluded(
                few, encounter=self.encounter, hidden_g=self.hidden_g, withheld=self.withheld
            )
            block = scorer.scores(gallery, few, [out])
            even = np.asarray(scorer.even(block.scores[0]), np.float32)
            found.append(per_animal(block, even, animal_g, len(names)))
        scores = np.concatenate([one.scores for one in found], axis=1)
        return Animals(scores, *(np.concatenate([one[part] for one in found]) for part in (1, 2, 3)))


@dataclass(frozen=True)
class ScoresRequest:
    """Even scores of references asked among all others."""

    asked: Positions

    def run(self, scorer: Scorer, gallery: Gallery) -> NDArray[np.float32]:
        found = []
        for few in blocks(self.asked):
            block = scorer.scores(gallery, few, [gallery.excluded(few, encounter=False)])
            found.append(np.asarray(scorer.even(block.scores[0]), np.float32))
        return np.concatenate(found)
