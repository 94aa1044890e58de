"""Bring a table's columns under our names. In: its cells as text. Out: rows, with other columns beside."""

import re
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reid_ray.config.datasets import TableDataset
from reid_ray.datasets import schema
from reid_ray.datasets.boxes import from_sides, to_xywh
from reid_ray.errors import DatasetError

_MASKS = ("mask", "segmentation")
_NAMELESS = re.compile(r"(?:Unnamed: \d+)?")
"""As pandas calls a spreadsheet's column without a header, too."""


def named_columns(cells: pa.Table) -> pa.Table:
    """The same without columns that have neither a name nor a cell, as spreadsheets leave behind; one with
    cells and no name is called by its number."""
    names = [name.strip() for name in cells.column_names]
    keep, kept = [], []
    for place, name in enumerate(names):
        if not _NAMELESS.fullmatch(name):
            keep.append(place)
            kept.append(name)
        elif any(str(cell or "").strip() for cell in cells.column(place).to_pylist()):
            keep.append(place)
            kept.append(f"column {place + 1}")
    return cells.select(keep).rename_columns(kept)


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Refuse columns of one name.

    Raises:
        DatasetError: names them.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"{where}: columns are given twice: {twice}; rename one of each")


def rename(cells: pa.Table, dataset: TableDataset, where: str) -> pd.DataFrame:
    """Our names for the mapped columns; the others keep theirs unless they clash with ours.

    Raises:
        DatasetError: a column is there twice, or one that the config names is not.
    """
    cells = named_columns(cells)
    names, columns = cells.column_names, dataset.columns
    refuse_twice(names, where)
    ours = {theirs: name for name, theirs in columns.single.items()}
    _refuse_missing(names, dataset, where)
    taken = {*schema.OURS, *columns.single, "path", "identity", "image_id"}
    new = [
        ("split_given" if ours[name] == "split" else ours[name])
        if name in ours
        else (f"table_{name}" if name in taken else name)
        for name in names
    ]
    rows: pd.DataFrame = (
        _wanted(cells, dataset, where).rename_columns(new).to_pandas().fillna("").astype("str")
    )
    place = dict(zip(names, new, strict=True))
    if dataset.group_by:
        rows["group"] = rows[place[dataset.group_by]]
    if not columns.identity:
        rows["identity"] = ""
    if columns.folder:
        rows["path"] = join_paths(_cells(rows, place[columns.folder]), _cells(rows, "path"))
    if columns.bbox_sides:
        rows["bbox"] = from_sides(
            [_cells(rows, place[side]) for side in columns.bbox_sides], corners=columns.bbox_kind == "xyxy"
        )
    elif columns.bbox_kind == "xyxy" and "bbox" in rows:
        rows["bbox"] = rows["bbox"].map(to_xywh).astype("str")
    return rows


def _wanted(cells: pa.Table, dataset: TableDataset, where: str) -> pa.Table:
    """The rows that `dataset.where` asks for.

    Raises:
        DatasetError: there are none; says what the column has.
    """
    for name, texts in dataset.where.items():
        kept = cells.filter(pc.is_in(cells[name], value_set=pa.array(texts, cells[name].type)))
        if not len(kept):
            found = cells[name].unique().to_pylist()[:10]
            raise DatasetError(
                f"{where}: column '{name}' has none of {list(texts)}; found {found}; correct where"
            )
        cells = kept
    return cells


def _cells(rows: pd.DataFrame, name: str) -> pd.Series:
    cells: pd.Series = rows[name]
    return cells


def join_paths(folders: pd.Series, files: pd.Series) -> pd.Series:
    """`folder/file`; the file alone where the folder is empty."""
    cleaned = folders.str.strip().str.rstrip("/\\")
    return (cleaned + "/" + files.str.strip()).where(cleaned.ne("") & files.ne(""), files)


def columns_read(dataset: TableDataset, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The table's own names of the columns that are read, and of those that are not.

    Args:
        names: of the columns after `rename`.
    """
    columns = dataset.columns
    theirs = {("split_given" if ours == "split" else ours): name for ours, name in columns.single.items()}
    parts = {columns.folder, dataset.group_by, *dataset.where, *(columns.bbox_sides or ())}
    made = {"identity", "bbox", "group"} - {ours for ours, name in columns.single.items() if name != ours}
    if columns.bbox_sides:
        theirs.pop("bbox", None)  # it was made of four
    used = [theirs.get(name, name) for name in names if name in theirs or name in (*_MASKS, *parts)]
    unused = [name for name in names if name not in theirs and name not in (*_MASKS, *parts, *made)]
    return tuple(used), tuple(name.removeprefix("table_") for name in unused)


def _refuse_missing(names: Sequence[str], dataset: TableDataset, where: str) -> None:
    columns = dataset.columns
    for name in ("identity", "path"):
        theirs = getattr(columns, name)
        if theirs not in names and (theirs or name == "path"):
            raise DatasetError(
                f"{where}: no column '{theirs}'; found {names}; rename it or set columns.{name}"
            )
    for theirs in (columns.folder, *(columns.bbox_sides or ())):
        if theirs and theirs not in names:
            raise DatasetError(f"{where}: no column '{theirs}'; found {names}; correct columns")
    if absent := [name for name in dataset.where if name not in names]:
        raise DatasetError(f"{where}: no column {absent} (where); found {names}; correct where")
    if dataset.group_by and dataset.group_by not in names:
        raise DatasetError(
            f"{where}: no column '{dataset.group_by}' (group_by); found {names}; correct group_by"
        )
