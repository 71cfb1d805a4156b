"""Read a table from the sheet of an Excel workbook (.xlsx) that holds it, with `openpyxl`.

The one thing to know: a workbook is a zip of XML from anywhere: what it announces is looked at before it is opened, and
cells are counted while they are read, as one cell in the last corner of a sheet announces billions of them.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.delimited import Expected
from metaflow_hpo.modalities.table.files.header import MAX_ROWS as MAX_ROWS_OF_NAMES
from metaflow_hpo.modalities.table.files.header import find_header
from metaflow_hpo.modalities.table.files.unpacking import find_limit

MAX_CELLS = 20_000_000
"""Rows times columns of a sheet: each cell is an object in memory."""
MAX_ROWS = 1_048_576
"""Excel's own."""
_ERRORS = frozenset(("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"))
# openpyxl lets through whatever its parsers, zip and XML among them, raise on what is no workbook.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)

Row = tuple[Any, ...]


def read_workbook(path: Path, expected: Expected) -> pd.DataFrame:
    """Return the first sheet with the expected names, or with content; cells that hold an error are missing.

    Hidden sheets are passed over. The value of merged cells below the names is that of each of their rows.

    Returns:
        The table; `attrs["notes"]` names the other sheets and says where the names were found, `attrs["sheet"]` is the
        sheet, and `attrs["header"]` are the options by which pandas finds the names.

    Raises:
        InvalidTaskError: `openpyxl` is missing, it is no workbook, it is empty, or it is too large.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise InvalidTaskError(
            f"Expected openpyxl, which reads {path.name}; it is not installed. Run: pip install openpyxl; or save the "
            "table as csv."
        ) from error
    _check_announced(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    try:
        sheets = [one for one in book.worksheets if one.sheet_state == "visible"] or book.worksheets
        sheet, first, rows = _find_sheet(path, sheets, expected)
        table = _make_table(path, first, rows, _find_merged(path, sheet), expected)
        others = [one.title for one in sheets if one.title != sheet.title]
        said = [f"Read the sheet {sheet.title!r}, not {listed(others)}."] if others else []
        table.attrs.update(notes=[*said, *table.attrs["notes"]], sheet=sheet.title)
        return table
    finally:
        book.close()


def _find_sheet(path: Path, sheets: Sequence[Any], expected: Expected) -> tuple[Any, int, list[Row]]:
    """Return the sheet with the table, the number of its first row with content, and its rows."""
    found = None
    for sheet in sheets:
        first, rows = _read_sheet(path, sheet)
        if not rows:
            continue
        is_wide = max(map(len, rows)) >= expected.min_columns
        heads = [{str(cell).strip() for cell in row} for row in rows[:MAX_ROWS_OF_NAMES]]
        if is_wide and any(set(expected.names) <= head for head in heads):
            return sheet, first, rows
        if found is None or (is_wide and max(map(len, found[2])) < expected.min_columns):
            found = sheet, first, rows
    if found is None:
        raise InvalidTaskError(f"Expected a table; no sheet of {path} holds anything. Save or copy it again.")
    return found


def _find_merged(path: Path, sheet: Any) -> list[tuple[int, int, int]]:
    """Return the merged cells of one column each: the column, the first and the last row, from 0."""
    from openpyxl.utils import range_boundaries

    with zipfile.ZipFile(path) as archive:
        content = archive.read(sheet._worksheet_path)
    found = [
        range_boundaries(ref.decode())
        for ref in re.findall(rb'<(?:\w+:)?mergeCell ref="([A-Z]+\d+:[A-Z]+\d+)"', content)
    ]
    return [(left - 1, top - 1, bottom - 1) for left, top, right, bottom in found if left == right]


def _check_announced(path: Path) -> None:
    """Refuse what is no zip or unpacks to too much; a zip never gives more than it announces."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(one.file_size for one in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, error) from error
    if size > (limit := find_limit(path)):
        raise InvalidTaskError(
            f"Expected at most {limit} bytes unpacked; {path.name} announces {size}. Take a sample of its rows, or "
            "save it as csv."
        )


def _damaged(path: Path, error: Exception) -> InvalidTaskError:
    return InvalidTaskError(
        f"Expected a whole Excel workbook (.xlsx); {path} cannot be read ({error}). It may be cut short or be "
        "locked by a password. Save it again without, or as csv."
    )


def _read_sheet(path: Path, sheet: Any) -> tuple[int, list[Row]]:
    """Return the number of the first row with content and the rows from there to the last one, without empty ends."""
    rows: list[Row] = []
    header = width = 0
    sheet.reset_dimensions()  # what a sheet says of its size is not believed
    try:
        for number, cells in enumerate(sheet.iter_rows(values_only=True)):
            row = _without_empty_end(cells)
            width = max(width, len(row))
            if width * len(rows) > MAX_CELLS or number >= MAX_ROWS:
                raise InvalidTaskError(
                    f"Expected at most {MAX_CELLS} cells in a sheet; {path.name} has more ({number + 1} rows of up to "
                    f"{width} columns and on). Save the table as csv or parquet, without what lies beside it."
                )
            if rows or row:
                header = header if rows else number
                rows.append(row)
    except InvalidTaskError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    while rows and not rows[-1]:
        rows.pop()
    return header, rows


def _without_empty_end(cells: Row) -> Row:
    end = len(cells)
    while end and _is_missing(cells[end - 1]):
        end -= 1
    return cells[:end]


def _make_table(
    path: Path, first: int, rows: list[Row], merged: Sequence[tuple[int, int, int]], expected: Expected
) -> pd.DataFrame:
    """Return the rows below the names; `first` is the number of the first of `rows` in the sheet, from 0."""
    width = max(map(len, rows))
    if width < expected.min_columns:
        raise InvalidTaskError(f"Expected at least two columns; found one in {path}. Put the table into a sheet.")
    numbers = [number for number, row in enumerate(rows) if row][:MAX_ROWS_OF_NAMES]
    header = find_header([_pad(rows[number], width) for number in numbers], width, expected.names)
    last = numbers[header.last]
    filled = _fill_merged(
        rows, [(column, top - first, end - first) for column, top, end in merged if top - first > last]
    )
    values = [[None if _is_error(cell) else cell for cell in _pad(row, width)] for row in rows[last + 1 :] if row]
    # Column by column, as pandas would otherwise guess one type for all of them.
    columns = [pd.Series(list(column)) for column in zip(*values, strict=True)] or [pd.Series(dtype=object)] * width
    table = pd.concat(columns, axis="columns").set_axis(list(header.names), axis="columns")
    skipped = f"skiprows={first + last + 1}"
    named = f"names={json.dumps(list(header.names), ensure_ascii=False)}"
    table.attrs["header"] = [skipped, "header=None", named] if header.joined else [f"header={first + last}"]
    above = " and the one above" if header.joined else ""
    table.attrs["notes"] = [f"Took row {first + last + 1}{above} as names of the columns."] if header.last else []
    if filled:  # which pandas does not
        table.attrs["header"] = None
        table.attrs["notes"].append(f"Took the value of merged cells for each of their rows ({filled} cells).")
    return table


def _fill_merged(rows: list[Row], merged: Sequence[tuple[int, int, int]]) -> int:
    """Write the value of merged cells into each of their rows, in place; return how many cells that are."""
    filled = 0
    for column, top, end in merged:
        value = rows[top][column] if top < len(rows) and column < len(rows[top]) else None
        for number in range(top + 1, min(end + 1, len(rows))) if not _is_missing(value) else ():
            row = _pad(rows[number], max(len(rows[number]), column + 1))
            rows[number] = (*row[:column], value, *row[column + 1 :])
            filled += 1
    return filled


def _is_missing(cell: Any) -> bool:
    return cell is None or cell == ""


def _pad(row: Row, width: int) -> Row:
    return row + (None,) * (width - len(row))


def _is_error(cell: Any) -> bool:
    return isinstance(cell, str) and cell in _ERRORS
