"""Read the file that lists a collection's photos: bytes, a spreadsheet's cells, or JSON.

In: a path, relative to the collection's root unless absolute. Out: its name for messages and what it holds.
"""

import io
import json
import re
import zipfile
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa

from reid_ray.datasets.roots import Root, open_root
from reid_ray.errors import DatasetError

_MOST_UNPACKED = 1 << 30
"""Bytes; a spreadsheet that unpacks to more is a bomb or no list of photos."""
_MOST_CELLS = 20_000_000
"""Empty ones among them."""
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
"""How JSON writes halves of rare characters; alone, such a half is no text that can be kept."""


def read_listed(dataset: str, file: str, inside: Root, *, what: str, kinds: str) -> tuple[str, bytes]:
    """The file's name and bytes; it may lie outside the root if its path is absolute.

    Args:
        what, kinds: what it lists, and what file it should be, for the error.

    Raises:
        DatasetError: it cannot be read.
    """
    folder, _, name = file.rpartition("/")
    outside = file.startswith("/") or "://" in file
    root = open_root(folder or "/") if outside else inside
    where = file if outside else f"{root.text}/{file}"
    try:
        return where, root.read(name if outside else file)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{where}: the {what} of {dataset} cannot be read ({error}); expected {kinds}, "
            "relative to root unless absolute"
        ) from None


def sheet_names(data: bytes, where: str) -> list[str]:
    """Of a spreadsheet, in its order; charts are left out.

    Raises:
        DatasetError: not a readable .xlsx file.
    """
    try:
        _refuse_large(data)
        return [sheet.title for sheet in openpyxl.load_workbook(io.BytesIO(data), read_only=True).worksheets]
    except Exception as error:  # openpyxl raises anything on damaged files
        raise DatasetError(
            f"{where}: not a readable spreadsheet ({type(error).__name__}: {error}); save it as .xlsx or .csv"
        ) from None


def excel(data: bytes, where: str, name: str | None = None) -> pa.Table:
    """The sheet of this name, or the first, every cell as text; empty rows are left out.

    Raises:
        DatasetError: not a readable .xlsx file, or no such sheet.
    """
    names = sheet_names(data, where)
    if name is not None and name not in names:
        raise DatasetError(f"{where}: no sheet {name!r}; found {names}; correct `sheet`")
    name = names[0] if name is None else name
    try:
        _refuse_sparse(data, name)
        sheet = pd.read_excel(
            io.BytesIO(data), sheet_name=name, dtype=str, keep_default_na=False, engine="openpyxl"
        )
    except Exception as error:  # openpyxl raises anything on damaged files
        raise DatasetError(
            f"{where}: not a readable spreadsheet ({type(error).__name__}: {error}); save it as .xlsx or .csv"
        ) from None
    sheet.columns = [str(name) for name in sheet.columns]
    filled = sheet[(sheet != "").any(axis=1)]
    return pa.Table.from_pandas(filled.astype("str"), preserve_index=False)


def _refuse_large(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        unpacked = sum(part.file_size for part in packed.infolist())
    if unpacked > _MOST_UNPACKED:
        raise ValueError(f"unpacks to {unpacked} bytes, too many for a list of photos")


def _refuse_sparse(data: bytes, name: str) -> None:
    """One cell in the last corner would make a sheet of 17 thousand million; ValueError if so."""
    sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True)[name]
    sheet.reset_dimensions()  # the file may say anything
    widest = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        widest = max(widest, len(row))
        if number * widest > _MOST_CELLS:
            raise ValueError(f"{number} rows of {widest} cells, too many for a list of photos")


def parse_json(data: bytes, where: str) -> Any:
    """Plain JSON.

    Raises:
        DatasetError: not JSON, or nested without end.
    """
    try:
        raw = json.loads(data.removeprefix(b"\xef\xbb\xbf"))
        if _HALF_CHARACTER.search(data):
            raw = json.loads(json.dumps(raw, ensure_ascii=False).encode("utf-8", "replace"))
        return raw
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not readable as JSON ({error})") from None
