"""Read text with a separator (csv and its relatives), and say on which line it is broken when it is."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.header import MAX_ROWS, find_header, is_number
from metaflow_hpo.tables import PADDED
from metaflow_hpo.text_columns import STR, is_text, with_text

SEPARATORS = (",", ";", "\t", "|", " ")
"""Blanks come last: any number of them is one separator."""
_NONE = "\x1f"
"""Separates the columns of a file that has one."""
_SHOWN = "',', ';', tab, '|' or blanks"
_FIELD_LIMIT = 10_000_000
_SNIFFED_LINES = 20
_SNIFFED_CHARACTERS = 1_000_000
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ ,;]*\r?\n', re.IGNORECASE)
_OPENING_QUOTE = re.compile(r'(?:^|\t)\ *"', re.MULTILINE)
_SINGLE_QUOTED = re.compile(r"'[^'\"]*'(?:\s*[,;|\t]\s*'[^'\"]*')+")
_UNQUOTED = f"quoting={int(csv.QUOTE_NONE)}"
_GUARD = re.compile(r'^="([^"]*)"$')
_LINE_END = re.compile(r"\r\n|\n|\r")
_DECIMAL_COMMA = r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?"


class _EveryColumn(Collection[str]):
    """Holds every name, and no end of them."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


EVERY_COLUMN: Collection[str] = _EveryColumn()
"""As `as_written`: the whole table is text."""


class Expected(NamedTuple):
    """What is known of a table before it is read.

    Attributes:
        names: Columns that it must have; they tell the row of names and the separator.
        as_written: Columns to return as the text that stands there.
        min_columns: Fewer are an error.
        keeps_zeros: Tells of a column whether whole numbers are text there where one begins with a zero.
    """

    names: Collection[str] = ()
    as_written: Collection[str] = ()
    min_columns: int = 2
    keeps_zeros: Callable[[str], bool] | None = None


class _Layout(NamedTuple):
    """Where a table lies in a text.

    Attributes:
        separator: One of `SEPARATORS`, or `_NONE`.
        names: A name a column.
        start: Position in the text at which the rows begin.
        lines: Lines before that.
        notes: What had to be guessed.
        is_plain: Whether the names are the first line, as it stands there.
        quote: The mark that encloses fields; where there is none, all marks are part of them.
    """

    separator: str
    names: tuple[str, ...]
    start: int
    lines: int
    notes: list[str]
    is_plain: bool
    quote: str = '"'


def read_delimited(path: Path, content: bytes, expected: Expected) -> tuple[pd.DataFrame, str]:
    """Return a table as it stands in a text, and the text.

    Args:
        path: Where it is from, for messages.
        content: UTF-8, UTF-16, UTF-32 or Windows-1252; separated by one of `SEPARATORS`.
        expected: What is known of it.

    Returns:
        The rows; only empty cells are missing. `attrs` as in `read_table`, `decimal_comma` and `separator` beside them.

    Raises:
        InvalidTaskError: It is no such text; the message names the line.
    """
    text, encoding, notes = decode(path, content)
    text = text.rstrip(" \r\n") + "\n"
    if not text.strip():
        raise InvalidTaskError(f"Expected a table; {path} holds only blank lines. Save or copy it again.")
    layout = _find_layout(path, text, expected)
    width = len(layout.names)
    if width < expected.min_columns:
        first = text.strip().splitlines()[0][:80]
        raise InvalidTaskError(
            f"Expected at least two columns separated by {_SHOWN}; found one in {path} ({first!r}). "
            "Check the separator."
        )
    body = text[layout.start :]
    comments = _check_lines(path, body, layout)
    rows = _without(body, comments)
    table = _parse(path, rows, layout, expected.as_written)
    if padded := _find_padded(path, table, rows, layout, expected):
        table = _parse(path, rows, layout, {*expected.as_written, *padded})
    table.attrs["decimal_comma"] = layout.separator == ";"
    is_guarded = _take_off_guards(table, expected.as_written)
    table.attrs["read"] = "" if comments or is_guarded else _by_pandas(layout, encoding, expected)
    skipped = [f"Left out {len(comments)} comment lines."] if comments else []
    table.attrs["notes"] = [*notes, *layout.notes, *skipped]
    return table, text


def decode(path: Path, content: bytes) -> tuple[str, str, list[str]]:
    """Return the text, its encoding, and what is worth saying of it."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # the first begins as UTF-16 does
        try:
            return content.decode("utf-32"), "utf-32", ["Read as UTF-32."]
        except UnicodeDecodeError as error:
            raise InvalidTaskError(f"Expected UTF-32 in {path}; it is cut short. Save or copy it again.") from error
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


def with_decimal_commas(table: pd.DataFrame, as_written: Collection[str]) -> pd.DataFrame:
    """Read text columns of the form 1,5 as numbers, where all present values are such."""
    columns, changed = [], []
    for name, column in table.items():
        present = column.dropna() if name not in as_written else column[:0]
        if is_text(column) and len(present) and bool(present.str.fullmatch(_DECIMAL_COMMA).all()):
            column = pd.to_numeric(column.str.replace(",", "."))  # noqa: PLW2901
            changed.append(str(name))
        columns.append(column)
    read = pd.concat(columns, axis="columns")
    read.attrs = table.attrs
    if changed:
        read.attrs["notes"] = [*table.attrs["notes"], f"Read decimal commas in {listed(changed)}."]
    return read


def _find_layout(path: Path, text: str, expected: Expected) -> _Layout:
    """Find separator and names; above the names may stand `sep=;`, comments and titles."""
    told = _SEPARATOR_LINE.match(text)
    start = told.end() if told else 0
    quote = _find_quote(text)
    if told or not quote:
        separator = told[1] if told else "\t"
    else:
        separator = _sniff_separator(text[:_SNIFFED_CHARACTERS], expected, quote)
    found = list(islice(_read_rows(path, text, start, separator, quote), 2 * MAX_ROWS))
    rows = [row for row in found if any(row.fields) and not _is_comment(row)][:MAX_ROWS]
    commented = _names_in_a_comment(found, rows, expected)
    rows = [commented, *rows] if commented else rows or found[:1]
    width = _most_common_width([row.fields for row in rows])
    fields = [row.fields for row in rows]
    if len(fields[0]) == width - 1 and len(fields) > 1 and not any(row[-1] for row in fields[1:]):
        fields[0] = [*fields[0], ""]  # a separator ends each line but that of the names
    has_row_names = _has_row_names(fields, width, expected)
    if has_row_names:
        fields[0] = ["", *fields[0]]
    header = find_header(fields, width, expected.names)
    last = rows[header.last]
    short = len(fields[header.last])
    if short < width and any(any(row[short:]) for row in fields[header.last + 1 :]) and not header.joined:
        raise _uneven(path, width, short, rows[header.last + 1].line)
    notes = [] if quote else ["Its quotation marks do not enclose fields: took them as they stand there."]
    if header.last or (last.line > 1 and any(map(_is_comment, found[:1]))):
        notes.append(f"Took line {last.line}{' and the one above' if header.joined else ''} as names of the columns.")
    is_plain = last is found[0] and not told and not has_row_names
    return _Layout(separator, header.names, last.end, last.last_line, notes, is_plain, quote)


def _find_quote(text: str) -> str:
    """Return the mark that encloses fields: single ones where all names stand in such, none where they are stray."""
    first = text.lstrip().partition("\n")[0].strip()
    if _SINGLE_QUOTED.fullmatch(first):
        return "'"
    return "" if _has_stray_quotes(text) else '"'


def _has_stray_quotes(text: str) -> bool:
    """Tell whether quotation marks are part of what is written, as in sentences that somebody separated by tabs.

    They are where each line has as many tabs as any other, and to read the marks as those around fields fails before
    the last line (which may be cut short), or takes some lines for one.
    """
    if not _OPENING_QUOTE.search(text):
        return False
    lines = [line for line in _LINE_END.split(text) if line]
    tabs = {line.count("\t") for line in lines}
    if len(tabs) != 1 or tabs == {0}:
        return False
    rows = 0
    try:
        for fields in _reader(io.StringIO(text, newline=""), "\t", '"', strict=True):
            rows += bool(fields)
    except csv.Error:
        return rows < len(lines) - 1
    return rows < len(lines)


class _Row(NamedTuple):
    """Fields, the lines they stand on, and the position in the text after them."""

    fields: list[str]
    line: int
    last_line: int
    end: int


def _read_rows(path: Path, text: str, start: int, separator: str, quote: str) -> Iterator[_Row]:
    """Yield the rows that are not empty."""
    stream = io.StringIO(text, newline="")
    stream.seek(start)
    before = text.count("\n", 0, start)
    reader = _reader(stream, separator, quote, strict=True)
    line = 0
    try:
        for fields in reader:
            if fields:
                yield _Row(_unpadded(fields, separator), before + line + 1, before + reader.line_num, stream.tell())
            line = reader.line_num
    except csv.Error as error:
        raise _unclosed(path, before + line + 1, error) from error


def _reader(lines: Iterator[str] | io.StringIO, separator: str, quote: str, *, strict: bool = False) -> Any:
    csv.field_size_limit(_FIELD_LIMIT)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict, **_quoting(quote))


def _quoting(quote: str) -> dict[str, Any]:
    return {"quotechar": quote or '"', "quoting": csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE}


def _unpadded(fields: list[str], separator: str) -> list[str]:
    """Return fields without the empty ones that blanks around a line make."""
    if separator != " ":
        return fields
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


def _is_comment(row: _Row) -> bool:
    return row.fields[0].startswith("#")


def _names_in_a_comment(found: Sequence[_Row], rows: Sequence[_Row], expected: Expected) -> _Row | None:
    """Return the last comment above the rows where it holds the names, as `# a,b,y` does above numbers."""
    above = [row for row in found if _is_comment(row) and (not rows or row.end < rows[0].end)]
    if not above:
        return None
    row = above[-1]
    first = (
        row.fields[0].removeprefix("#").strip() if len(above) > 1 or row.fields[0].startswith("# ") else row.fields[0]
    )
    named = row._replace(fields=[first, *row.fields[1:]])
    if expected.names and set(expected.names) <= {name.strip() for name in named.fields}:
        return named
    if not rows:
        return named
    is_as_wide = len(row.fields) == len(rows[0].fields) > 1
    return named if is_as_wide and any(map(is_number, rows[0].fields)) else None


def _sniff_separator(text: str, expected: Expected, quote: str) -> str:
    """Return the separator by which most of the first lines have the same number of fields, and more than one.

    One that shows the expected names wins.
    """
    lines = text.splitlines()[:_SNIFFED_LINES]
    lines = [line for line in lines if line.strip() and not line.startswith("#")] or lines

    def evenness(separator: str) -> tuple[bool, int, int]:
        rows = [_unpadded(fields, separator) for fields in _reader(iter(lines), separator, quote) if fields]
        width = _most_common_width(rows)
        names = set(expected.names)
        is_named = bool(names) and any(names <= {field.strip() for field in fields} for fields in rows)
        return is_named, sum(len(row) == width for row in rows) if width > 1 else 0, width

    if len(expected.names) == 1 and evenness(_NONE)[0]:
        return _NONE
    found = {separator: evenness(separator) for separator in SEPARATORS}
    best = max(SEPARATORS[:-1], key=found.__getitem__)
    named, same, _ = found[" "]
    if found[best][2] > 1 and not (named and not found[best][0]):
        return best
    return " " if named or same == len(lines) > 1 else _NONE


def _most_common_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the most common number of fields, the larger one of two that are as common."""
    widths = Counter(map(len, rows))
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _has_row_names(rows: Sequence[Sequence[str]], width: int, expected: Expected) -> bool:
    """Tell whether the names lack one for the first column, as R and pandas write names of rows."""
    if len(rows[0]) != width - 1 or len(rows) < 2 or any(len(row) != width for row in rows[1:]):
        return False
    names = {name.strip() for name in rows[0]}
    firsts = [row[0] for row in rows[1:]]
    if len(set(firsts)) < len(firsts):  # rather a comma in a number or a sentence cuts each line once too often
        return False
    if expected.names:
        return set(expected.names) <= names
    has_names_below = len(rows) > 2 and not any(map(is_number, rows[1])) and any(map(is_number, rows[2]))
    return len(names) == width - 1 and not has_names_below


def _check_lines(path: Path, body: str, layout: _Layout) -> list[tuple[int, int]]:
    """Check that every row has a field a column.

    Returns:
        The lines of comments among the rows, from and to, counted from 0.

    Raises:
        InvalidTaskError: A line has another number of fields, or a quoted field does not end.
    """
    reader = _reader(io.StringIO(body, newline=""), layout.separator, layout.quote, strict=True)
    width, is_padded = len(layout.names), layout.separator == " "
    comments, line = [], 0
    try:
        for fields in reader:
            if len(fields) != width and fields and (not is_padded or len(_unpadded(fields, " ")) != width):
                if not fields[0].startswith("#"):
                    raise _uneven(path, len(fields), width, layout.lines + line + 1)
                comments.append((line, reader.line_num))
            line = reader.line_num
    except csv.Error as error:
        raise _unclosed(path, layout.lines + line + 1, error) from error
    return comments


def _unclosed(path: Path, line: int, error: csv.Error) -> InvalidTaskError:
    return InvalidTaskError(
        f"Expected every quoted field of {path} to end; the one that begins on line {line} does not ({error}). "
        "Close the quotation mark; the file may be cut short: copy it again."
    )


def _uneven(path: Path, found: int, width: int, line: int) -> InvalidTaskError:
    return InvalidTaskError(
        f"Expected {width} fields on every line of {path}, as in the names of the columns; found {found} on line "
        f"{line}. Correct that line; if it is the last, the file may be cut short: copy it again."
    )


def _without(body: str, comments: Sequence[tuple[int, int]]) -> str:
    """Return the rows without the lines of comments."""
    if not comments:
        return body
    left_out = {line for first, last in comments for line in range(first, last)}
    lines = io.StringIO(body, newline="").readlines()
    return "".join(line for number, line in enumerate(lines) if number not in left_out)


def _find_padded(path: Path, table: pd.DataFrame, rows: str, layout: _Layout, expected: Expected) -> list[str]:
    """Return the columns that were read as numbers and are to stay text, see `Expected.keeps_zeros`."""
    if expected.keeps_zeros is None or not re.search(rf"(?<![\w.]){PADDED.pattern}(?![\w.])", rows):
        return []
    names = map(str, table.columns)
    chosen = [i for i, name in enumerate(names) if table.dtypes.iloc[i].kind in "if" and expected.keeps_zeros(name)]
    texts = _parse(path, rows, layout, [layout.names[i] for i in chosen])
    return [layout.names[i] for i in chosen if texts.iloc[:, i].str.strip().str.fullmatch(PADDED.pattern).any()]


def _parse(path: Path, body: str, layout: _Layout, as_written: Collection[str]) -> pd.DataFrame:
    positions = range(len(layout.names))
    if not body.strip("\r\n"):
        return pd.DataFrame({position: pd.Series(dtype=STR) for position in positions}).set_axis(
            list(layout.names), axis="columns"
        )
    try:
        table: pd.DataFrame = pd.read_csv(
            io.StringIO(body),
            sep=r"\s+" if layout.separator == " " else layout.separator,
            header=None,
            names=positions,
            index_col=False,
            na_values=[""],
            keep_default_na=False,
            skipinitialspace=True,
            **_quoting(layout.quote),
            low_memory=False,
            dtype={position: STR for position, name in enumerate(layout.names) if name in as_written},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InvalidTaskError(
            f"Expected a csv file; {path} cannot be read ({error}). Correct it and try again."
        ) from error
    return with_text(table.set_axis(list(layout.names), axis="columns"))


def _take_off_guards(table: pd.DataFrame, as_written: Collection[str]) -> bool:
    """Read `="007"`, as programs write what Excel must leave as text, as 007; return whether there was any."""
    found = False
    for position in range(table.shape[1]):
        if not is_text(table.iloc[:, position]) or not table.iloc[:, position].str.match('="').any():
            continue
        column = table.iloc[:, position].str.replace(_GUARD, r"\1", regex=True)
        numbers = pd.to_numeric(column, errors="coerce")
        is_numeric = numbers.count() == column.count() and table.columns[position] not in as_written
        table.isetitem(position, (numbers if is_numeric else column).array)
        found = True
    return found


def _by_pandas(layout: _Layout, encoding: str, expected: Expected) -> str:
    """Return the call of pandas that reads the same, but for what is missing."""
    separator = r"\s+" if layout.separator == " " else layout.separator
    options = [f"sep={json.dumps(separator)}", f"encoding={json.dumps(encoding)}", "skipinitialspace=True"]
    options += [] if layout.quote == '"' else [f'quotechar="{layout.quote}"'] if layout.quote else [_UNQUOTED]
    options += ["low_memory=False", "na_values=MISSING", "keep_default_na=False"]
    if not layout.is_plain:
        names = json.dumps(list(layout.names), ensure_ascii=False)
        options += [f"skiprows={layout.lines}", "header=None", f"names={names}"]
    text = [name for name in layout.names if name in expected.as_written]
    if text:
        options.append(f"dtype={json.dumps(dict.fromkeys(text, 'str'), ensure_ascii=False)}")
    return by_pandas("read_csv", options)


def by_pandas(function: str, options: list[str]) -> str:
    """Return the call of a function of pandas as Python, an argument a line."""
    return "\n    ".join([f"pd.{function}(", "path,", *(f"{option}," for option in options)]) + "\n)"
