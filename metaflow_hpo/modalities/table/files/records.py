"""Read a table from JSON: one object a line (JSON lines), one list of objects, or one object of columns.

An object in a record becomes a column a key, `a.b`; a list is an error, not a column of text.
"""

import json
import operator
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed

_NO_NUMBERS = ("NaN", "Infinity")
"""What Python's own writer calls numbers that JSON does not have."""


MAX_DEPTH = 5
"""How deep objects in a record may be nested."""


def read_records(path: Path, text: str, names: Collection[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return the records of a text as a table, a column a key; what a record lacks is missing.

    Args:
        path: Where the text is from, for messages.
        text: JSON lines, a JSON list of objects, or an object as `DataFrame.to_json` writes it.
        names: Columns that are expected, where that is known.

    Returns:
        The table, and the options by which `pandas.read_json` reads the same; none where it does not.

    Raises:
        InvalidTaskError: It is no JSON, or holds no table; the message names the line or the record.
    """
    is_list = text.lstrip().startswith("[")
    if not is_list and (whole := _find_object(text)) is not None:
        return _read_object(path, whole, names)
    records = _read_lines(path, [text] if is_list else text.split("\n"), is_list=is_list)
    flat = [_unfold(path, number, record) for number, record in enumerate(records, start=1)]
    if not flat:
        raise InvalidTaskError(f"Expected records in {path}; found none. Save or copy it again.")
    is_plain = all(map(operator.is_, flat, records))
    return pd.DataFrame(flat), [f"lines={not is_list}"] if is_plain else []


def _read_lines(path: Path, lines: list[str], *, is_list: bool) -> list[Any]:
    records: list[Any] = []
    for number, line in enumerate(lines, start=1):  # `splitlines` would also cut at signs that JSON may hold
        if not line.strip():
            continue
        try:
            found = _load(line)
        except ValueError as error:
            where = "" if is_list else f" on line {number}"
            raise InvalidTaskError(
                f"Expected one JSON object a line, a list of objects, or an object of columns, in {path}; found{where}"
                f": {error}. Correct it; if it is the last line, the file may be cut short: copy it again."
            ) from error
        records += found if is_list else [found]
    return records


def _load(text: str) -> Any:
    """Return JSON, with the numbers that only Python writes.

    Raises:
        ValueError: It is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if not any(word in text for word in _NO_NUMBERS):
            raise
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too deep a nesting") from error


def _find_object(text: str) -> dict[str, Any] | None:
    """Return the one object that the whole text is, where it is no record of one line: half of it plain values."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        record = _load(first)
        is_record = isinstance(record, dict) and (
            2 * len(_nested(record)) <= len(record) or text.strip() != first.strip()
        )
    except ValueError:
        is_record = False
    if is_record:
        return None
    try:
        whole = _load(text)
    except ValueError:
        return None
    return whole if isinstance(whole, dict) else None


def _read_object(path: Path, whole: dict[str, Any], names: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Read one object: a record over several lines, or what `DataFrame.to_json` writes with any `orient`."""
    if not _nested(whole):
        return pd.DataFrame([whole]), []
    if isinstance(whole.get("data"), list):
        if "schema" in whole and all(isinstance(record, dict) and not _nested(record) for record in whole["data"]):
            index = whole["schema"].get("primaryKey", []) if isinstance(whole["schema"], dict) else []
            return pd.DataFrame(whole["data"]).drop(columns=index, errors="ignore"), []
        if _is_split(whole):
            return pd.DataFrame([dict(zip(whole["columns"], row, strict=True)) for row in whole["data"]]), []
    values = list(whole.values())
    if all(isinstance(value, list) and not any(isinstance(one, dict | list) for one in value) for value in values):
        lengths = {len(value) for value in values}
        if len(lengths) == 1:
            return pd.DataFrame({name: pd.Series(value) for name, value in whole.items()}), []
    if all(isinstance(value, dict) and value and not _nested(value) for value in values):
        return _read_labelled(whole, names)
    raise InvalidTaskError(
        f"Expected a table; {path} is one JSON object, with the keys {listed(list(whole))}, and none of columns. Write "
        'its rows with to_json(orient="records"), or as a csv with one line a row (a trial), and give that.'
    )


def _is_split(whole: dict[str, Any]) -> bool:
    names = whole.get("columns")
    return isinstance(names, list) and all(
        isinstance(row, list) and len(row) == len(names) and not any(isinstance(one, dict | list) for one in row)
        for row in whole["data"]
    )


def _read_labelled(whole: dict[str, dict[str, Any]], names: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Read columns of labelled rows, or labelled rows of columns: whichever has the expected names, or no numbers."""
    inner = list(next(iter(whole.values())))
    is_by_row = set(names) <= set(inner) if names and not set(names) <= set(whole) else False
    if not names:
        is_by_row = all(key.lstrip("-").isdecimal() for key in whole) and not all(map(str.isdecimal, inner))
    if is_by_row:
        return pd.DataFrame(list(whole.values())), ['orient="index"']
    labels = dict.fromkeys(label for column in whole.values() for label in column)
    columns = {name: pd.Series([column.get(label) for label in labels]) for name, column in whole.items()}
    return pd.DataFrame(columns), ['orient="columns"']


def _nested(record: Any) -> list[str]:
    """Return the keys of an object whose values are objects or lists."""
    return [key for key, value in record.items() if isinstance(value, dict | list)] if isinstance(record, dict) else []


def _unfold(path: Path, number: int, record: Any) -> dict[str, Any]:
    """Return a record with a key for each part of an object in it: `a.b`; the very record where there is none.

    Raises:
        InvalidTaskError: If it is no object, or a value is a list, or two parts have one name.
    """
    if not isinstance(record, dict):
        raise InvalidTaskError(
            f"Expected every record of {path} to be an object with the columns as keys; record {number} is "
            f"{type(record).__name__}. Write it as an object."
        )
    flat, depth = record, 0
    while any(isinstance(value, dict) for value in flat.values()):
        parts = [
            (f"{key}.{part}" if isinstance(value, dict) else key, inner)
            for key, value in flat.items()
            for part, inner in (value.items() if isinstance(value, dict) else [("", value)])
        ]
        flat, depth = dict(parts), depth + 1
        if len(flat) < len(parts) or depth > MAX_DEPTH:
            raise InvalidTaskError(
                f"Expected objects whose parts can be columns in {path}; those of record {number} are nested deeper "
                f"than {MAX_DEPTH}, or two parts have one name. Give each part a column of its own."
            )
    if nested := _nested(flat):
        raise InvalidTaskError(
            f"Expected numbers, text, true, false or null as values in {path}; {nested[0]!r} of record {number} holds "
            "more than one, in a list. Give each of its parts a column of its own, or leave it out."
        )
    return flat
