"""Say who is asked, who may answer, and who must not. In: the table of photos. Out: `Gallery`.

Legend: n photos of a gallery, g references, a asked photos.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.candidate_sets import ALL, CandidateSets
from reid_ray.datasets.cutout import CROP
from reid_ray.datasets.encounters import encounter_codes, same_encounter
from reid_ray.methods.animals import Animal, animals_of
from reid_ray.methods.candidate_sets import WORDS, Shown, left_out
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
        shown: side, location and day of each photo.
        painted: bool [n], photos of which all but the animal was painted black.
        animals: of each photo of which only keypoints on the animal are matched, where it is.
        sets: which references answer a photo of another side, location or period.
        all_vote: references that `sets` leave out are left out of the answers alone: they are matched, and
            take votes that would else go to others.
    """

    name: str
    photos: Positions
    references: int
    labels: Positions
    encounters: Positions
    contents: Positions
    trained: NDArray[np.bool_]
    fingerprint: str = ""
    shown: Shown = field(default_factory=lambda: Shown.nothing(0))
    painted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    animals: Mapping[int, Animal] = field(default_factory=dict)
    sets: CandidateSets = ALL
    all_vote: bool = False

    def __post_init__(self) -> None:
        if len(self.shown.sides) != len(self.photos):
            object.__setattr__(self, "shown", Shown.nothing(len(self.photos)))
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
            Shown.of(part),
            _painted(part),
            animals_of(part),
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
    def sides(self) -> Positions:
        """The side that each photo shows, a place in `SIDES`; -1 where unknown."""
        return self.shown.sides

    def under(self, sets: CandidateSets) -> "Gallery":
        """The same with these rules of who may answer; whom they leave out is not matched."""
        return replace(self, sets=sets.alone, all_vote=False)

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
        """References that are as if they were not there, bool [a, g].

        A leave-one-out query is never answered by itself or by a copy of its file. What `sets` leave out is
        left out here, too, but where `all_vote`: then `silent` says who must not answer.

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
        return np.asarray(out) if self.all_vote else self.silent(asked, out)

    def silent(self, asked: Positions, out: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """References that must not answer, bool [a, g]: `out`, and those that `sets` leave out."""
        if not self.sets.rules:
            return np.asarray(out)
        return left_out(self.shown.compare(self.sets, asked, self.references), self.labels_g, out)

    def alike(self, asked: Positions) -> Iterator[Positions]:
        """The rows of `asked` in parts that are matched with the same references, but for single ones."""
        return self.shown.alike(ALL if self.all_vote else self.sets, asked)

    def pairs(self, asked: Positions) -> int:
        """References that may answer, of all asked photos together."""
        return int(self._left(asked).sum())

    def _left(self, asked: Positions) -> Positions:
        """References that may answer each photo, int64 [a]."""
        each = (asked[at : at + _AT_ONCE] for at in range(0, len(asked), _AT_ONCE))
        outs = ((some, self.excluded(some, encounter=False)) for some in each)
        found = [(~self.silent(some, out)).sum(axis=1) for some, out in outs]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def matched(self) -> int:
        """References that a query is compared with, on average."""
        if not self.sets.rules or not len(self.queries) or self.all_vote:
            return self.references
        return round(self.pairs(self.queries) / len(self.queries))

    def rules(self) -> str:
        """The rules in words."""
        return ", ".join(f"{WORDS[column]}: {rule}" for column, rule in self.sets.rules.items())

    def params(self) -> dict[str, str | int | float | bool]:
        """What the rules leave out, as flat scalars; nothing where there are none."""
        if not self.sets.rules:
            return {}
        every = np.arange(len(self.photos))
        unknown = {f"photos_without_{WORDS[one]}": self.shown.unknown(one, every) for one in self.sets.rules}
        left_q = self._left(self.queries)
        return {
            "candidate_sets": self.rules() + (", but all vote" if self.all_vote else ""),
            "references": self.references,
            "references_matched": self.matched(),
            "queries_without_candidates": int((left_q == 0).sum()),
            **unknown,
        }

    def told(self) -> str:
        """For people: how many references the rules leave, and of how many photos nothing is known."""
        found = self.params()
        if not found or not len(self.queries):
            return ""
        parts = [
            f"candidates by {self.rules()}: a photo is matched with {found['references_matched']} of "
            f"{self.references} references on average"
            + (", of which the others vote and do not answer" if self.all_vote else "")
        ]
        if none := found["queries_without_candidates"]:
            parts.append(f"{none} of {len(self.queries)} photos have none left, and so no candidate")
        parts += [
            f"{count} of {len(self.photos)} photos have no {WORDS[column]} and are matched with all"
            for column in self.sets.rules
            if (count := found[f"photos_without_{WORDS[column]}"])
        ]
        return "; ".join(parts)


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
    lines += sorted(f"{references['content'].iloc[at]}\0{one}" for at, one in animals_of(references).items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]
