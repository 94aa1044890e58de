"""Read a collection from a Camtrap DP package (https://camtrap-dp.tdwg.org).

In: its tables of media, observations and deployments. Out: a text row per animal in a photo, unchecked.
"""

import pandas as pd

from reid_ray.config.datasets import CamtrapDataset
from reid_ray.datasets import schema
from reid_ray.datasets.boxes import from_sides
from reid_ray.datasets.columns import named_columns
from reid_ray.datasets.listed import parse_json, read_listed
from reid_ray.datasets.roots import Root
from reid_ray.datasets.table import read_cells
from reid_ray.errors import DatasetError

TABLES = ("media", "observations", "deployments")
_SIDES = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
_ANIMAL = "animal"


def read_camtrap(dataset: CamtrapDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """A row per observation of an animal in a photo.

    Columns: `image_id` (the observation's), `identity`, `path`, `bbox`, `encounter` (the event), `date`,
        `species`, `location`, as far as they are filled.

    Returns:
        The rows, and faults for observations that belong to no photo: those of whole events, say.

    Raises:
        DatasetError: no media or observations, or they lack a column that joins them.
    """
    faults: list[schema.Fault] = []
    files = table_files(dataset, root)
    media, seen = (_table(dataset, root, files[name], faults) for name in TABLES[:2])
    for table, file, needed in (
        (media, files["media"], ("mediaID", "filePath")),
        (seen, files["observations"], ("observationID", "mediaID")),
    ):
        if missing := [name for name in needed if name not in table]:
            raise DatasetError(
                f"{root.text}/{file}: no column {missing[0]}; found {[str(name) for name in table]}; "
                "expected the columns of Camtrap DP"
            )
    seen = seen[_column(seen, "observationType").str.lower().isin(["", _ANIMAL])]
    joined = seen.merge(
        media.drop_duplicates("mediaID"), "left", on="mediaID", suffixes=("", "_of_media")
    ).fillna("")
    lost = joined["filePath"].eq("")
    faults += [
        (dataset.name, str(name), "", "an observation of no single photo (mediaID), but of a whole event")
        for name in joined.loc[lost, "observationID"]
    ]
    joined = joined[~lost].reset_index(drop=True)
    joined = joined.assign(location=_locations(dataset, root, files["deployments"], joined))
    return _rows(joined), faults


def table_files(dataset: CamtrapDataset, root: Root) -> dict[str, str]:
    """The package's tables by name, their paths relative to the root."""
    names = {name: f"{name}.csv" for name in TABLES}
    if root.fault(dataset.package) is not None:
        return names
    where, data = read_listed(dataset.name, dataset.package, root, what="package", kinds="a datapackage.json")
    raw = parse_json(data, where)
    listed = raw.get("resources") if isinstance(raw, dict) else None
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and one.get("name") in names and isinstance(one.get("path"), str):
            names[one["name"]] = one["path"]
    return names


def _table(dataset: CamtrapDataset, root: Root, file: str, faults: list[schema.Fault]) -> pd.DataFrame:
    _, cells = read_cells(dataset.name, file, root, faults)
    table: pd.DataFrame = named_columns(cells).to_pandas()
    return table.fillna("").astype("str")


def _locations(dataset: CamtrapDataset, root: Root, file: str, rows: pd.DataFrame) -> pd.Series:
    """The place of each row's deployment by its name or number; coordinates are left out, as a rare
    animal's place is not to be spread."""
    empty = pd.Series("", rows.index, dtype="str")
    if root.fault(file) is not None:
        return empty
    places = _table(dataset, root, file, [])
    if "deploymentID" not in places:
        return empty
    names = _column(places, "locationName")
    names = names.where(names.ne(""), _column(places, "locationID"))
    by_id = dict(zip(places["deploymentID"], names, strict=True))
    deployment = _column(rows, "deploymentID")
    deployment = deployment.where(deployment.ne(""), _column(rows, "deploymentID_of_media"))
    return deployment.map(by_id).fillna("").astype("str")


def _rows(joined: pd.DataFrame) -> pd.DataFrame:
    date = _column(joined, "timestamp")
    event = _column(joined, "eventID")
    rows = pd.DataFrame(
        {
            "image_id": joined["observationID"],
            "identity": _column(joined, "individualID"),
            "path": joined["filePath"],
            "bbox": from_sides([_column(joined, side) for side in _SIDES], corners=False),
            "encounter": event.where(event.ne(""), _column(joined, "eventID_of_media")),
            "date": date.where(date.ne(""), _column(joined, "eventStart")),
            "species": _column(joined, "scientificName"),
            "location": joined["location"],
        }
    )
    optional = ("bbox", "encounter", "date", "species", "location")
    return rows.drop(columns=[name for name in optional if rows[name].eq("").all()])


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name].str.strip() if name in table else pd.Series("", table.index, dtype="str")
