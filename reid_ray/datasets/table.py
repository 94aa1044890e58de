"""Read a collection whose photos are listed in a CSV, TSV, Excel or Parquet table.

In: the table's bytes and the names of its columns. Out: text rows under our names, not yet checked.
"""

import csv
import io
import json
import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from reid_ray.config.datasets import TableDataset
from reid_ray.datasets import schema
from reid_ray.datasets.columns import rename
from reid_ray.datasets.listed import excel, read_listed
from reid_ray.datasets.roots import Root
from reid_ray.errors import DatasetError

_HEAD_CHARACTERS = 1 << 20
"""In which a table's header ends; a name in it may have a line break in quotes."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NOTE = b"reid_ray_note"
"""Key of the table's own metadata, see `note_of`."""
_WORDS = re.compile(r"[^\W\d_]{2,40}")
_MOST_VALUES = 50_000_000
_ROWS_AT_ONCE = 8192
_MOST_BYTES = 1 << 30
"""Of a Parquet table: a small file may say one thing very often."""


def read_table(dataset: TableDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """All cells as strings, columns renamed by `dataset.columns`.

    A column that would clash with one of ours is kept as `table_<name>`.

    Returns:
        The rows, and faults for lines with too many or too few cells.
    """
    faults: list[schema.Fault] = []
    where, table = read_cells(dataset.name, dataset.metadata, root, faults, sheet=dataset.sheet)
    rows = rename(table, dataset, where)
    rows.attrs["note"] = note_of(table)
    return rows, faults


def read_cells(
    name: str, file: str, inside: Root, faults: list[schema.Fault], *, sheet: str | None = None
) -> tuple[str, pa.Table]:
    """Where the table is, and all its cells as text under their own names.

    Args:
        name: of the dataset; lines with too many or too few cells are added to `faults`.
        sheet: of a spreadsheet; None: the first.
    """
    where, data = read_listed(name, file, inside, what="table", kinds="a .csv, .tsv, .xlsx or .parquet file")
    if where.lower().endswith((".parquet", ".pq")):
        return where, _parquet(data, where)
    if where.lower().endswith((".xlsx", ".xlsm")):
        return where, excel(data, where, sheet)
    return where, _delimited(data, where, faults, name)


def _delimited(data: bytes, where: str, faults: list[schema.Fault], name: str) -> pa.Table:
    """CSV with its delimiter read off the first line; ragged lines are faults, the others go on."""

    def quarantined(line: Any) -> str:
        reason = f"line {line.number} has {line.actual_columns} cells, expected {line.expected_columns}"
        faults.append((name, "", "", reason))
        return "skip"

    try:
        # Checked as a whole: where a line is ragged, pyarrow would print a traceback of its own.
        text, note = _decoded(data)
        data, text = text.encode(), text.lstrip("\r\n")
        first = text.splitlines()[0]
        delimiter = max(",;\t", key=lambda mark: first.count(mark))
        parse = pyarrow.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=quarantined
        )
        # Headers first: types are forced to text by name.
        head = io.StringIO(text[:_HEAD_CHARACTERS], newline="")
        names = next(csv.reader(head, delimiter=delimiter))
        convert = pyarrow.csv.ConvertOptions(
            column_types={column: pa.string() for column in names}, strings_can_be_null=False
        )
        read = pyarrow.csv.ReadOptions(use_threads=False, block_size=1 << 24)
        table = pyarrow.csv.read_csv(io.BytesIO(data), read, parse, convert)
        if unread := set(table.column_names) - set(names):
            raise ValueError(f"its header line can be read in two ways, see {sorted(unread)}")
        return table.replace_schema_metadata({_NOTE: note}) if note else table
    except (ValueError, LookupError, StopIteration, csv.Error, pa.ArrowException) as error:
        raise DatasetError(
            f"{where}: not a readable table ({error}); expected UTF-8 text with a header line; in "
            "Excel, save it as `CSV UTF-8`"
        ) from None


def _decoded(data: bytes) -> tuple[str, str]:
    """The text of a table, and what to tell where its encoding is not certain.

    Excel's plain "CSV" is in the code page of Windows, which in most of Europe and the Americas is 1252.
    Its few undefined bytes, and control characters, give most other encodings away.

    Raises:
        ValueError: in none of the encodings that are read.
    """
    if data[:2] in _UTF16:  # as Excel's "Unicode text"
        return data.decode("utf-16"), ""
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise error from None
        odd = next((word for word in _WORDS.findall(text) if not word.isascii()), "")
        if not odd or any(ord(letter) < 32 and letter not in "\t\r\n" for letter in text):
            raise
        return text, f"not UTF-8, so it was read as Windows-1252 (Western European): {odd!r}, for example"


def note_of(table: pa.Table) -> str:
    """What a reader should know of how the table was read; "" where nothing."""
    found: bytes = (table.schema.metadata or {}).get(_NOTE, b"")
    return found.decode()


def _parquet(data: bytes, where: str) -> pa.Table:
    try:
        schema = pyarrow.parquet.read_schema(io.BytesIO(data))
        # Text stays a list of what is said and where, until its whole length is known.
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data), read_dictionary=texts)
        # Of the file's metadata no more than this is looked at: pyarrow ends the process where that of
        # a column is damaged.
        if (values := file.metadata.num_rows * len(schema)) > _MOST_VALUES:
            raise ValueError(f"{values} values are no list of photos")
        nothing = [pa.array([], pa.string())] * len(schema)
        parts, size = [pa.table(nothing, names=schema.names)], 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            batch.validate(full=True)
            columns = [_as_text(pa.chunked_array([column])) for column in batch.columns]
            parts.append(pa.table(columns, names=schema.names))
            size += parts[-1].nbytes
            if size > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes are no list of photos")
        return pa.concat_tables(parts)
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{where}: not a readable Parquet file ({error})") from None


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A Parquet column as text: integers in decimal, whole floats like integers, lists as JSON."""
    if pa.types.is_dictionary(column.type):
        column = _spelled_out(column)
    if pa.types.is_floating(column.type) or pa.types.is_nested(column.type):
        return pa.chunked_array([pa.array(map(_cell, column.to_pylist()), pa.string())])
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except pa.ArrowException:
        return pa.chunked_array([pa.array(map(_cell, column.to_pylist()), pa.string())])


def _spelled_out(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary column as its values; ValueError where these would fill the memory."""
    if pa.types.is_string(column.type.value_type):
        lengths = [
            pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
            for chunk in column.chunks
        ]
        if sum(lengths) > _MOST_BYTES:
            raise ValueError(f"{sum(lengths)} bytes in one column are no list of photos")
    return column.cast(column.type.value_type)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value) if isinstance(value, float) else json.dumps(value, default=str)
