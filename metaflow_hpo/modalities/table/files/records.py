"""Read a table from JSON: one object a line (JSON lines), or one list of objects.

The one thing to know: a value that is itself a list or an object is an error, not a column of text.
"""

from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from metaflow_hpo.errors import InvalidTaskError


def read_records(path: Path, text: str) -> pd.DataFrame:
    """Return the records of a text as a table, a column a key; what a record lacks is missing.

    Args:
        path: Where the text is from, for messages.
        text: JSON lines, or a JSON list.

    Raises:
        InvalidTaskError: It is no JSON, or not made of flat objects; the message names the line or the record.
    """
    is_list = text.lstrip().startswith("[")
    lines = [text] if is_list else text.split("\n")  # `splitlines` would also cut at signs that JSON may hold
    records: list[Any] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            where = "" if is_list else f" on line {number}"
            raise InvalidTaskError(
                f"Expected one JSON object a line, or a list of objects, in {path}; found{where}: {error}. "
                "Correct it; if it is the last line, the file may be cut short: copy it again."
            ) from error
        records += found if is_list else [found]
    for number, record in enumerate(records, start=1):
        _check_flat(path, number, record)
    if not records:
        raise InvalidTaskError(f"Expected records in {path}; found none. Save or copy it again.")
    return pd.DataFrame(records)


def _check_flat(path: Path, number: int, record: Any) -> None:
    if not isinstance(record, dict):
        raise InvalidTaskError(
            f"Expected every record of {path} to be an object with the columns as keys; record {number} is "
            f"{type(record).__name__}. Write it as an object."
        )
    nested = [key for key, value in record.items() if isinstance(value, dict | list)]
    if nested:
        raise InvalidTaskError(
            f"Expected numbers, text, true, false or null as values in {path}; {nested[0]!r} of record {number} holds "
            "more than one. Give each of its parts a column of its own, or leave it out."
        )
