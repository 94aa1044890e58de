"""Try every way in which a folder of photos may be organised. In: its files. Out: a candidate for each way.

A candidate that cannot be used says why; nothing here is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from reid_ray.config.datasets import (
    CamtrapDataset,
    CocoDataset,
    FolderDataset,
    PhotoDataset,
    TableDataset,
    WildbookDataset,
)
from reid_ray.datasets.camtrap import read_camtrap, table_files
from reid_ray.datasets.coco import IDENTITY_FIELDS, NOT_ANIMALS
from reid_ray.datasets.columns import named_columns, refuse_twice
from reid_ray.datasets.folder import animal_of
from reid_ray.datasets.guess import guess_columns, shown
from reid_ray.datasets.kinds import kind_of, suffix_of
from reid_ray.datasets.listed import parse_json, sheet_names
from reid_ray.datasets.megadetector import is_results, photos_in
from reid_ray.datasets.paths import PathFinder
from reid_ray.datasets.roots import Root, open_root
from reid_ray.datasets.schema import UNKNOWN
from reid_ray.datasets.table import read_cells
from reid_ray.datasets.wildbook import MEDIA
from reid_ray.errors import DatasetError

TABLES = (".csv", ".tsv", ".xlsx", ".xlsm", ".parquet", ".pq")
_SHEETS = (".xlsx", ".xlsm")
_OTHER_TABLES = (".xls", ".ods", ".ddb", ".db", ".sqlite")
_MOST_LOOKED_AT = 1 << 28
"""Bytes of a JSON file that is opened to see what it is."""
_MOST_SHEETS = 30
_MOST_DEEPER = 50
"""Tables and JSON files in folders of photos; more of them are one per photo and no lists."""


@dataclass(frozen=True)
class Folder:
    """A folder that is looked at.

    Attributes:
        home: its path or URI.
        name: fit to name a dataset.
        files: relative paths of all files in it.
        identity_column, level, follow_links: as somebody said.
    """

    home: str
    name: str
    files: tuple[str, ...]
    identity_column: str | None = None
    level: int | None = None
    follow_links: bool = False

    @cached_property
    def finder(self) -> PathFinder:
        return PathFinder(self.files)

    @cached_property
    def root(self) -> Root:
        return open_root(self.home, follow_links=self.follow_links)

    @property
    def base(self) -> dict[str, Any]:
        """What all kinds of datasets need."""
        return {"name": self.name, "root": self.home, "follow_links": self.follow_links}


@dataclass(frozen=True)
class Candidate:
    """One way to read the folder.

    Attributes:
        file: that lists photos; "" for the folders.
        dataset: None where it cannot be used.
        sheet: of a spreadsheet with several.
        photos: how many are there and count for it.
        listed: how many are there that it lists, named or not.
        fault: why it cannot be used.
        boxes: whether it has boxes.
        likely: of folders: whether there are several animals.
        parts: other files that belong to it.
    """

    file: str
    dataset: PhotoDataset | None = None
    photos: int = 0
    listed: int = 0
    fault: str = ""
    reasons: list[str] = field(default_factory=list)
    boxes: bool = False
    likely: bool = True
    parts: tuple[str, ...] = ()
    sheet: str = ""

    @property
    def title(self) -> str:
        return f"{self.file or 'the folders'}" + (f", sheet '{self.sheet}'" if self.sheet else "")


def listing_files(folder: Folder) -> list[str]:
    """Files that may list photos: those at the top, and those below where they are but a few."""
    top = [file for file in folder.files if "/" not in file]
    deeper = [
        file for file in folder.files if "/" in file and suffix_of(file) in (*TABLES, *_OTHER_TABLES, ".json")
    ]
    return top + (deeper if len(deeper) <= _MOST_DEEPER else [])


def candidates_of(folder: Folder, listed: Sequence[str], *, folders: bool, named: bool) -> list[Candidate]:
    """One per table or sheet, JSON, package and, if asked for, the folders."""
    found: list[Candidate] = []
    if folder.level is None:
        found += _packages(folder, listed, named)
        for file in listed:
            suffix = suffix_of(file)
            if suffix in TABLES:
                found += _tables(folder, file, named)
            elif suffix == ".json":
                found += _json_file(folder, file, named)
            elif suffix in _OTHER_TABLES:
                found.append(Candidate(file, fault=f"{suffix} files are not read; export it as .csv"))
    if folders and folder.identity_column is None:
        found += _folders(folder)
    return found


def detectors_of(folder: Folder, listed: Sequence[str]) -> list[Candidate]:
    """A detector's results among the files, with how many of the photos they have."""
    found = []
    for file in listed:
        raw = _json(folder, file) if suffix_of(file) == ".json" else None
        if is_results(raw):
            images = [one for one in photos_in(raw) if isinstance(one, dict)]
            names = [str(one.get("file", one.get("filepath"))) for one in images]
            resolved = folder.finder.find(names)
            photos = sum(bool(match.path) for match in resolved.by_name.values())
            fault = "" if photos else f"no photo is meant by one of its names alone: {resolved.sentence()}"
            found.append(
                Candidate(file, photos=photos, listed=photos + resolved.count("several"), fault=fault)
            )
    return found


def _tables(folder: Folder, file: str, named: bool) -> list[Candidate]:
    """The table, or each sheet of a spreadsheet."""
    try:
        sheets: list[str | None] = [None]
        if Path(file).suffix.lower() in _SHEETS:
            sheets = [*sheet_names(folder.root.read(file), file)[:_MOST_SHEETS]]
    except (DatasetError, OSError, ValueError) as error:
        return [Candidate(file, fault=f"it cannot be read ({error})")]
    several = len(sheets) > 1
    return [
        _table(folder, file, sheet, sheet if several and sheet else "", named, first=place == 0)
        for place, sheet in enumerate(sheets)
    ]


def _table(
    folder: Folder, file: str, sheet: str | None, title: str, named: bool, *, first: bool
) -> Candidate:
    try:
        where, cells = read_cells(folder.name, file, folder.root, [], sheet=sheet)
        cells = named_columns(cells)
        refuse_twice(cells.column_names, where)
    except DatasetError as error:
        return Candidate(file, fault=f"it cannot be read ({error})", sheet=title)
    names = [str(name) for name in cells.column_names]
    kept = None if first else sheet
    table = cells.to_pandas().fillna("").astype("str")
    if any(MEDIA.fullmatch(name) for name in names):
        return _wildbook(folder, file, kept, title, table)
    if folder.identity_column and folder.identity_column not in names:
        why = f"it has no column '{folder.identity_column}', but {shown(names)}"
        return Candidate(file, fault=why, sheet=title)
    guess = guess_columns(table, folder.finder, identity=folder.identity_column)
    if guess is None:
        return Candidate(file, fault=f"none of its columns names files: {shown(names)}", sheet=title)
    listed = guess.files.by_name
    if not guess.listed:
        count = f"{len(table)} rows" if len(table) else "no row"
        told = guess.files.sentence() if listed else count
        return Candidate(file, fault=f"no photo that it lists is here ({told})", sheet=title)
    if named and guess.fault:
        return Candidate(file, listed=guess.listed, fault=guess.fault, sheet=title)
    dataset = TableDataset(source="table", metadata=file, sheet=kept, columns=guess.columns, **folder.base)
    columns = guess.columns
    boxes = bool(columns.bbox_sides) or columns.bbox in names
    reasons = [f"{file}{f', sheet {title!r},' if title else ''} lists {len(table)} photos", *guess.sentences]
    photos = guess.named if named else guess.listed
    return Candidate(file, dataset, photos, guess.listed, "", reasons, boxes, sheet=title)


def _wildbook(folder: Folder, file: str, sheet: str | None, title: str, table: pd.DataFrame) -> Candidate:
    cells = pd.concat([table[name] for name in table if MEDIA.fullmatch(str(name))])
    found = folder.finder.find(cells[cells.ne("")].unique())
    photos = sum(bool(match.path) for match in found.by_name.values())
    if not photos:
        return Candidate(file, fault=f"no photo that it lists is here ({found.sentence()})", sheet=title)
    dataset = WildbookDataset(source="wildbook", metadata=file, sheet=sheet, **folder.base)
    reasons = [f"{file} is a Wildbook sheet of {len(table)} encounters"]
    boxes = any(str(name).casefold().endswith(".bbox") and table[name].ne("").any() for name in table)
    return Candidate(file, dataset, photos, photos, "", reasons, boxes, sheet=title)


def _json_file(folder: Folder, file: str, named: bool) -> list[Candidate]:
    raw = _json(folder, file)
    if is_results(raw) or file == "datapackage.json":
        return []  # boxes for photos that something else lists; a package
    if not isinstance(raw, dict) or not {"images", "annotations"} <= set(raw):
        return [Candidate(file, fault="it is no list of photos (COCO) and no detector's results")]
    images = raw["images"] if isinstance(raw["images"], list) else []
    annotations = raw["annotations"] if isinstance(raw["annotations"], list) else []
    names = [str(one.get("file_name", "")) for one in images if isinstance(one, dict)]
    found = folder.finder.find(name for name in names if name)
    photos = sum(bool(match.path) for match in found.by_name.values())
    if not photos:
        return [Candidate(file, fault=f"no photo that it lists is here ({found.sentence()})")]
    dataset = CocoDataset(source="coco", annotations=file, **folder.base)
    reasons = [f"{file} is COCO JSON: {len(images)} images, {len(annotations)} annotations"]
    entries = [one for one in [*annotations, *images] if isinstance(one, dict)]
    boxes = any(one.get("bbox") for one in entries)
    fields = [folder.identity_column] if folder.identity_column else list(IDENTITY_FIELDS)
    field_names = [name for name in fields if any(name in one for one in entries)]
    if field_names:
        if folder.identity_column:
            dataset = dataset.model_copy(update={"identity": folder.identity_column})
        reasons.append(f"individuals are named by `{field_names[0]}`")
    elif folder.identity_column:
        return [Candidate(file, fault=f"it has no field '{folder.identity_column}'")]
    else:
        if named and len(_animal_categories(raw)) < 2:
            why = "nothing in it names the animal: no field of individuals, and fewer than two categories"
            return [Candidate(file, listed=photos, fault=why)]
        dataset = dataset.model_copy(update={"identity": "category"})
        reasons.append("no field names individuals, so each category is taken for one animal")
    return [Candidate(file, dataset, photos, photos, "", reasons, boxes)]


def _animal_categories(raw: dict[str, Any]) -> set[str]:
    kinds = raw.get("categories")
    names = {str(one.get("name", "")).lower() for one in kinds or () if isinstance(one, dict)}
    return names - NOT_ANIMALS - {"animal", ""}


def _packages(folder: Folder, listed: Sequence[str], named: bool) -> list[Candidate]:
    """A Camtrap DP package, by its description or its two tables."""
    there = set(listed)
    dataset = CamtrapDataset(source="camtrap_dp", **folder.base)
    try:
        files = table_files(dataset, folder.root)
        if not {files["media"], files["observations"]} <= {*there, *folder.files}:
            return []
        rows, faults = read_camtrap(dataset, folder.root)
    except (DatasetError, OSError, ValueError) as error:
        if dataset.package not in there:
            return []
        return [Candidate(dataset.package, fault=f"it cannot be read as Camtrap DP ({error})")]
    parts = (dataset.package, *files.values())
    found = folder.finder.find(rows["path"].unique())
    there_too = {name for name, match in found.by_name.items() if match.path}
    here = rows["path"].isin(there_too)
    title = dataset.package if dataset.package in there else files["media"]
    if not here.any():
        return [Candidate(title, fault=f"no photo that it lists is here ({found.sentence()})", parts=parts)]
    animals = rows["identity"].ne("")
    if named and not animals.any():
        why = "none of its observations names the animal (individualID)"
        return [Candidate(title, listed=int(here.sum()), fault=why, parts=parts)]
    reasons = [f"Camtrap DP: {len(rows)} observations of animals in {rows['path'].nunique()} photos"]
    if faults:
        reasons.append(f"{len(faults)} observations are of whole events and so of no photo")
    photos = rows.loc[here & (animals if named else True), "path"].nunique()
    return [Candidate(title, dataset, photos, photos, "", reasons, "bbox" in rows, parts=parts)]


def _folders(folder: Folder) -> list[Candidate]:
    photos = [path for path in folder.files if kind_of(path, folder.root.head) == "photo"]
    if not photos:
        return []
    level = folder.level or 1
    animals = pd.Series([animal_of(path, level) for path in photos])
    known = animals[animals.ne(UNKNOWN)]
    loose = len(photos) - len(known)
    reasons = []
    if len(known):
        where = f"a folder per animal{f' on level {level}' if level > 1 else ''}"
        count = f"{known.nunique()} folder{'' if known.nunique() == 1 else 's'}"
        reasons.append(f"{where}: {count}, for example {min(known)}")
    if loose:
        reasons.append(f"{loose} photos lie beside folders, so their animals count as unknown")
    dataset = FolderDataset(source="folder", level=level, **folder.base)
    likely = known.nunique() > 1
    return [Candidate("", dataset, len(known) or len(photos), len(photos), "", reasons, likely=likely)]


def _json(folder: Folder, file: str) -> Any:
    try:
        data = folder.root.read(file)
        return parse_json(data, file) if len(data) <= _MOST_LOOKED_AT else None
    except (OSError, ValueError, DatasetError):
        return None
