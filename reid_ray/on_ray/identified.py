"""What `identify` finds: positions in the gallery, and the same as answers for people and programs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.matching.places import PlaceWeights
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.probability import Candidates
from reid_ray.methods.ready import Method
from reid_ray.reporting.answers import Answer, Answers, Candidate, Copy


@dataclass
class Identified:
    """Who is in the query photos.

    Attributes:
        rows: the table of all photos; `images` belong to it.
        gallery: the known animals' photos and the query photos.
        names: the known animals, by position.
        method: what answered, and `what` it is.
        together_q: equal for queries that were answered together.
        candidates: of each query.
        photo_qc: position in `rows` of each candidate's most alike photo; -1 where there is none.
        beside_qc: position of the query photo that it is like, one of the same encounter; or -1.
        places: what votes count by where in a photo they come from; None: all alike.
        groups: a number per query of an unknown animal, -1 for others; None: not asked for.
        copies: queries that are reference photos, byte for byte; they are left out of all above.
        learnt: how often references were found again, reliability and so on, for the reader.
        notes: sentences for the reader.
    """

    images: PreparedImages
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    gallery: Gallery
    names: list[str]
    method: Method
    together_q: NDArray[np.int64]
    candidates: Candidates
    photo_qc: NDArray[np.int64]
    beside_qc: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    learnt: dict[str, Any] = field(default_factory=dict)
    places: PlaceWeights | None = None
    notes: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    def answers(self, name: str) -> Answers:
        """The same for people and other programs: names in place of positions."""
        known = set(self.names)
        codes, sizes = np.unique(self.together_q, return_counts=True)
        number = {int(one): place for place, one in enumerate(codes[sizes > 1])}
        queries = self.gallery.photos[self.gallery.references :]
        told = tuple(
            self._answer(q, int(row), known, number.get(int(self.together_q[q])))
            for q, row in enumerate(queries)
        )
        return Answers(
            name, self.rows, self.quarantine, told, self.learnt, tuple(self.notes), tuple(self.copies)
        )

    def _answer(self, q: int, row: int, known: set[str], together: int | None) -> Answer:
        best, unknown = int(self.candidates.answer_q[q]), float(self.candidates.unknown_q[q])
        candidates = tuple(
            Candidate(
                self.names[i],
                float(p),
                int(photo) if photo >= 0 else None,
                int(beside) if beside >= 0 else None,
            )
            for i, p, photo, beside in zip(
                self.candidates.identity_qc[q],
                self.candidates.probability_qc[q],
                self.photo_qc[q],
                self.beside_qc[q],
                strict=True,
            )
            if i >= 0
        )
        truth = str(self.rows["identity"].iloc[row])
        return Answer(
            row=row,
            identity=self.names[best] if best >= 0 else None,
            probability=candidates[0].probability if best >= 0 else unknown,
            unknown=unknown,
            candidates=candidates,
            group=None if self.groups is None or self.groups[q] < 0 else int(self.groups[q]),
            truth=truth if truth in known else None,
            together=together,
        )
