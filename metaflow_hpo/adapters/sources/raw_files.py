"""Read the raw files of the built-in tasks: one small reader a format, bytes in, table out.

The one thing to know: bytes are checked against their digest before a reader sees them (`builtin.py`); the one format
that can run code, a pickle, is never read without a digest.
"""

import csv
import io
import lzma
from collections.abc import Callable, Mapping
from typing import Any, cast

import pandas as pd

MISSING = ("?", "<null>", "null", "NA", "")

Options = Mapping[str, Any]


def read_csv(content: bytes, options: Options) -> pd.DataFrame:
    """Read delimited text; `options` are those of `pandas.read_csv`."""
    return cast(
        pd.DataFrame,
        pd.read_csv(io.BytesIO(content), na_values=list(MISSING), skipinitialspace=True, low_memory=False, **options),
    )


def read_whitespace(content: bytes, options: Options) -> pd.DataFrame:
    """Read columns separated by blanks, without a header line."""
    return read_csv(content, {"sep": r"\s+", "header": None, **options})


def read_arff(content: bytes, options: Options) -> pd.DataFrame:
    """Read ARFF and KEEL files: `@attribute` lines name the columns, the rows follow `@data`."""
    lines = content.decode("latin-1").splitlines()
    names, rows = [], []
    for number, line in enumerate(lines, start=1):
        words = line.strip().split(None, 1)
        if words and words[0].lower() == "@attribute":
            names.append(words[1].split("{")[0].split()[0].strip("'\""))
        if words and words[0].lower() == "@data":
            rows = [row for row in lines[number:] if row.strip() and not row.startswith("%")]
            break
    return read_csv("\n".join(rows).encode(), {"header": None, "names": names, "quoting": csv.QUOTE_NONE, **options})


def read_labelled(content: bytes, options: Options) -> pd.DataFrame:
    """Read numbers separated by blanks, whose label is on the line of the same number after the data.

    Args:
        content: The data file followed by the labels file.
        options: `rows`: number of data lines.
    """
    lines = content.decode("ascii").splitlines()
    rows = int(options["rows"])
    table = read_whitespace("\n".join(lines[:rows]).encode(), {})
    return pd.concat([table, pd.Series(lines[rows:], name="y")], axis="columns")


def read_excel(content: bytes, options: Options) -> pd.DataFrame:
    """Read the first sheet of an Excel file; `options` are those of `pandas.read_excel`."""
    return cast(pd.DataFrame, pd.read_excel(io.BytesIO(content), **options))


def read_pickle(content: bytes, options: Options) -> pd.DataFrame:
    """Read an xz-compressed pickle without its `rownames` column. Only for bytes whose digest was checked."""
    table = pd.read_pickle(io.BytesIO(lzma.decompress(content)), **options)  # noqa: S301 - digest checked by the caller
    return pd.DataFrame(table).drop(columns="rownames", errors="ignore")


READERS: dict[str, Callable[[bytes, Options], pd.DataFrame]] = {
    "csv": read_csv,
    "whitespace": read_whitespace,
    "arff": read_arff,
    "labelled": read_labelled,
    "excel": read_excel,
    "pickle": read_pickle,
}
