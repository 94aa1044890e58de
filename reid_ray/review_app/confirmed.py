"""Write down what people decided. In: journals of all batches. Out: tables of photos and encounters.

This is the one source of names that leave the review: a name is in a table only if a person gave it to that
very photo, and as long as no verdict of a person contradicts it.
"""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from reid_ray.errors import StorageError
from reid_ray.reporting import captures
from reid_ray.reporting.answers import wildbook_row, wildbook_sheet
from reid_ray.reporting.captures import TOLD
from reid_ray.reporting.tables import to_csv, to_plain_csv
from reid_ray.review_app import regions
from reid_ray.review_app.decisions import LAST, Decisions
from reid_ray.review_app.queue import CONFIRMED, FOR_SPREADSHEETS, Batches
from reid_ray.review_app.same import UNKNOWN
from reid_ray.review_app.unknown import Unknown
from reid_ray.runs import files

FACTS = ("date", "location", "species", "orientation", "encounter")
COLUMNS = ("path", "identity", "batch", "bbox", *FACTS, "decided_at", "reviewer", "evidence")
TEXTS = (*FACTS, "reviewer", "evidence")
ENCOUNTERS = "encounters.csv"
_BETWEEN = " | "
WILDBOOK = "wildbook.csv"
EXPORTS = (CONFIRMED, FOR_SPREADSHEETS, ENCOUNTERS, WILDBOOK, *captures.TABLES)


def decide(
    batches: Batches,
    name: str,
    wanted: Decisions,
    *,
    shown: int = LAST,
    boxes: Mapping[str, Sequence[float]] | None = None,
) -> Decisions:
    """`Batches.save`, and the tables beside the batches anew; returns what was not saved."""
    refused = batches.save(name, wanted, shown=shown, boxes=boxes)
    write_confirmed(batches)
    return refused


def decide_group(batches: Batches, photos: Sequence[str], what: str) -> None:
    """Decide on all photos of a group, `<batch>/<path>`, in whichever batch they are."""
    by_batch: dict[str, Decisions] = {}
    for key in photos:
        batch, _, path = key.partition("/")
        by_batch.setdefault(batch, {})[path] = what
    for batch, wanted in by_batch.items():
        batches.save(batch, wanted)
    write_confirmed(batches)


def write_confirmed(batches: Batches) -> None:
    """Write both tables of all decisions anew; they are made from the journals and can be made again."""
    table = confirmed(batches)
    for name, text in ((CONFIRMED, to_plain_csv(table)), (FOR_SPREADSHEETS, to_csv(table))):
        files.write_bytes(batches.folder / name, text.encode("utf-8", "replace"))


def confirmed(batches: Batches, names: Sequence[str] | None = None) -> pd.DataFrame:
    """`COLUMNS` of the photos that were decided on, of these batches or all; `--reference` takes it.

    Photos whose names are in doubt, as verdicts on pairs contradict each other, are not in it.
    """
    doubt, rows = Unknown(batches).in_doubt(), []
    for name in batches.names() if names is None else names:
        journal, facts = batches.journal(name), _facts(batches, name)
        boxes = journal.boxes()
        for path, signed in sorted(journal.signed().items()):
            if f"{name}/{path}" in doubt:
                continue
            rows.append(
                {
                    "path": f"{name}/photos/{path}",
                    "identity": signed.what[3:] if signed.what.startswith("is:") else UNKNOWN,
                    "batch": name,
                    "bbox": json.dumps(boxes[path]) if path in boxes else "",
                    **{fact: facts.get(path, {}).get(fact, "") for fact in FACTS},
                    "decided_at": _when(signed.at),
                    "reviewer": signed.reviewer,
                    "evidence": signed.evidence,
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")


def encounters(batches: Batches) -> pd.DataFrame:
    """Confirmed encounters, the latest decision first: `COLUMNS` but for `path` and `bbox`; `photos`, how
    many; `paths`, separated by " | ".

    Photos that came with the same `encounter`, or that one answer was about, are one, as far as they got one
    name.
    """
    table = confirmed(batches)
    first = {
        f"{name}/photos/{path}": f"{name}/{regions.paths_of(card)[0]}"
        for name in batches.names()
        for card in _cards(batches, name)
        for path in regions.paths_of(card)
    }
    own = pd.Series([first.get(path, path) for path in table["path"]], table.index, dtype="str")
    given = table["batch"] + "/" + table["encounter"]
    key = given.where(table["encounter"].ne(""), own)
    rows = [
        {
            "identity": part["identity"].iloc[0],
            "photos": len(part),
            "paths": _BETWEEN.join(part["path"]),
            **{name: _BETWEEN.join(sorted({text for text in part[name] if text})) for name in TEXTS},
            "decided_at": part["decided_at"].max(),
            "batch": part["batch"].iloc[0],
        }
        for _, part in table.groupby([key, table["identity"]], sort=False)
    ]
    names = ["identity", "photos", "paths", *TEXTS, "decided_at", "batch"]
    found = pd.DataFrame(rows, columns=names)
    return found.sort_values("decided_at", ascending=False, kind="stable", ignore_index=True)


def exported(batches: Batches) -> dict[str, Callable[[], str]]:
    """By file name, what makes its text."""
    return {
        CONFIRMED: lambda: to_plain_csv(confirmed(batches)),
        FOR_SPREADSHEETS: lambda: to_csv(confirmed(batches)),
        ENCOUNTERS: lambda: to_csv(encounters(batches)),
        WILDBOOK: lambda: to_csv(wildbook(batches)),
        **{name: lambda name=name: to_csv(_captures(batches, name)) for name in captures.TABLES},  # type: ignore[misc]
    }


def wildbook(batches: Batches) -> pd.DataFrame:
    """A Wildbook bulk-import sheet, a row per confirmed encounter."""
    rows = [
        wildbook_row(
            {fact: one[fact].partition(_BETWEEN)[0] for fact in FACTS},
            one["paths"].split(_BETWEEN),
            identity="" if one["identity"] == UNKNOWN else one["identity"],
            comment=f"decided by {one['reviewer'] or 'a reviewer'} at {one['decided_at']}: {one['evidence']}",
        )
        for one in encounters(batches).to_dict("records")
    ]
    return wildbook_sheet(rows)


def _captures(batches: Batches, name: str) -> pd.DataFrame:
    """Of named photos; empty where no date is known."""
    table = confirmed(batches)
    found = captures.capture_tables(table[table["identity"].ne(UNKNOWN)][["identity", *TOLD]])
    return found.get(name, pd.DataFrame())


def _facts(batches: Batches, name: str) -> dict[str, dict[str, Any]]:
    try:
        rows = batches.answers(name).answers.rows if batches.state(name) == "done" else pd.DataFrame()
    except StorageError:  # decisions are kept, whatever becomes of the answers
        return {}
    return {
        str(one["path"]): {str(key): value for key, value in one.items()} for one in rows.to_dict("records")
    }


def _cards(batches: Batches, name: str) -> Sequence[Mapping[str, Any]]:
    try:
        return batches.answers(name).cards if batches.state(name) == "done" else ()
    except StorageError:
        return ()


def _when(at: float) -> str:
    """UTC, to the second; "" where it was not kept."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds") if at else ""
