"""A request's bytes become tasks, or are refused with a client error that names what is wrong.

The formats are those of MLflow's scoring server: JSON with `dataframe_records`, `dataframe_split`, `instances` or
`inputs`, and CSV. The one thing to know: reading is strict and stops at the first fault, so that a hostile body costs
no more than a good one; orjson bounds the nesting and accepts no NaN, and columns nobody asked for are dropped.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import orjson

from metaflow_hpo.errors import MetaflowHPOError

MAX_K = 50
MAX_TASKS = 1000
DEFAULT_K = 5

Row = Mapping[str, Any]


class RefusedRequestError(MetaflowHPOError):
    """A request that is not answered; `status` is the HTTP status, 4xx."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RecommendationRequest:
    """What was asked.

    Attributes:
        rows: One task each, 1 to `MAX_TASKS`; values are not checked yet.
        k: How many configurations to recommend for each, 1 to `MAX_K`.
    """

    rows: Sequence[Row]
    k: int = DEFAULT_K


def read_request(body: bytes, content_type: str) -> RecommendationRequest:
    """Read the body of a request.

    Raises:
        RefusedRequestError: If it is no request, in no known format, or holds too many tasks.
    """
    kind, _, charset = (part.strip() for part in content_type.lower().partition(";"))
    if charset not in {"", "charset=utf-8", 'charset="utf-8"'} or kind not in {"application/json", "text/csv"}:
        raise RefusedRequestError(
            f"Expected Content-Type application/json or text/csv, in UTF-8; got {content_type[:100]!r}.", 415
        )
    request = _read_json(body) if kind == "application/json" else RecommendationRequest(_read_csv(body))
    if not 1 <= len(request.rows) <= MAX_TASKS:
        raise RefusedRequestError(f"A request holds 1 to {MAX_TASKS} tasks, one a row; got {len(request.rows)}.")
    return request


def read_values(
    request: RecommendationRequest, names: Sequence[str], *, may_lack: bool = False
) -> list[dict[str, float]]:
    """Return the named meta-features of every task; other columns are dropped, as MLflow does.

    Args:
        request: What is asked.
        names: Names of the meta-features.
        may_lack: A task may lack some, or have null for them: NaN then.

    Raises:
        RefusedRequestError: If one is missing or not a finite number.
    """
    return [
        {name: math.nan if may_lack and row.get(name) is None else _read_number(row, name, position) for name in names}
        for position, row in enumerate(request.rows)
    ]


def _read_number(row: Row, name: str, position: int) -> float:
    if name not in row:
        raise RefusedRequestError(
            f"Task {position} is missing inputs: {name!r}. Describe it with `metaflow-hpo describe` of this version."
        )
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RefusedRequestError(f"Task {position}: {name!r} must be a finite number; got {_shorten(value)}.")
    return float(value)


def _read_json(body: bytes) -> RecommendationRequest:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedRequestError(f"Expected valid JSON without NaN and infinities, in UTF-8; {error}.") from error
    if not isinstance(content, dict) or len(formats := set(content) & set(_READERS)) != 1:
        raise RefusedRequestError(f"Expected a JSON dictionary with exactly one of {', '.join(_READERS)}.")
    unknown = sorted(set(content) - set(_READERS) - {"params"})
    if unknown:
        raise RefusedRequestError(f"Expected {formats.pop()} and params; also found {_shorten(unknown)}.")
    (chosen,) = formats
    return RecommendationRequest(_READERS[chosen](content[chosen]), _read_k(content.get("params")))


def _read_k(params: Any) -> int:
    if params is None:
        return DEFAULT_K
    if not isinstance(params, dict):
        raise RefusedRequestError(f"params must be a dictionary; got {_shorten(params)}.")
    if set(params) - {"k"}:
        raise RefusedRequestError(f"The only parameter is k; got {_shorten(sorted(params))}.")
    k = params.get("k", DEFAULT_K)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise RefusedRequestError(f"k must be a whole number from 1 to {MAX_K}; got {_shorten(k)}.")
    return k


def _read_records(records: Any) -> list[Row]:
    if not isinstance(records, list) or not all(isinstance(row, dict) for row in records):
        raise RefusedRequestError("Expected a list of dictionaries, one a task: meta-feature to number.")
    return records


def _read_split(table: Any) -> list[Row]:
    columns, data = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list):
        raise RefusedRequestError("Expected dataframe_split to hold the lists columns and data.")
    _check_columns(columns)
    if len(data) > MAX_TASKS or not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        raise RefusedRequestError(
            f"Expected data to hold at most {MAX_TASKS} lists of {len(columns)} values, one for each column."
        )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _read_inputs(inputs: Any) -> list[Row]:
    """Read a table by columns, a single task, or records."""
    if not isinstance(inputs, dict):
        return _read_records(inputs)
    lengths = {len(values) if isinstance(values, list) else -1 for values in inputs.values()}
    if lengths == {-1}:
        return [inputs]
    if len(lengths) != 1 or max(lengths) > MAX_TASKS:
        raise RefusedRequestError(f"Expected columns of one length, at most {MAX_TASKS}; got {_shorten(lengths)}.")
    return [dict(zip(inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True)]


def _read_csv(body: bytes) -> list[Row]:
    try:
        lines = csv.reader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        columns = next(lines, [])
        _check_columns(columns)
        rows: list[Row] = []
        for line in filter(None, lines):
            if len(line) != len(columns) or len(rows) == MAX_TASKS:
                raise RefusedRequestError(
                    f"Expected at most {MAX_TASKS} lines of {len(columns)} values; line {len(rows) + 1} has "
                    f"{len(line)}."
                )
            rows.append(dict(zip(columns, map(_to_number, line), strict=True)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefusedRequestError(f"Expected CSV in UTF-8; {str(error)[:200]}.") from error
    return rows


def _check_columns(columns: Sequence[Any]) -> None:
    if not all(isinstance(name, str) for name in columns) or len(set(columns)) < len(columns):
        raise RefusedRequestError("Expected the names of the columns to be distinct texts.")


def _to_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # an error only where the column is asked for


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


_READERS: Mapping[str, Callable[[Any], list[Row]]] = {
    "dataframe_records": _read_records,
    "dataframe_split": _read_split,
    "instances": _read_records,
    "inputs": _read_inputs,
}
