"""Say who is asked, who may answer, and who must not. In: the table of photos. Out: `Gallery`.

Legend: n photos of a gallery, g references, a asked photos.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.matching import Viewpoint
from reid_ray.datasets.cutout import CROP
from reid_ray.datasets.encounters import encounter_codes, same_encounter
from reid_ray.datasets.schema import ORIENTATION, SIDES
from reid_ray.splits.learnable import learnable, trained_on

Positions = NDArray[np.int64]
_AT_ONCE = 256
_SPLIT = {"split", "validation", "domain"}
"""Columns that say what was trained on; new photos have none."""


@dataclass(frozen=True)
class Gallery:
    """The photos of one collection: references 0 .. g-1, which answer, then query photos g .. n-1.

    A reference can be asked too, as a leave-one-out query.

    Attributes:
        name: of the collection.
        photos: int64 [n], positions in the table.
        references: g.
        labels: int64 [n], equal for equal identities.
        encounters: int64 [n], equal within an encounter, -1 where unknown.
        contents: int64 [n], equal for copies of one file, -1 where unknown.
        trained: bool [g], references that a model of this study was trained on.
        fingerprint: hex digits that are equal for the same references with the same names.
        sides: int64 [n], the side that is seen, a place in `SIDES`; -1 where unknown.
        painted: bool [n], photos of which all but the animal was painted black.
        viewpoint: which references answer a photo of another side, as `Matching.viewpoint` has it.
    """

    name: str
    photos: Positions
    references: int
    labels: Positions
    encounters: Positions
    contents: Positions
    trained: NDArray[np.bool_]
    fingerprint: str = ""
    sides: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    painted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    viewpoint: Viewpoint = "off"

    def __post_init__(self) -> None:
        if len(self.sides) != len(self.photos):
            object.__setattr__(self, "sides", np.full(len(self.photos), -1, np.int64))
        if len(self.painted) != len(self.photos):
            object.__setattr__(self, "painted", np.zeros(len(self.photos), bool))

    @classmethod
    def of(
        cls, rows: pd.DataFrame, references: Positions, queries: Positions, *, name: str, merged: bool = False
    ) -> "Gallery":
        """The gallery of the given rows.

        Args:
            merged: identities of several collections are one animal where their names are equal.
        """
        photos = np.concatenate([references, queries]).astype(np.int64)
        part = rows.iloc[photos]
        names = part["identity"].astype(str)
        if not merged:
            names = part["dataset"].astype(str) + "/" + names
        return cls(
            name,
            photos,
            len(references),
            pd.factorize(names)[0].astype(np.int64),
            encounter_codes(rows)[photos],
            _codes(part, "content"),
            trained_on(rows)[references] if set(rows) >= _SPLIT else np.zeros(len(references), bool),
            _fingerprint(rows.iloc[references]),
            _sides(part),
            _painted(part),
        )

    @property
    def queries(self) -> Positions:
        """The query photos, as positions in this gallery."""
        return np.arange(self.references, len(self.photos))

    @property
    def labels_g(self) -> Positions:
        return self.labels[: self.references]

    @property
    def encounters_g(self) -> Positions:
        return self.encounters[: self.references]

    @property
    def knows_encounters(self) -> bool:
        """Whether the encounter of any reference is known."""
        return bool((self.encounters_g >= 0).any())

    def excluded(
        self,
        asked: Positions,
        *,
        encounter: bool,
        hidden_g: NDArray[np.bool_] | None = None,
        withheld: bool = False,
    ) -> NDArray[np.bool_]:
        """References that must not answer, bool [a, g]: they are as if they were not there.

        A leave-one-out query is never answered by itself or by a copy of its file. What `viewpoint` leaves
        out, is left out of all answers.

        Args:
            encounter: leave out references of the asked photo's own encounter.
            hidden_g: references that answer nobody.
            withheld: leave out the asked photo's own animal, as if it were unknown.
        """
        out = asked[:, None] == np.arange(self.references)
        itself = asked < self.references
        copies = self.contents[asked][:, None] == self.contents[: self.references]
        out |= copies & (itself & (self.contents[asked] >= 0))[:, None]
        if encounter:
            out |= same_encounter(self.encounters[asked], self.encounters_g)
        if hidden_g is not None:
            out |= hidden_g
        if withheld:
            out |= self.labels[asked][:, None] == self.labels_g
        if self.viewpoint != "off":
            out |= self._other_side(asked, out)
        return np.asarray(out)

    def _other_side(self, asked: Positions, out: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """References of another side than the asked photo's, where both are known; with `prefer`, only of
        animals of which one of its side may answer.
        """
        sides, sides_g = self.sides[asked][:, None], self.sides[: self.references]
        other = (sides >= 0) & (sides_g >= 0) & (sides != sides_g)
        if self.viewpoint == "only" or not self.references:
            return np.asarray(other)
        order = np.argsort(self.labels_g, kind="stable")
        names, first = np.unique(self.labels_g[order], return_index=True)
        seen = np.logical_or.reduceat((~out & (sides == sides_g))[:, order], first, axis=1)
        return np.asarray(other & seen[:, np.searchsorted(names, self.labels_g)])

    def same_side(self, asked: Positions) -> Iterator[Positions]:
        """The rows of `asked` in parts that the same references may answer, but for single ones."""
        sides = self.sides[asked] if self.viewpoint != "off" else np.zeros(len(asked), np.int64)
        for side in np.unique(sides):
            yield np.flatnonzero(sides == side)

    def pairs(self, asked: Positions) -> int:
        """References that may answer, of all asked photos together."""
        each = range(0, len(asked), _AT_ONCE)
        return sum(int((~self.excluded(asked[at : at + _AT_ONCE], encounter=False)).sum()) for at in each)


def galleries(rows: pd.DataFrame, *, validation: bool = False) -> Iterator[Gallery]:
    """One gallery per collection that has queries, in row order.

    With `validation`, queries are the learnable photos that were kept out of training, searched among
    those that were trained on; the query photos of the study stay untouched.
    """
    split = rows["split"].to_numpy(object)
    is_reference, is_query = split == "reference", split == "query"
    if validation:
        is_reference = trained_on(rows)
        is_query = learnable(rows) & ~is_reference
    dataset = rows["dataset"].to_numpy(object)
    for name in pd.unique(rows["dataset"]):
        queries = np.flatnonzero(is_query & (dataset == name))
        references = np.flatnonzero(is_reference & (dataset == name))
        if queries.size:
            yield Gallery.of(rows, references, queries, name=str(name))


def _codes(rows: pd.DataFrame, column: str) -> Positions:
    """Equal numbers for equal filled cells, -1 where there is none."""
    if column not in rows:
        return np.full(len(rows), -1, np.int64)
    return pd.factorize(rows[column].where(rows[column].fillna("").ne("")))[0].astype(np.int64)


def _sides(rows: pd.DataFrame) -> Positions:
    """Places in `SIDES`; other words for a side are as good as none."""
    if ORIENTATION not in rows:
        return np.full(len(rows), -1, np.int64)
    places = {side: place for place, side in enumerate(SIDES)}
    return np.array([places.get(side, -1) for side in rows[ORIENTATION]], np.int64)


def _painted(rows: pd.DataFrame) -> NDArray[np.bool_]:
    if CROP not in rows:
        return np.zeros(len(rows), bool)
    told = [rows[name].fillna("").ne("").to_numpy(bool) for name in ("mask", "segmentation") if name in rows]
    return np.asarray(
        rows[CROP].eq("mask").to_numpy(bool) & np.any([np.zeros(len(rows), bool), *told], axis=0)
    )


def _fingerprint(references: pd.DataFrame) -> str:
    """Of files, names and boxes, in whatever order and below whatever paths; "" before files are read."""
    if "content" not in references:
        return ""
    boxes = references["bbox"] if "bbox" in references else pd.Series(None, references.index, dtype=object)
    given = [list(map(float, box)) if isinstance(box, Sequence | np.ndarray) else "" for box in boxes]
    names = references["identity"].astype(str)
    lines = sorted(
        f"{c}\0{name}\0{box}" for c, name, box in zip(references["content"], names, given, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]
