"""Read a person's table (csv, JSON lines, parquet, Excel; packed or not), and say where it is broken when it is.

The one thing to know: a line with too few or too many fields is an error, never padded: a file that was cut off
while it was copied must not become a smaller data set.
"""

import codecs
import csv
import difflib
import io
import json
import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.file_names import (
    COMPRESSED,
    ENDINGS,
    PARQUET,
    RECORDS,
    SHOWN_ENDINGS,
    WORKBOOK,
    ending_of,
)
from metaflow_hpo.modalities.table.files.unpacking import holds_one_file, unpack

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "<null>", "None", "?", "#N/A", "<NA>")
SEPARATORS = (",", ";", "\t", "|")
_CSV_FIELD_LIMIT = 10_000_000
_SNIFFED_LINES = 20
_DECIMAL_COMMA = r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?"
_BLANK_END = re.compile(r"(\r?\n *)+\Z")


def read_table(path: Path, *, as_written: Collection[str] = (), reads_commas: bool = True) -> pd.DataFrame:
    """Read a table: csv (separator `,`, `;`, tab or `|`; UTF-8, UTF-16 or Windows-1252), JSON lines, parquet or Excel.

    Args:
        path: File with one of `file_names.ENDINGS`. A csv has its column names on the first line. A zip holds one file.
        as_written: Columns of a csv to return as the text that stands there.
        reads_commas: Whether text with decimal commas becomes numbers in a csv whose separator is `;`. If not,
            `attrs["decimal_comma"]` says that it is such a file.

    Returns:
        `(rows, columns)` as found; what stands for a missing value (empty, NA, ?, null, ...) is missing.
        `attrs["notes"]` says what had to be guessed, and `attrs["read"]` is a Python expression of `path` by which
        pandas reads the same (`MISSING` is the tuple of this module); empty where there is none.

    Raises:
        InvalidTaskError: No such file, unknown ending, not a table, damaged, or too large once it is unpacked; the
            message names the line.
    """
    ending = _check_there(path)
    if ending in PARQUET:
        return _read_parquet(path)
    if ending == WORKBOOK:
        return _read_workbook(path)
    if ending.endswith(COMPRESSED):
        content, ending = unpack(path)
    else:
        content = path.read_bytes()
    if not content:
        raise InvalidTaskError(f"Expected a table; {path} is empty (0 bytes). Save or copy it again.")
    table = (
        _read_records(path, content)
        if ending in RECORDS
        else _read_csv(path, content, as_written, reads_commas=reads_commas)
    )
    if path.suffix.lower() == ".zip" and not holds_one_file(path):
        table.attrs["read"] = ""
    return table


def _check_there(path: Path) -> str:
    """Return the ending of a file that is there."""
    if path.is_dir():
        raise InvalidTaskError(f"Expected a file; {path} is a folder. Give one of the files in it.")
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "Check the name and the folder."
        raise InvalidTaskError(f"Expected a csv or parquet file; there is no {path}. {hint}")
    ending = ending_of(path)
    if ending not in ENDINGS:
        raise InvalidTaskError(f"Expected a file ending in {SHOWN_ENDINGS}; got {path.name}. Save it as csv.")
    return ending


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        table = pd.read_parquet(path, engine="pyarrow", partitioning=None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidTaskError(
            f"Expected a whole parquet file; {path} cannot be read ({error}). "
            "It may be cut short: save or copy it again."
        ) from error
    named = [name for name in table.index.names if name is not None]
    table = table.reset_index() if named else table
    table.attrs["read"] = f"pd.read_parquet(path){'.reset_index()' if named else ''}"
    return table


def _read_workbook(path: Path) -> pd.DataFrame:
    from metaflow_hpo.modalities.table.files.workbook import read_workbook

    table = read_workbook(path)
    sheet, header = json.dumps(table.attrs.pop("sheet"), ensure_ascii=False), table.attrs.pop("header")
    options = [f"sheet_name={sheet}", f"header={header}", "na_values=MISSING", "keep_default_na=False"]
    return _with_missing(table, _by_pandas("read_excel", options))


def _read_records(path: Path, content: bytes) -> pd.DataFrame:
    from metaflow_hpo.modalities.table.files.records import read_records

    text, encoding, notes = _decode(path, content)
    table = read_records(path, text)
    table.attrs["notes"] = notes
    lines = not text.lstrip().startswith("[")
    options = [f"lines={lines}", f"encoding={json.dumps(encoding)}", "dtype=False"]
    return _with_missing(table, _by_pandas("read_json", options) + ".replace(MISSING, None)")


def _by_pandas(function: str, options: list[str]) -> str:
    """Return the call of a function of pandas as Python, an argument a line."""
    return "\n    ".join([f"pd.{function}(", "path,", *(f"{option}," for option in options)]) + "\n)"


def _with_missing(table: pd.DataFrame, read: str) -> pd.DataFrame:
    """Take the marks of missing values out of a table whose values have types."""
    found = table.mask(table.isin(MISSING)).infer_objects()
    found.attrs = {**table.attrs, "read": read}
    return found


def _read_csv(path: Path, content: bytes, as_written: Collection[str], *, reads_commas: bool) -> pd.DataFrame:
    text, encoding, notes = _decode(path, content)
    text = _BLANK_END.sub("\n", text)
    separator = _sniff_separator(text)
    width = _check_lines(path, text, separator)
    if width < 2:
        first = text.strip().splitlines()[0][:80]
        raise InvalidTaskError(
            f"Expected at least two columns separated by one of {SEPARATORS}; found one in {path} ({first!r}). "
            "Check the separator."
        )
    names = _first_line(text, separator)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            na_values=list(MISSING),
            keep_default_na=False,
            skipinitialspace=True,
            low_memory=False,
            dtype={position: "str" for position, name in enumerate(names) if name in as_written},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InvalidTaskError(
            f"Expected a csv file; {path} cannot be read ({error}). Correct it and try again."
        ) from error
    table.columns = pd.Index(names)  # pandas would rename a repeated name silently
    if separator == ";" and reads_commas:
        table = _with_decimal_commas(table, notes, as_written)
    table.attrs["decimal_comma"] = separator == ";"
    options = [f"sep={json.dumps(separator)}", f"encoding={json.dumps(encoding)}", "skipinitialspace=True"]
    options += ["low_memory=False", "na_values=MISSING", "keep_default_na=False"]
    table.attrs["read"] = _by_pandas("read_csv", options)
    table.attrs["notes"] = notes
    return table


def _decode(path: Path, content: bytes) -> tuple[str, str, list[str]]:
    """Return the text, its encoding, and what is worth saying of it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16"), "utf-16", ["Read as UTF-16."]
        except UnicodeDecodeError as error:
            raise InvalidTaskError(f"Expected UTF-16 in {path}; it is cut short. Save or copy it again.") from error
    if b"\x00" in content[:4096]:
        raise InvalidTaskError(f"Expected text; {path} holds zero bytes (a binary file). Save it as csv in UTF-8.")
    try:
        return content.decode("utf-8-sig"), "utf-8", []
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"line {line} (byte {error.start}, 0x{content[error.start]:02x})"
        try:
            return content.decode("cp1252"), "cp1252", [f"Not UTF-8 at {where}: read as Windows-1252."]
        except UnicodeDecodeError:
            raise InvalidTaskError(
                f"Expected text in UTF-8; {path} is not, at {where}. Save it again with the encoding UTF-8."
            ) from error


def _sniff_separator(text: str) -> str:
    """Return the separator that splits the first lines into the same, largest number of fields."""
    lines = text.splitlines()[:_SNIFFED_LINES]

    def evenness(separator: str) -> tuple[int, int]:
        widths = [len(fields) for fields in csv.reader(lines, delimiter=separator, skipinitialspace=True) if fields]
        same = sum(width == widths[0] for width in widths) if widths and widths[0] > 1 else 0
        return same, widths[0] if widths else 0

    return max(SEPARATORS, key=evenness)


def _check_lines(path: Path, text: str, separator: str) -> int:
    """Return the number of columns, after checking that every line has it.

    Raises:
        InvalidTaskError: A line has another number of fields, or a quoted field does not end.
    """
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    width, start = 0, 1
    try:
        for fields in reader:
            if fields and any(fields) and not width:
                width = len(fields)
            elif fields and len(fields) != width:
                raise InvalidTaskError(
                    f"Expected {width} fields on every line of {path}, as on the first; found {len(fields)} on line "
                    f"{start}. Correct that line; if it is the last, the file may be cut short: copy it again."
                )
            start = reader.line_num + 1
    except csv.Error as error:
        raise InvalidTaskError(
            f"Expected every quoted field of {path} to end; the one that begins on line {start} does not ({error}). "
            "Close the quotation mark; the file may be cut short: copy it again."
        ) from error
    if not width:
        raise InvalidTaskError(f"Expected a table; {path} holds only blank lines. Save or copy it again.")
    return width


def _first_line(text: str, separator: str) -> list[str]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    names = next(fields for fields in reader if fields)
    return [name.strip() or f"Unnamed: {position}" for position, name in enumerate(names)]


def _with_decimal_commas(table: pd.DataFrame, notes: list[str], as_written: Collection[str]) -> pd.DataFrame:
    """Read text columns of the form 1,5 as numbers, where all present values are such."""
    columns, changed = [], []
    for name, column in table.items():
        present = column.dropna() if name not in as_written else column[:0]
        if column.dtype == "str" and len(present) and bool(present.str.fullmatch(_DECIMAL_COMMA).all()):
            column = pd.to_numeric(column.str.replace(",", "."))  # noqa: PLW2901
            changed.append(str(name))
        columns.append(column)
    if changed:
        notes.append(f"Read decimal commas in {listed(changed)}.")
    return pd.concat(columns, axis="columns")
