"""Hold the photos of a run that names animals, and score every known animal for any of them.

In: rows and lookers. Out: `Album`, scores of animals [looks, photos, animals].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.identify import IdentifyRun
from reid_ray.datasets.encounters import sighting_codes
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.schema import UNKNOWN
from reid_ray.errors import DatasetError
from reid_ray.methods.probability import per_identity
from reid_ray.on_ray.looking import Looker, Positions
from reid_ray.splits.checkup import ALL_BUT_THE_LAST_PART, named_together

LOOKS = 2
"""Scores that each looker gives an animal: its best photo's, and the mean of its best two."""


@dataclass
class Album:
    """Photos by their part.

    Attributes:
        references, queries: positions in `rows`.
        names: the known animals.
        identity_g: of each reference, its position among `names`.
        encounter_n, content_n: equal for photos of one encounter, or one file; -1 where not known.
        sighting_n: equal for photos that show one animal, as they are of one encounter.
    """

    images: PreparedImages
    rows: pd.DataFrame
    references: Positions
    queries: Positions
    names: list[str]
    identity_g: NDArray[np.int64]
    encounter_n: NDArray[np.int64]
    content_n: NDArray[np.int64]
    sighting_n: NDArray[np.int64]

    @classmethod
    def of(cls, run: IdentifyRun, images: PreparedImages, rows: pd.DataFrame) -> "Album":
        """The photos of a run.

        Raises:
            DatasetError: no query, or fewer than two known animals.
        """
        names_of = [dataset.name for dataset in run.references]
        known = rows["dataset"].isin(names_of) & rows["identity"].ne(UNKNOWN)
        references = np.flatnonzero(known).astype(np.int64)
        queries = np.flatnonzero(rows["dataset"].eq(run.query.name)).astype(np.int64)
        if not len(references) or not len(queries):
            raise DatasetError(
                f"{len(references)} photos of known animals in {run.reference.root}, "
                f"{len(queries)} photos to name in {run.query.root}; both must have some"
            )
        codes, names = pd.factorize(rows["identity"].iloc[references], sort=True)
        if len(names) < 2:
            raise DatasetError(
                f"{run.reference.root}: only {names[0]!r} is known there; expected a folder per "
                "animal, or a table with a column `identity`"
            )
        return cls(
            images,
            rows,
            references,
            queries,
            [str(name) for name in names],
            codes.astype(np.int64),
            _numbers(rows, "encounter"),
            _numbers(rows, "content"),
            _sightings(run, rows, queries),
        )

    @property
    def bursts(self) -> bool:
        """Whether some queries are answered together."""
        return len(np.unique(self.sighting_n[self.queries])) < len(self.queries)

    def bursts_not_told(self) -> str | None:
        """What to say where the known photos' names tell what was taken together, and nobody did."""
        if (self.encounter_n >= 0).any():
            return None
        if not (shared := named_together(self.rows.iloc[self.references])):
            return None
        how = f"encounter_from.pattern='{ALL_BUT_THE_LAST_PART}'"
        return (
            f"file names such as {shared[0]} and {shared[1]} seem to belong together: if they do, photos of "
            f'one encounter can be answered together; add --set "query.{how}" --set "reference.{how}"'
        )

    def left_out(self, looking: Positions) -> NDArray[np.bool_]:
        """References that must not answer a reference: itself, its copies, photos of its encounter."""
        out = looking[:, None] == self.references[None]
        for numbers in (self.content_n, self.encounter_n):
            mine = numbers[looking][:, None]
            out |= (mine == numbers[self.references][None]) & (mine >= 0)
        return np.asarray(out)

    def scores(
        self,
        lookers: Sequence[Looker],
        looking: Positions,
        out_qg: NDArray[np.bool_] | None,
        progress: Callable[[int], None],
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What all lookers give each animal, float32 [m, q, i] with `LOOKS` rows per looker, and the
        place among the references of its best photo, by the last of them, int64 [q, i]."""
        shape = (len(lookers) * LOOKS, len(looking), len(self.names))
        scores, photos = np.empty(shape, np.float32), np.full(shape[1:], -1, np.int64)
        done = 0
        for m, looker in enumerate(lookers):
            for rows, block in looker.scores(looking, self.references, out_qg):
                scores[LOOKS * m : LOOKS * (m + 1), rows], photos[rows] = per_identity(
                    block, self.identity_g, len(self.names)
                )
                done += len(block)
                progress(done)
        return scores, photos


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Equal numbers for equal filled cells, -1 where there is none."""
    if column not in rows:
        return np.full(len(rows), -1, np.int64)
    return pd.factorize(rows[column].where(rows[column].ne("")))[0].astype(np.int64)


def _sightings(run: IdentifyRun, rows: pd.DataFrame, queries: Positions) -> NDArray[np.int64]:
    """Of each photo; where queries are not answered together, look-ups are not either."""
    alone = np.arange(len(rows), dtype=np.int64)
    if not run.per_encounter:
        return alone
    asked = sighting_codes(rows.iloc[queries], named=False)
    if asked.max() + 1 == len(queries):
        return alone
    numbers = sighting_codes(rows, named=True)
    numbers[queries] = asked + numbers.max() + 1
    return numbers
