"""Read series from a table: wide, a series a row and a column a step, or long, a row a step and columns id and time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.series.found_series import FoundSeries
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.reading import USUAL_TARGETS
from metaflow_hpo.modalities.table.written_dates import find_date_style

IDS = ("id", "series", "series_id", "case", "case_id", "item", "item_id")
TIMES = ("time", "step", "t", "timestamp", "datetime", "date")
GROUPS = ("group", "subject", "speaker", "user", "patient")
_NUMBERED = re.compile(r"(.*?)(\d+)")
_STEP_NAMES = re.compile(r"(?:t|time|step|ts)[_ .-]?", re.IGNORECASE)
MIN_STEPS = 8
MIN_PLAIN_STEPS = 24
"""Columns that are called 0, 1, 2 ... need be more: any matrix that pandas writes has some."""


def names_steps(names: Sequence[str]) -> bool:
    """Tell by the names of a table's columns whether it holds a series a row, without being told so.

    Beside columns that are called `t_0, t_1 ...` or `0, 1 ...` there is one with a usual target's name, and perhaps one
    that tells a group.
    """
    steps = _find_steps(names)
    if len(steps) != 1:
        return False
    [(prefix, columns)] = steps.items()
    rest = {name.strip().lower() for name in names if name not in columns}
    if not rest & set(USUAL_TARGETS) or not rest <= {*USUAL_TARGETS, *GROUPS}:
        return False
    return len(columns) >= (MIN_STEPS if _STEP_NAMES.fullmatch(prefix) else MIN_PLAIN_STEPS if not prefix else np.inf)


def read_series_table(path: Path, hints: Hints, like: Mapping[str, Any] | None = None) -> FoundSeries:
    """Read a table of series, wide, or long where it has columns for id and time.

    Args:
        path: A csv, parquet, Excel ... file.
        hints: `target`, the label's column; the options `id`, `time`, `values` (a list) and `group` name others.
        like: Where these are new series: `FoundSeries.columns` of those that were trained on. Channels are then taken
            by their names, in that order, and there need be no classes.

    Raises:
        InvalidTaskError: It is no table, or its columns are not those of series; the message says what to do.
    """
    named = [name for name in (hints.target, *map(hints.options.get, ("id", "time", "group"))) if isinstance(name, str)]
    spelled = [spelling for name in USUAL_TARGETS for spelling in (name, name.capitalize(), name.upper())]
    table = read_table(path, names=named, as_written=named or spelled)
    notes = list(table.attrs.get("notes", []))
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    label = _pick(path, table, "target", hints.target, USUAL_TARGETS)
    if like is not None and label is None and like.get("target") in table.columns:
        label = like["target"]
    if label is None and like is None:
        raise InvalidTaskError(
            f"Expected to be told which column of {path.name} is the class; it has {listed(list(table.columns), 20)}. "
            "Give --target, or write `target: <column>` into its sidecar."
        )
    table = table.drop(columns=[name for name in hints.drop if name in table.columns])
    group = _pick(path, table, "group", hints.options.get("group"), GROUPS)
    key = _pick(path, table, "id", hints.options.get("id"), IDS)
    time = _pick(path, table, "time", hints.options.get("time"), TIMES)
    if key is not None and time is not None:
        values = hints.options.get("values") or list((like or {}).get("channels", ())) or None
        found = _read_long(path, table, _Columns(label, group, key, time), values)
    else:
        channels = (like or {}).get("channels", ())
        found = _read_wide(path, table.drop(columns=[] if key is None else [key]), label, group, channels)
    found.notes[:0] = notes
    return found


@dataclass(frozen=True)
class _Columns:
    """Which column is what."""

    label: str | None
    group: str | None
    key: str
    time: str


def _pick(path: Path, table: pd.DataFrame, what: str, said: object, usual: Sequence[str]) -> str | None:
    """Return the column that was said, or the only one with a usual name."""
    if said is not None:
        if said not in table.columns:
            raise InvalidTaskError(
                f"Expected a column {said!r} ({what}) in {path.name}; it has {listed(list(table.columns), 20)}. "
                "Correct the name."
            )
        return str(said)
    found = [name for name in table.columns if name.lower() in usual]
    return found[0] if len(found) == 1 else None


def _find_steps(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns whose names end in consecutive numbers, by what stands before these: a channel each."""
    numbered: dict[str, dict[int, str]] = {}
    for name in names:
        if read := _NUMBERED.fullmatch(name.strip()):
            numbered.setdefault(read.group(1), {})[int(read.group(2))] = name
    return {
        prefix: [columns[place] for place in sorted(columns)]
        for prefix, columns in numbered.items()
        if len(columns) > 1 and all(b == a + 1 for a, b in pairwise(sorted(columns)))
    }


def _read_wide(
    path: Path, table: pd.DataFrame, label: str | None, group: str | None, known: Sequence[str] = ()
) -> FoundSeries:
    rest = [name for name in table.columns if name not in (label, group)]
    channels = _find_steps(rest)
    stray = sorted(set(rest) - {name for columns in channels.values() for name in columns})
    if not channels or stray or len({len(columns) for columns in channels.values()}) > 1:
        found = listed(stray or [f"{prefix}*: {len(columns)} columns" for prefix, columns in channels.items()])
        raise InvalidTaskError(
            f"Expected columns of {path.name} numbered by step (t_0, t_1, ...; as many for each channel) beside the "
            f"class {label!r}, or columns id and time; found {found}. Rename them, drop others with `drop`, or name "
            "them in the sidecar: options: {id: ..., time: ...}."
        )
    if known and set(known) != set(channels):
        raise InvalidTaskError(
            f"Expected the channels {listed([f'{name}*' for name in known])} in {path.name}, as were trained on; found "
            f"{listed([f'{name}*' for name in channels])}. Name its columns alike."
        )
    channels = {name: channels[name] for name in known or channels}
    numbers = np.stack([_as_numbers(path, table[columns]) for columns in channels.values()], axis=1)
    groups = None if group is None else list[object](_as_labels(table[group]))
    labels: list[str | None] = [None] * len(table) if label is None else _as_labels(table[label])
    return FoundSeries(list(numbers), labels, groups, columns={"channels": list(channels), "target": label})


def _read_long(path: Path, table: pd.DataFrame, columns: _Columns, values: object) -> FoundSeries:
    others = (columns.label, columns.group, columns.key, columns.time)
    chosen = [values] if isinstance(values, str) else list(values) if isinstance(values, list | tuple) else []
    chosen = chosen or [name for name in table.columns if name not in others]
    missing = [name for name in chosen if name not in table.columns]
    if missing or not chosen:
        found = f"no {listed(missing)}" if missing else "no column beside id, time and class"
        raise InvalidTaskError(f"Expected columns with values in {path.name}; found {found}. Name them in options.")
    numbers = _as_numbers(path, table[chosen])
    moments = _as_moments(path, table[columns.time])
    codes, keys = pd.factorize(table[columns.key])
    if (codes < 0).any():
        raise InvalidTaskError(
            f"Expected an id on each row of {path.name}; {int((codes < 0).sum())} have none. Fill the column "
            f"{columns.key!r}."
        )
    labels = [None] * len(table) if columns.label is None else _as_labels(table[columns.label])
    groups = None if columns.group is None else _as_labels(table[columns.group])
    series, of_series, group_of_series = [], [], []
    order = np.lexsort((moments, codes))
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        where = f"{columns.key} {keys[codes[rows[0]]]!r} of {path.name}"
        _check_times(where, columns.time, moments[rows])
        series.append(np.ascontiguousarray(numbers[rows].T))
        of_series.append(_only(where, "class", [labels[row] for row in rows]))
        if groups is not None:
            group_of_series.append(_only(where, "group", [groups[row] for row in rows]))
    notes = [f"Took the rows of each {columns.key!r} in the order of {columns.time!r}, as equal steps."]
    read_from = {"channels": list(chosen), "target": columns.label}
    found_groups = None if groups is None else list[object](group_of_series)
    return FoundSeries(series, of_series, found_groups, notes=notes, columns=read_from)


def _only(where: str, what: str, values: Sequence[str | None]) -> str | None:
    """Return the value of all rows of a series; those without one say nothing."""
    different = sorted({value for value in values if value is not None})
    if len(different) > 1:
        raise InvalidTaskError(
            f"Expected one {what} for each series; {where} has {listed(different)}. Correct it, or split the series."
        )
    return different[0] if different else None


def _check_times(where: str, time: str, moments: NDArray[np.float64]) -> None:
    if (np.diff(moments) == 0).any():
        raise InvalidTaskError(
            f"Expected different times in each series; {where} has one twice in {time!r}. Leave out repeated rows, or "
            "name another id."
        )


def _as_numbers(path: Path, table: pd.DataFrame) -> NDArray[np.float32]:
    """Return the values of columns `(rows, columns)`."""
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            unread = pd.to_numeric(table[name], errors="coerce").isna()
            wrong = table[name][unread & table[name].notna()]
            if len(wrong):
                raise InvalidTaskError(
                    f"Expected numbers in the column {name!r} of {path.name}; found {listed(list(wrong.unique()))}. "
                    "Correct them, or leave the column out with `drop`."
                )
    with np.errstate(over="ignore"):
        wide = table.apply(pd.to_numeric).to_numpy(np.float64, na_value=np.nan)
        numbers: NDArray[np.float32] = wide.astype(np.float32)
    if np.isinf(numbers).any():
        name = table.columns[int(np.argwhere(np.isinf(numbers))[0][1])]
        raise InvalidTaskError(
            f"Expected finite numbers below 3.4e38 in {path.name}; the column {name!r} has others. Correct them."
        )
    return numbers


def _as_moments(path: Path, column: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return numbers in the order of times, which are numbers or dates."""
    numbers = pd.to_numeric(column, errors="coerce")
    if not numbers.isna().any():
        return numbers.to_numpy(np.float64)
    dates = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
    if not dates.isna().any():
        return np.asarray(dates.astype("int64"), np.float64)
    texts, counts = np.unique(column.astype(str), return_counts=True)
    found = find_date_style(texts.tolist(), counts, 1.0)
    if found.style is not None:
        return found.style.read(column.astype(str))
    wrong = column[dates.isna() & numbers.isna()]
    raise InvalidTaskError(
        f"Expected numbers or dates in the column {column.name!r} of {path.name}; found "
        f"{found.doubt or listed([str(one) for one in wrong.unique()])}. Correct them, or write 2024-01-31T12:00:00."
    )


def _as_labels(column: "pd.Series[Any]") -> list[str | None]:
    return [None if missing else str(value).strip() for value, missing in zip(column, column.isna(), strict=True)]
