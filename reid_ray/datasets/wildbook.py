"""Read a collection from a Wildbook bulk-import sheet.

In: a sheet with a row per encounter. Out: one text row per media asset, not yet checked.

Column names as in Wildbook's documentation of bulk import, in any case: `Encounter.mediaAsset0`,
`Encounter.individualID`, `Encounter.genus`, `Encounter.year` and so on.
"""

import re

import pandas as pd

from reid_ray.config.datasets import WildbookDataset
from reid_ray.datasets import schema
from reid_ray.datasets.columns import named_columns, refuse_twice
from reid_ray.datasets.roots import Root
from reid_ray.datasets.table import note_of, read_cells
from reid_ray.errors import DatasetError

MEDIA = re.compile(r"encounter\.mediaasset\.?(\d+)", re.IGNORECASE)
_IDENTITY = ("encounter.individualid", "markedindividual.individualid", "name0.value")
_ENCOUNTER = ("encounter.catalognumber", "encounter.id", "occurrence.occurrenceid", "encounter.occurrenceid")
_LOCATION = ("encounter.locationid", "encounter.verbatimlocality")
_DATE = ("year", "month", "day")


def read_wildbook(dataset: WildbookDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """A row per photo; photos of one sheet row share their `encounter`.

    Columns: `identity`, `path`, `encounter`, and `date`, `species`,
        `location`, `orientation`, `bbox` where the sheet has them. Coordinates are left out: they
        have no part in re-identification, and a rare animal's place is not to be spread.

    Raises:
        DatasetError: no media assets in it.
    """
    faults: list[schema.Fault] = []
    where, cells = read_cells(dataset.name, dataset.metadata, root, faults, sheet=dataset.sheet)
    note, cells = note_of(cells), named_columns(cells)
    refuse_twice([name.lower() for name in cells.column_names], where)
    sheet = cells.to_pandas().fillna("").astype("str")
    lower = {str(name).strip().lower(): name for name in sheet.columns}
    numbered = [
        (int(found[1]), name) for name in sheet.columns if (found := MEDIA.fullmatch(str(name).strip()))
    ]
    media = dict(numbered)
    if len(media) < len(numbered):
        raise DatasetError(
            f"{where}: a media asset has two columns: {[name for _, name in numbered]}; rename one"
        )
    if not media:
        raise DatasetError(
            f"{where}: no column Encounter.mediaAsset0; found {list(sheet.columns)[:12]}; expected a "
            "Wildbook bulk-import sheet, or use source: table"
        )
    shared = pd.DataFrame(
        {
            "identity": _first(sheet, lower, _IDENTITY),
            "encounter": _first(sheet, lower, _ENCOUNTER),
            "date": _date(sheet, lower),
            "species": _species(sheet, lower),
            "location": _first(sheet, lower, _LOCATION),
        }
    )
    lines = pd.Series([f"row {number + 2}" for number in range(len(sheet))], sheet.index)
    shared["encounter"] = shared["encounter"].where(shared["encounter"].ne(""), lines)
    parts = [
        shared.assign(
            path=sheet[name].str.strip(),
            orientation=_first(sheet, lower, (f"annotation{number}.viewpoint", "encounter.viewpoint")),
            bbox=_first(sheet, lower, (f"annotation{number}.bbox",)),
        )
        for number, name in sorted(media.items())
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows[rows["path"].ne("")].reset_index(drop=True)
    empty = [n for n in ("date", "species", "location", "orientation", "bbox") if rows[n].eq("").all()]
    rows = rows.drop(columns=empty)
    rows.attrs["note"] = note
    return rows, faults


def _first(sheet: pd.DataFrame, lower: dict[str, str], names: tuple[str, ...]) -> pd.Series:
    """The first filled cell among these columns."""
    values = pd.Series("", sheet.index, dtype="str")
    for name in names:
        if name in lower:
            values = values.where(values.ne(""), sheet[lower[name]].str.strip())
    return values


def _date(sheet: pd.DataFrame, lower: dict[str, str]) -> pd.Series:
    """`2024-03-09`, `2024-03` or `2024`, as far as it is known."""
    parts = [_first(sheet, lower, (f"encounter.{part}",)) for part in _DATE]

    def joined(year: str, month: str, day: str) -> str:
        known = [year] if year else []
        known += [month.zfill(2)] if known and month else []
        known += [day.zfill(2)] if len(known) == 2 and day else []
        return "-".join(known)

    return pd.Series([joined(*of) for of in zip(*parts, strict=True)], sheet.index, dtype="str")


def _species(sheet: pd.DataFrame, lower: dict[str, str]) -> pd.Series:
    genus = _first(sheet, lower, ("encounter.genus",))
    epithet = _first(sheet, lower, ("encounter.specificepithet",))
    return (genus + " " + epithet).str.strip()
