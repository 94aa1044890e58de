"""Write who was seen where and when as population models read it. In: named photos. Out: tables.

- `records.csv`: a record table as camtrapR's `recordTableIndividual` makes it, for `spatialDetectionHistory`:
  Station, Species, Individual, DateTimeOriginal (`ymd HMS`), Date, Time, Directory, FileName.
- `captures.csv`: captures as secr's `read.capthist(fmt = "trapID")` reads them: session, animal, occasion,
  detector, with the header as a comment; detectors must be named alike in the file of traps.
- `history.csv`: animal x occasion, 1 where it was seen; columns are called by an occasion's first day.

An occasion is a day, or the shortest of a week, 30 days or a year that gives at most 400 occasions.
"""

import re
from typing import NamedTuple

import pandas as pd

TOLD = ("path", "date", "location", "species", "orientation", "encounter")
"""What is kept of a photo besides its answer."""
_OCCASION_DAYS = (1, 7, 30, 365)
_MOST_OCCASIONS = 400
_MOMENT = re.compile(
    r"\s*(\d{4})(?:[-:/.]?(\d\d)(?:[-:/.]?(\d\d)(?:[T ]+(\d\d):(\d\d)(?::(\d\d))?)?)?)?(?!\d)", re.ASCII
)


class Moment(NamedTuple):
    """Parts of a date, "" where it does not say."""

    year: str = ""
    month: str = ""
    day: str = ""
    hour: str = ""
    minute: str = ""
    second: str = ""


def moment(text: str) -> Moment:
    """`2021-03-13 10:22`, `2021:03:13`, `2021-03` and `2021` are understood."""
    found = _MOMENT.match(text)
    return Moment(*(part or "" for part in found.groups())) if found else Moment()


TABLES = ("records.csv", "captures.csv", "history.csv")
"""Of `capture_tables`, where photos of named animals have a day."""


def capture_tables(named: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By file name; nothing where no photo of a named animal has a day.

    Args:
        named: `identity` and as many of `TOLD` as are known.
    """
    rows = named.reindex(columns=["identity", *TOLD]).fillna("").astype("str")
    moments = [moment(text) for text in rows["date"]]
    texts = ["-".join(when[:3]) for when in moments]
    rows = rows.assign(
        day=pd.to_datetime(pd.Series(texts, rows.index, dtype="str"), format="%Y-%m-%d", errors="coerce"),
        time=[f"{w.hour or '00'}:{w.minute or '00'}:{w.second or '00'}" for w in moments],
    )
    rows = rows[rows["day"].notna()]
    if not len(rows):
        return {}
    span = int((rows["day"].max() - rows["day"].min()).days) + 1
    length = next((days for days in _OCCASION_DAYS if span <= days * _MOST_OCCASIONS), _OCCASION_DAYS[-1])
    rows = rows.assign(occasion=(rows["day"] - rows["day"].min()).dt.days // length + 1)
    tables = {"records.csv": _records(rows), "history.csv": _history(rows, length)}
    placed = rows[rows["location"].ne("")]
    return tables | ({"captures.csv": _captures(placed)} if len(placed) else {})


def _records(rows: pd.DataFrame) -> pd.DataFrame:
    day = rows["day"].dt.strftime("%Y-%m-%d")
    folder, _, file = (part for _, part in rows["path"].str.rpartition("/").items())
    return pd.DataFrame(
        {
            "Station": rows["location"],
            "Species": rows["species"],
            "Individual": rows["identity"],
            "DateTimeOriginal": day + " " + rows["time"],
            "Date": day,
            "Time": rows["time"],
            "Directory": folder,
            "FileName": file,
        }
    ).sort_values(["Station", "Individual", "DateTimeOriginal"], kind="stable", ignore_index=True)


def _captures(rows: pd.DataFrame) -> pd.DataFrame:
    """Once per animal, occasion and detector."""
    table = pd.DataFrame(
        {
            "#Session": "1",
            "ID": rows["identity"].map(_word),
            "Occasion": rows["occasion"],
            "Detector": rows["location"].map(lambda name: _word(name).replace("_", "-")),
        }
    )
    return table.drop_duplicates().sort_values(["ID", "Occasion", "Detector"], ignore_index=True)


def _history(rows: pd.DataFrame, length: int) -> pd.DataFrame:
    seen = pd.crosstab(rows["identity"], rows["occasion"]).gt(0).astype(int)
    seen = seen.reindex(columns=range(1, int(rows["occasion"].max()) + 1), fill_value=0)
    first = rows["day"].min()
    seen.columns = [f"{first + pd.Timedelta(days=length * place):%Y-%m-%d}" for place in range(seen.shape[1])]
    return seen.rename_axis("Individual").rename_axis(None, axis=1).reset_index()


def _word(name: str) -> str:
    """Names with blanks or commas would be two cells to secr."""
    return re.sub(r"[\s,#]+", ".", name.strip())
