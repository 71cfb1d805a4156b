"""Tables of trials as tools write them: which column is what, one line a trial or one line an epoch."""

import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.left_out import is_measured
from metaflow_hpo.adapters.past_trials.source import (
    FROM_NAME,
    Direction,
    Found,
    PastTrial,
    Status,
    TableSource,
    UnansweredError,
    Wanted,
    existing,
)
from metaflow_hpo.adapters.past_trials.values import from_text, pick, to_number, to_seconds, to_status
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.delimited import EVERY_COLUMN, Expected, read_delimited
from metaflow_hpo.modalities.table.files.file_names import TEXT
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.tables import HP_PREFIX

STEPS = ("epoch", "epochs_done", "step", "_step", "training_iteration", "iteration", "iter", "round", "boosting_round")
"""Names of columns that count reports of one trial."""
TASKS = ("task_id", "task", "dataset", "data_set", "study", "study_name", "experiment", "project", "problem")
"""Usual names of columns that name the task."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class TableForm:
    """Which column of a tool's table is what.

    Attributes:
        metric: Column with the metric.
        prefixes: What the columns of hyperparameters begin with; all other columns are some if empty.
        status: Column with what became of a trial, or None.
        duration: Column with its duration, or None.
        test: Column with the metric on test data, or None.
        trial: Column that names the trial where it has one line a report, or None.
        step: Column that counts reports, or None.
        labels: Kind of label by the prefix of its columns; other columns are labels of the kind `column`.
        ignored: Columns, or prefixes of them, that are neither hyperparameters nor labels.
        task: Column that names the task unless a person says otherwise.
        at: Which report counts unless a person says otherwise.
    """

    metric: str
    prefixes: tuple[str, ...] = ()
    status: str | None = None
    duration: str | None = None
    test: str | None = None
    trial: str | None = None
    step: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    task: str | None = None
    at: str = "last"


def read_texts(path: Path) -> pd.DataFrame:
    """Read a csv with every cell as the text that stands there: `None`, `NA` and `null` may be choices.

    Raises:
        InvalidTableError: If it is empty, not text, or a line has another number of fields than the first.
    """
    try:
        content = existing(path, "a csv file").read_bytes()
        table, _ = read_delimited(path, content, Expected(as_written=EVERY_COLUMN, min_columns=1))
    except InvalidTaskError as error:
        raise InvalidTableError(str(error)) from error
    cells = table.astype(object).where(table.notna(), "")
    cells.columns = [str(name).strip() for name in table.columns]
    return cells.map(_with_point) if table.attrs["decimal_comma"] else cells


def _with_point(cell: str) -> str:
    """Write a number with a decimal comma with a point, as files whose separator is `;` have them."""
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else cell


def read_any_table(path: Path) -> pd.DataFrame:
    """Read a csv as text, and what has types (parquet, JSON, Excel) with these.

    Raises:
        InvalidTableError: If it is missing, damaged or no table.
    """
    if path.suffix.lower() in TEXT:
        return read_texts(path)
    try:
        return read_table(path, settles_words=False)  # `None` may be a choice
    except InvalidTaskError as error:
        raise InvalidTableError(str(error)) from error


def read_other_table(source: TableSource, path: Path, wanted: Wanted) -> Found:
    """Read a file that should be a source's table.

    Raises:
        InvalidTableError: If it is none of the source's.
    """
    table = read_any_table(path)
    columns = [str(column) for column in table.columns]
    if not source.knows(columns):
        raise InvalidTableError(
            f"Expected trials of {source.name} in {path}; its columns are {listed(columns, 12)}. Give another file, or "
            "read it as any table: metaflow-hpo import-trials csv."
        )
    return source.read_table(table, wanted)


def find_name(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first of some usual names among columns, in capital letters or with blanks where none are as it is."""
    plain = {column.strip().lower().replace(" ", "_"): column for column in reversed(columns)}
    return next((name for name in names if name in columns), None) or next(
        (plain[name.lower()] for name in names if name.lower() in plain), None
    )


def is_missing(value: Any) -> bool:
    """Tell whether a cell is empty."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def is_numeric(column: "pd.Series[Any]") -> bool:
    """Tell whether a column holds numbers, written as text or not."""
    return any(to_number(value) is not None for value in column if not is_missing(value))


def find_measured(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the columns of numbers whose names say that they were measured, such as `val_loss`."""
    return [c for c in columns if is_measured(c) and is_numeric(table[c])]


def read_rows(
    table: pd.DataFrame, form: TableForm, metric: str, direction: Direction, wanted: Wanted, **more: Any
) -> Found:
    """Read the trials off a table.

    Args:
        table: One line a trial, or one a report of a trial.
        form: Which column is what.
        metric: Name of the metric.
        direction: Whether higher or lower is better.
        wanted: What a person asks for.
        more: Further attributes of `Found`.

    Raises:
        InvalidTableError: If no column names the task, or a status is not known.
    """
    columns = [str(column) for column in table.columns]
    task = _task_column(form, columns, wanted)
    names = _hyperparameter_columns(form, columns, task)
    rows: Sequence[Row] = table.to_dict("records")
    dropped: Counter[str] = Counter()
    statuses: dict[str, Status | None] = {}
    if form.status is not None and form.status in columns:
        statuses = {str(word): to_status(word) for word in {row[form.status] for row in rows}}
    trials = []
    for group in _group(rows, form, names, task):
        last = group[-1]
        word = str(last[form.status]) if statuses else None
        status = "ok" if word is None else statuses[word]
        if status is None:
            dropped[f"{str(word).lower()}: not finished"] += 1
            continue
        value, curve = _read_metric(group, form, direction, wanted)
        if status == "stopped" and len(group) == 1 and value is not None and math.isfinite(value):
            curve = (value,)  # the last value before it was stopped
        trials.append(
            PastTrial(
                configuration={short: from_text(last[c]) for c, short in names.items() if not is_missing(last[c])},
                value=value,
                status=status,
                reason="" if status == "ok" else str(word).lower(),
                curve=curve if len(group) > 1 or status == "stopped" else (),
                test_value=to_number(last[form.test]) if form.test in columns else None,
                duration_s=to_seconds(last[form.duration]) if form.duration in columns else None,
                labels=_labels(last, form, names),
            )
        )
    return Found(trials, metric, direction, task or f"{FROM_NAME}:", dropped=dropped, **more)


def _task_column(form: TableForm, columns: Sequence[str], wanted: Wanted) -> str | None:
    if wanted.task is not None:
        return wanted.task.removeprefix("column:")
    names = [name for name in (form.task, *TASKS) if name is not None and not name.startswith(form.prefixes or "\0")]
    usual = find_name(columns, names)
    if usual is not None:
        return usual
    free = [
        c
        for c in columns
        if c not in {form.metric, form.status, form.duration}
        and not c.startswith(form.prefixes or "\0")
        and not _is_ignored(c, form)
    ]
    choices = free or [c for c in columns if form.prefixes and c.startswith(form.prefixes)]
    columns_left = f"one of {listed(choices, 12)}, " if choices else ""
    raise UnansweredError(
        {"task": f"which names the task, {columns_left}or {FROM_NAME}:NAME where all trials are of one"}, form.metric
    )


def _hyperparameter_columns(form: TableForm, columns: Sequence[str], task: str | None) -> dict[str, str]:
    """Return the names of hyperparameters by column."""
    if form.prefixes:
        prefixes = sorted(form.prefixes, key=len, reverse=True)
        return {
            c: c.removeprefix(next(p for p in prefixes if c.startswith(p)))
            for c in columns
            if c.startswith(form.prefixes) and c != task
        }
    other = {form.metric, form.status, form.duration, form.test, form.trial, form.step, task}
    return {c: c for c in columns if c not in other and not _is_ignored(c, form)}


def _is_ignored(column: str, form: TableForm) -> bool:
    return any(column == name or (name.endswith(("_", ".", "/")) and column.startswith(name)) for name in form.ignored)


def _labels(row: Row, form: TableForm, names: Mapping[str, str]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for column, value in row.items():
        name = str(column)
        if is_missing(value):
            continue
        if name in names:
            labels[f"param:{names[name]}"] = value
            continue
        kind = next((p for p in form.labels if name.startswith(p)), None)
        if kind is not None:
            labels[f"{form.labels[kind]}:{name.removeprefix(kind)}"] = value
        elif not _is_ignored(name, form):
            labels[f"column:{name}"] = value
    return labels


def _group(rows: Sequence[Row], form: TableForm, names: Mapping[str, str], task: str | None) -> list[list[Row]]:
    """Return the lines of each trial: one, or one a report."""
    if form.step is None:
        return [[row] for row in rows]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = [row[form.trial]] if form.trial is not None else [row[column] for column in names]
        groups.setdefault(tuple(map(str, (row.get(task), *key))), []).append(row)
    return list(groups.values())


def _read_metric(
    group: Sequence[Row], form: TableForm, direction: Direction, wanted: Wanted
) -> tuple[float | None, tuple[float, ...]]:
    values = [None if is_missing(row[form.metric]) else to_number(row[form.metric]) for row in group]
    if form.step is None:
        return values[0], ()
    points = [
        (to_number(row[form.step]) or 0.0, value) for row, value in zip(group, values, strict=True) if value is not None
    ]
    return pick(points, wanted.at or form.at, direction)


def find_steps(table: pd.DataFrame, key: Sequence[str]) -> str | None:
    """Return the column that counts the reports of a trial, where a table has one line a report.

    Args:
        table: The table.
        key: Columns that tell trials apart.
    """
    for usual in STEPS:
        name = find_name([str(column) for column in table.columns], [usual])
        if name is not None and name not in key and len(table):
            counts = table.groupby(list(key), dropna=False, sort=False)[name]
            if counts.size().max() > 1 and (counts.nunique() == counts.size()).all():
                return name
    return None


def found_of(frame: pd.DataFrame, metric: str) -> Found:
    """Return the trials of a table that is a trial table already, higher being better."""
    names = [str(c) for c in frame.columns if str(c).startswith(HP_PREFIX)]
    described = [str(c) for c in frame.columns if str(c).startswith("mf_")]
    trials = [
        PastTrial(
            configuration={name.removeprefix(HP_PREFIX): row[name] for name in names if not is_missing(row[name])},
            value=float(row["performance"]),
            test_value=to_number(row.get("test_performance")),
            duration_s=to_number(row.get("duration_s")),
            labels={"task": row["task_id"], "family": row["family"], **{name: row[name] for name in described}},
        )
        for row in frame.to_dict("records")
    ]
    return Found(trials, metric, "max", "task", features=described)
