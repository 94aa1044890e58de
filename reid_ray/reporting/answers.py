"""Write who is in the photos as tables that other programs read. In: `Answers`. Out: CSV and JSON files.

`answers.csv` has a row per photo, `candidates.csv` one per photo and candidate, `wildbook.csv` is a
bulk-import sheet, `answers.json` holds all of it; `records.csv`, `captures.csv` and `history.csv` are for
population models, see `reid_ray.reporting.captures`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reid_ray.errors import StorageError
from reid_ray.reporting import captures
from reid_ray.reporting.captures import TOLD, moment
from reid_ray.reporting.tables import to_csv
from reid_ray.runs import files

CERTAIN = 0.9
"""From this probability on an answer is listed as named; below it is to be looked at."""


@dataclass(frozen=True)
class Candidate:
    """An animal that a photo may show.

    Attributes:
        probability: 0..1.
        photo: row number of its most alike photo; None where there is none.
        beside: row number of the photo that it is like, one of those answered together; None: the
            answer's own.
    """

    identity: str
    probability: float
    photo: int | None
    beside: int | None = None


@dataclass(frozen=True)
class Answer:
    """What is said of one photo.

    Attributes:
        row: number of the photo's row in the table of photos.
        identity: the likeliest animal, or None where "unknown" is likelier.
        probability: of the answer, whichever it is, 0..1.
        unknown: P(none of the candidates: not a known animal, or not recognised), 0..1.
        group: of photos of unknown animals, a number for those that seem to be one animal.
        truth: the name the photo came with, where it is one of the known animals'.
        together: a number for photos that got one answer together, as they are of one encounter;
            None: answered by itself.
    """

    row: int
    identity: str | None
    probability: float
    unknown: float
    candidates: tuple[Candidate, ...]
    group: int | None = None
    truth: str | None = None
    together: int | None = None

    @property
    def text(self) -> str:
        """The answer as people write it."""
        if self.identity is not None:
            return self.identity
        return "unknown" if self.group is None else f"unknown {self.group + 1}"

    @property
    def certain(self) -> bool:
        return self.probability >= CERTAIN


class Copy(NamedTuple):
    """A photo to name that is a reference photo, byte for byte; row numbers of both."""

    row: int
    reference: int


@dataclass(frozen=True)
class Answers:
    """All answers of a run.

    Attributes:
        rows: the table of photos.
        copies: photos that were left out, as they are among the references.
        learnt: how much the answers are worth, as measured on the known animals; see `identify`.
        notes: sentences for the reader.
    """

    name: str
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    answers: tuple[Answer, ...]
    learnt: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    copies: tuple[Copy, ...] = ()

    def right(self) -> tuple[int, int] | None:
        """(right, all) of the photos whose name was known beforehand; None where there are none."""
        known = [answer for answer in self.answers if answer.truth is not None]
        if not known:
            return None
        return sum(answer.identity == answer.truth for answer in known), len(known)


def finite(probability: float) -> float | None:
    """A probability for JSON and pages; None where a run has none (NaN), as too few animals are known."""
    return None if math.isnan(probability) else probability


def write_answers(answers: Answers, out: Path) -> list[Path]:
    """Write the tables into the folder `out`; returns their paths."""
    tables = {
        "answers.csv": answers_table(answers),
        "candidates.csv": candidates_table(answers),
        "wildbook.csv": wildbook_table(answers),
    }
    rest = captures.capture_tables(captured(answers))
    rest |= {"same_files.csv": same_files_table(answers), "quarantined.csv": answers.quarantine}
    tables |= {name: table for name, table in rest.items() if len(table)}
    for name in {*rest, *captures.TABLES} - set(tables):
        files.remove(out / name)  # of an earlier run with the same name
    for name, table in tables.items():
        files.write_bytes(out / name, to_csv(table).encode("utf-8", "replace"))
    files.write_json(out / "answers.json", _plain(answers))
    return [*(out / name for name in tables), out / "answers.json"]


def encounters_of(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Answers that were given together, in the order of their first photos."""
    found: dict[tuple[str, int], list[Answer]] = {}
    for place, answer in enumerate(answers):
        key = ("alone", place) if answer.together is None else ("together", answer.together)
        found.setdefault(key, []).append(answer)
    return list(found.values())


def answers_table(answers: Answers) -> pd.DataFrame:
    """Columns `path`, `answer`, `probability`, `unknown_probability`, `truth`, `encounter`,
    `photos_together` (so many that got this answer together), `date`, `location`.
    """
    size_of = {id(answer): len(part) for part in encounters_of(answers.answers) for answer in part}
    rows = [
        {
            "path": _cell(answers.rows, answer.row, "path"),
            "answer": answer.text,
            "probability": answer.probability,
            "unknown_probability": answer.unknown,
            "truth": answer.truth or "",
            "encounter": _cell(answers.rows, answer.row, "encounter"),
            "photos_together": size_of[id(answer)],
            **{name: _cell(answers.rows, answer.row, name) for name in ("date", "location")},
        }
        for answer in answers.answers
    ]
    names = (
        "path",
        "answer",
        "probability",
        "unknown_probability",
        "truth",
        "encounter",
        "photos_together",
        "date",
        "location",
    )
    return pd.DataFrame(rows, columns=list(names))


def same_files_table(answers: Answers) -> pd.DataFrame:
    """Columns `path`, `same_file_as` (a reference photo) and `identity`: who that photo shows."""
    rows = [
        {
            "path": _cell(answers.rows, copy.row, "path"),
            "same_file_as": _cell(answers.rows, copy.reference, "path"),
            "identity": _cell(answers.rows, copy.reference, "identity"),
        }
        for copy in answers.copies
    ]
    return pd.DataFrame(rows, columns=["path", "same_file_as", "identity"])


def candidates_table(answers: Answers) -> pd.DataFrame:
    """Columns `path`, `rank`, `identity`, `probability`, `reference`: the most alike known photo."""
    rows = [
        {
            "path": _cell(answers.rows, answer.row, "path"),
            "rank": rank,
            "identity": candidate.identity,
            "probability": candidate.probability,
            "reference": "" if candidate.photo is None else _cell(answers.rows, candidate.photo, "path"),
        }
        for answer in answers.answers
        for rank, candidate in enumerate(answer.candidates, 1)
    ]
    return pd.DataFrame(rows, columns=["path", "rank", "identity", "probability", "reference"])


def wildbook_table(answers: Answers) -> pd.DataFrame:
    """A Wildbook bulk-import sheet: a row per photo; only certain answers are named.

    The probability goes into the researcher's comments, so that whoever reviews the import sees it.
    """
    rows = [
        wildbook_row(
            _told(answers.rows, answer.row),
            [_cell(answers.rows, answer.row, "path")],
            identity=answer.identity or "" if answer.certain else "",
            comment=_comment(answer),
        )
        for answer in answers.answers
    ]
    return wildbook_sheet(rows)


def wildbook_sheet(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Rows of `wildbook_row` as a sheet, without columns that are empty; of the names the column stays."""
    table = pd.DataFrame([dict(row) for row in rows]).fillna("")
    filled = [str(name) for name in table if table[name].astype(str).ne("").any()]
    return table[[name for name in table if name in (*filled, "Encounter.individualID")]]


def wildbook_row(
    told: Mapping[str, str], media: Sequence[str], *, identity: str, comment: str
) -> dict[str, str]:
    """An encounter of a bulk-import sheet.

    Args:
        told: of `TOLD`, what is known.
        media: paths of its photos.
        identity: "" where no name is certain.
    """
    date = moment(told["date"])
    genus, _, epithet = told["species"].partition(" ")
    return {
        **{f"Encounter.mediaAsset{place}": path for place, path in enumerate(media)},
        "Encounter.individualID": identity,
        "Encounter.genus": genus,
        "Encounter.specificEpithet": epithet,
        "Encounter.year": date.year,
        "Encounter.month": date.month,
        "Encounter.day": date.day,
        "Encounter.hour": date.hour,
        "Encounter.minutes": date.minute,
        "Encounter.locationID": told["location"],
        "Encounter.verbatimLocality": told["location"],
        "Annotation0.viewpoint": told["orientation"],
        "Encounter.researcherComments": comment,
    }


def _comment(answer: Answer) -> str:
    """For whoever reviews the import; without a probability the answer is not one to rely on."""
    if finite(answer.probability) is None:
        best = answer.candidates[0].identity if answer.candidates else "nobody"
        return f"reid_ray: {best} is most alike, no probability"
    return f"reid_ray: {answer.text}, probability {answer.probability:.2f}"


def captured(answers: Answers) -> pd.DataFrame:
    """The photos that are certain, for `capture_tables`."""
    rows = [
        {"identity": answer.identity, **_told(answers.rows, answer.row)}
        for answer in answers.answers
        if answer.certain and answer.identity
    ]
    return pd.DataFrame(rows, columns=["identity", *TOLD], dtype="str")


def _told(rows: pd.DataFrame, row: int) -> dict[str, str]:
    return {name: _cell(rows, row, name) for name in TOLD}


def _plain(answers: Answers) -> dict[str, Any]:
    def photo(row: int | None) -> str | None:
        return None if row is None else _cell(answers.rows, row, "path")

    return {
        "name": answers.name,
        "learnt": answers.learnt,
        "notes": list(answers.notes),
        "answers": [
            {
                **_told(answers.rows, answer.row),
                "answer": answer.text,
                "identity": answer.identity,
                "probability": finite(answer.probability),
                "unknown_probability": finite(answer.unknown),
                "group": answer.group,
                "truth": answer.truth,
                "together": answer.together,
                "candidates": [
                    {
                        "identity": c.identity,
                        "probability": finite(c.probability),
                        "reference": photo(c.photo),
                    }
                    for c in answer.candidates
                ],
            }
            for answer in answers.answers
        ],
    }


def _probability(raw: Any) -> float:
    return math.nan if raw is None else float(raw)


def answers_of(plain: dict[str, Any]) -> Answers:
    """Answers as `write_answers` wrote them; of the photos' table only `TOLD` is known.

    Raises:
        StorageError: not such a file.
    """
    try:
        told = [
            Answer(
                row=row,
                identity=one["identity"],
                probability=_probability(one["probability"]),
                unknown=_probability(one["unknown_probability"]),
                group=one["group"],
                truth=one["truth"],
                together=one.get("together"),
                candidates=tuple(
                    Candidate(c["identity"], _probability(c["probability"]), None) for c in one["candidates"]
                ),
            )
            for row, one in enumerate(plain["answers"])
        ]
        paths = pd.DataFrame(
            [{name: str(one.get(name) or "") for name in TOLD} for one in plain["answers"]],
            columns=list(TOLD),
            dtype="str",
        )
        notes = tuple(plain["notes"])
        return Answers(plain["name"], paths, pd.DataFrame(), tuple(told), plain["learnt"], notes)
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"answers.json: not the answers of a run ({error!r}); name the photos again"
        ) from None


def _cell(rows: pd.DataFrame, row: int, column: str) -> str:
    return str(rows[column].iloc[row]) if column in rows else ""


def sections(answers: Sequence[Answer]) -> list[tuple[str, str, list[Answer]]]:
    """Anchor, title and answers of what a reviewer looks at in turn; the surest first in each."""
    surest = sorted(answers, key=lambda answer: -answer.probability)
    parts = [
        ("named", "Named", [a for a in surest if a.identity is not None and a.certain]),
        ("look", "To be looked at", [a for a in surest if a.identity is not None and not a.certain]),
        (
            "unknown",
            "No known animal recognised",
            sorted((a for a in surest if a.identity is None), key=lambda a: (a.group is None, a.group or 0)),
        ),
    ]
    return [part for part in parts if part[2]]
