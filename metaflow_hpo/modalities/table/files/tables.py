"""Read a person's table (csv, JSON, parquet, Excel; packed or not), and say where it is broken when it is.

A line with too few or too many fields is an error, never padded: a file that was cut off while it was copied must not
become a smaller data set.
"""

import difflib
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pandas as pd

from metaflow_hpo.errors import InvalidTableError, InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.delimited import (
    Expected,
    by_pandas,
    decode,
    read_delimited,
    with_decimal_commas,
)
from metaflow_hpo.modalities.table.files.file_names import (
    COMPRESSED,
    ENDINGS,
    PARQUET,
    RECORDS,
    SHOWN_ENDINGS,
    WORKBOOK,
    ending_of,
)
from metaflow_hpo.modalities.table.files.marks import settle_words
from metaflow_hpo.modalities.table.files.records import MAX_DEPTH
from metaflow_hpo.modalities.table.files.unpacking import holds_one_file, unpack
from metaflow_hpo.parquet_files import check_parquet, parquet_damage
from metaflow_hpo.text_columns import with_text


def read_table(
    path: Path,
    *,
    names: Collection[str] = (),
    as_written: Collection[str] = (),
    min_columns: int = 2,
    reads_commas: bool = True,
    settles_words: bool = True,
    keeps_zeros: Callable[[str], bool] | None = None,
) -> pd.DataFrame:
    """Read a table: csv (separator `,`, `;`, tab, `|` or blanks; UTF-8, UTF-16 or Windows-1252), JSON, parquet, Excel.

    Args:
        path: File with one of `file_names.ENDINGS`. A zip holds one file.
        names: Columns that it must have, where that is known: they tell names from a title above them.
        as_written: Columns of a csv to return as the text that stands there.
        min_columns: Fewer columns are an error.
        reads_commas: Whether text with decimal commas becomes numbers in a csv whose separator is `;`. If not,
            `attrs["decimal_comma"]` says that it is such a file.
        settles_words: Whether words such as NA become missing where they stand for that, see `settle_words`. If not,
            they are left as text.
        keeps_zeros: Tells of a column of a csv whether its whole numbers are text where one of them begins with a zero:
            `01` is another code than `1`.

    Returns:
        `(rows, columns)` as found; what stands for a missing value is missing. `attrs["notes"]` says what had to be
        guessed, `attrs["lost"]` which words are missing values in which column, and `attrs["read"]` is a Python
        expression of `path` by which pandas reads the same, `MISSING` being `attrs["marks"]`; empty where there is
        none.

    Raises:
        InvalidTaskError: No such file, unknown ending, not a table, damaged, or too large once it is unpacked; the
            message names the line.
    """
    table, is_quoted = _read(path, Expected(names, as_written, min_columns, keeps_zeros))
    table = with_text(table)
    if settles_words:
        table, words = settle_words(table, is_quoted, as_written)
        table.attrs |= {
            "notes": [*table.attrs.get("notes", []), *words.notes()],
            "marks": list(words.marks),
            "lost": words.missing,
        }
    if reads_commas and table.attrs.get("decimal_comma"):
        table = with_decimal_commas(table, as_written)
    return table


def _read(path: Path, expected: Expected) -> tuple[pd.DataFrame, Callable[[str], bool] | None]:
    """Return a table, and what tells whether a text is quoted in the file, where that means anything."""
    ending = _check_there(path)
    if ending in PARQUET:
        return _read_parquet(path), None
    if ending == WORKBOOK:
        return _read_workbook(path, expected), None
    content, ending = unpack(path) if ending.endswith(COMPRESSED) else (path.read_bytes(), ending)
    if not content:
        raise _empty(path)
    is_quoted = None
    if ending in RECORDS:
        table = _read_records(path, content, expected)
    else:
        table, text = read_delimited(path, content, expected)

        def is_quoted(value: str) -> bool:
            plain = rf"(?:^|[,;|\t]) *{re.escape(value)} *(?:[,;|\t\r]|$)"
            return f'"{value}"' in text and not re.search(plain, text, re.MULTILINE)

    if path.suffix.lower() == ".zip" and not holds_one_file(path):
        table.attrs["read"] = ""
    return table, is_quoted


def _check_there(path: Path) -> str:
    """Return the ending of a file that is there."""
    if path.is_dir():
        raise InvalidTaskError(f"Expected a file; {path} is a folder. Give one of the files in it.")
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "Check the name and the folder."
        raise InvalidTaskError(f"Expected a csv or parquet file; there is no {path}. {hint}")
    if path.is_file() and not path.stat().st_size:
        raise _empty(path)
    ending = ending_of(path)
    if ending not in ENDINGS:
        raise InvalidTaskError(
            f"Expected a file ending in {SHOWN_ENDINGS}; got {path.name}. Save it as csv; where it holds something "
            "else than a table, it may be damaged: say what with --modality."
        )
    return ending


def _empty(path: Path) -> InvalidTaskError:
    return InvalidTaskError(f"Expected a table; {path} is empty (0 bytes). Save or copy it again.")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        check_parquet(path, "Write it again.")
        table = _unfolded(path)
        is_plain = table is None
        if table is None:
            table = pd.read_parquet(path, engine="pyarrow", partitioning=None, page_checksum_verification=True)
    except InvalidTaskError:
        raise
    except InvalidTableError as error:
        raise InvalidTaskError(str(error)) from error
    except parquet_damage() as error:
        raise InvalidTaskError(
            f"Expected a whole parquet file; {path} cannot be read ({error}). "
            "It may be cut short: save or copy it again."
        ) from error
    named = [name for name in table.index.names if name is not None]
    table = table.reset_index() if named else table
    table = _as_csv_would_say(table)
    table.attrs["read"] = f"pd.read_parquet(path){'.reset_index()' if named else ''}" if is_plain else ""
    return table


def _unfolded(path: Path) -> pd.DataFrame | None:
    """Return a table whose columns of structs became a column a part, `a.b`; None where it has none."""
    import pyarrow as pa
    from pyarrow import parquet

    def is_nested(table: pa.Table) -> bool:
        return any(pa.types.is_struct(field.type) for field in table.schema)

    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise InvalidTaskError(
                f"Expected different column names in {path.name}; found {listed(twice)} more than once. Rename or "
                "remove the repeats."
            )
        if not any(pa.types.is_struct(field.type) for field in file.schema_arrow):
            return None
        table = file.read()
    for _ in range(MAX_DEPTH):
        table = table.flatten() if is_nested(table) else table
    if is_nested(table) or len(set(table.column_names)) < table.num_columns:
        raise ValueError(f"its structs are nested deeper than {MAX_DEPTH}, or two of their parts have one name")
    unfolded: pd.DataFrame = table.replace_schema_metadata().to_pandas()
    index = [name for name in unfolded.columns if str(name).startswith("__index_level_")]
    return unfolded.drop(columns=index)


def _as_csv_would_say(table: pd.DataFrame) -> pd.DataFrame:
    """Give columns the types that their text would have: categories are what they stand for, .1 in 32 bits is .1."""
    changed = {}
    for position, dtype in enumerate(table.dtypes):
        column = table.iloc[:, position]
        if isinstance(dtype, pd.CategoricalDtype):
            changed[position] = column.astype(dtype.categories.dtype if not column.isna().any() else object)
        elif dtype in ("float32", "float16"):
            codes, values = pd.factorize(column)
            changed[position] = pd.Series(np.append([float(str(v)) for v in values], np.nan)[codes], index=table.index)
    if not changed:
        return table
    columns = [changed.get(position, table.iloc[:, position]) for position in range(table.shape[1])]
    return pd.concat(columns, axis="columns").set_axis(table.columns, axis="columns")


def _read_workbook(path: Path, expected: Expected) -> pd.DataFrame:
    from metaflow_hpo.modalities.table.files.workbook import read_workbook

    table = read_workbook(path, expected)
    sheet, header = json.dumps(table.attrs.pop("sheet"), ensure_ascii=False), table.attrs.pop("header")
    options = [f"sheet_name={sheet}", *(header or ()), "na_values=MISSING", "keep_default_na=False"]
    table.attrs["read"] = "" if header is None else by_pandas("read_excel", options)
    return table


def _read_records(path: Path, content: bytes, expected: Expected) -> pd.DataFrame:
    from metaflow_hpo.modalities.table.files.records import read_records

    text, encoding, notes = decode(path, content)
    table, options = read_records(path, text, expected.names)
    table.attrs["notes"] = notes
    read = by_pandas("read_json", [*options, f"encoding={json.dumps(encoding)}", "dtype=False"])
    table.attrs["read"] = f"{read}.replace(MISSING, None)" if options else ""
    return table
