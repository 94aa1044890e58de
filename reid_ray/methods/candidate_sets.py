"""Compare photos by side, location and day, for candidate sets. In: the table of photos. Out: `Shown`.

Legend: n photos of a gallery, a asked photos, g references.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.datasets.schema import DATE, LOCATION, ORIENTATION, SIDES, clean_text
from reid_ray.splits.time_aware import Days, days_of

Positions = NDArray[np.int64]
WORDS = {ORIENTATION: "side", LOCATION: "location", DATE: "date"}


class Compared(NamedTuple):
    """Pairs of photos by one rule, bool [a, g]: neither where it is not known of both."""

    rule: str
    same: NDArray[np.bool_]
    other: NDArray[np.bool_]


@dataclass(frozen=True)
class Shown:
    """What is known of each photo.

    Attributes:
        sides: int64 [n], a place in `SIDES`; -1 where unknown.
        locations: int64 [n], equal for equal words; -1 where unknown.
        days: datetime64 [n], of whole days; NaT where unknown.
    """

    sides: Positions
    locations: Positions
    days: Days

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Shown":
        """Of the gallery's rows; other words for a side than those of `SIDES` are as good as none."""
        places = {side: place for place, side in enumerate(SIDES)}
        unknown = np.full(len(rows), -1, np.int64)
        sides = locations = unknown
        if ORIENTATION in rows:
            sides = np.array([places.get(side, -1) for side in rows[ORIENTATION]], np.int64)
        if LOCATION in rows:
            words = clean_text(rows[LOCATION]).str.casefold()
            locations = pd.factorize(words.where(words.ne("")))[0].astype(np.int64)
        return cls(sides, locations, days_of(rows))

    @classmethod
    def nothing(cls, photos: int) -> "Shown":
        """Nothing is known of so many photos."""
        unknown = np.full(photos, -1, np.int64)
        return cls(unknown, unknown, np.full(photos, "NaT", "datetime64[D]"))

    def compare(self, sets: CandidateSets, asked: Positions, references: int) -> Iterator[Compared]:
        """By each rule that leaves anything out: those that know no exception first."""
        for column, rule in sorted(sets.rules.items(), key=lambda one: one[1] != "only"):
            if column == DATE:
                apart = np.abs(self.days[asked][:, None] - self.days[:references])
                most = np.timedelta64(sets.period_days, "D")
                yield Compared(rule, apart <= most, apart > most)  # neither where a day is not known
            else:
                codes = self.sides if column == ORIENTATION else self.locations
                codes_a, codes_g = codes[asked][:, None], codes[:references]
                known = (codes_a >= 0) & (codes_g >= 0)
                yield Compared(rule, known & (codes_a == codes_g), known & (codes_a != codes_g))

    def alike(self, sets: CandidateSets, asked: Positions) -> Iterator[Positions]:
        """The rows of `asked` in parts of which the same references are left out, or nearly."""
        days = self.days[asked].astype(np.int64) // sets.period_days
        columns = {ORIENTATION: self.sides[asked], LOCATION: self.locations[asked], DATE: days}
        keys = np.stack([np.zeros(len(asked), np.int64), *(columns[one] for one in sets.rules)], axis=1)
        part_of = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        for part in range(part_of.max(initial=-1) + 1):
            yield np.flatnonzero(part_of == part)

    def unknown(self, column: str, asked: Positions) -> int:
        """Of how many photos it is not known."""
        if column == DATE:
            return int(np.isnat(self.days[asked]).sum())
        return int(((self.sides if column == ORIENTATION else self.locations)[asked] < 0).sum())

    def plain(self, sets: CandidateSets, photos: int | None = None) -> dict[str, list[int]]:
        """What the rules go by, of the first so many photos, for keys of finished work."""
        every = {ORIENTATION: self.sides, LOCATION: self.locations, DATE: self.days.astype(np.int64)}
        return {column: every[column][:photos].tolist() for column in sets.rules}


def left_out(compared: Iterator[Compared], labels_g: Positions, out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """References that must not answer, bool [a, g]: `out`, and those that the rules leave out.

    `prefer` leaves a photo out where another one of its animal is the same as what is asked, and may answer.
    """
    order = np.argsort(labels_g, kind="stable")
    names, first = np.unique(labels_g[order], return_index=True)
    animal_g = np.searchsorted(names, labels_g)
    for rule, same, other in compared:
        if rule == "prefer" and len(names):
            there = np.logical_or.reduceat((~out & same)[:, order], first, axis=1)
            other = other & there[:, animal_g]
        out = out | other
    return out
