"""Prepare a raw table as a task: find its kind, clean its columns, and fix its test rows from the content of the rows.

The same rows in another order give the identical `TableData`, test rows and digest included.
"""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.hints import AskedKind
from metaflow_hpo.modalities.table.columns import clean_columns
from metaflow_hpo.modalities.table.metrics import METRICS, Kind, check_metric
from metaflow_hpo.modalities.table.rows import digest_content, hash_rows, split_rows, strata_of
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.modalities.table.target import PreparedTarget, prepare_target
from metaflow_hpo.task import TABLE, Task

_MAX_REPEATED = 0.5
"""Different values of a column, of its rows, up to which it says something that they go with the target's."""
_MIN_MONOTONE = 20


def prepare_task(
    frame: pd.DataFrame,
    *,
    task_id: str,
    target: str,
    source: str,
    licence: str,
    family: str | None = None,
    kind: AskedKind | None = None,
    metric: str | Mapping[str, Any] | Metric | None = None,
    drop: Sequence[str] = (),
    test_rows: Sequence[int] | None = None,
    simulated: bool = False,
    notes: Sequence[str] = (),
    decimal_comma: bool = False,
    is_curated: bool = False,
) -> TableData:
    """Turn a raw table into a task with clean columns and fixed test rows.

    Args:
        frame: `(N, columns)`, any dtypes, target included.
        task_id: Lower-case name of the task.
        target: Name of the column to predict.
        source: Where the table came from.
        licence: Licence of the data.
        family: Group of relatives; the task's own id when None.
        kind: What to predict; `classification` leaves binary or multiclass to the number of classes; None infers it.
        metric: Score to optimise; the default of the kind when None.
        drop: Columns that must not be used (identifiers, leaks).
        test_rows: Positions (from 0) of the test rows in `frame`; about 20 % are chosen by content when None.
        simulated: True where the data are generated.
        notes: Sentences to put before those that are made here.
        decimal_comma: Whether commas in numbers are decimal where the column does not tell, see `find_style`.
        is_curated: Whether the columns were chosen by hand, see `clean_columns`.

    Returns:
        The task: rows in the order of a hash of their content, `(N', columns')`.

    Raises:
        InvalidTaskError: The table cannot be a task; the message says what was expected, found, and what to do.
    """
    frame = _with_plain_names(frame)
    target, dropped = _check_names(frame, target, drop)
    prepared = prepare_target(frame[target], kind, decimal_comma=decimal_comma)
    chosen_metric = _choose_metric(prepared.kind, metric)
    raw = frame.drop(columns=[target, *dropped]).iloc[prepared.keep]
    columns, column_notes, styles = clean_columns(raw, decimal_comma=decimal_comma, is_curated=is_curated)
    features, values, is_test = _order_rows(columns, prepared, test_rows, len(frame))
    said = (*notes, *([f"Dropped as asked: {listed(list(drop))}."] if drop else ()), *prepared.notes, *column_notes)
    task = Task(
        task_id=task_id,
        family=family or task_id,
        modality=TABLE,
        kind=prepared.kind,
        metric=chosen_metric,
        target=target,
        licence=licence,
        source=source,
        sha256=digest_content(features, values, is_test, prepared.kind, prepared.class_keys),
        rows=len(features),
        columns=features.shape[1],
        classes=len(prepared.class_names),
        test_rows=int(is_test.sum()),
        simulated=simulated,
        notes=(*said, *_leak_notes(features, values, prepared.kind)),
    )
    if prepared.style is not None:
        styles[target] = prepared.style
    return TableData(task, features, values, is_test, prepared.class_names, styles)


def check_columns(wanted: Sequence[str], columns: Sequence[str], what: str) -> None:
    """Check that columns exist.

    Args:
        wanted: Names to look for.
        columns: Names there are.
        what: What the names are for, as in "target".

    Raises:
        InvalidTaskError: One is missing; the message lists close matches.
    """
    for name in wanted:
        if name not in columns:
            close = difflib.get_close_matches(name, columns, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"There are: {listed(columns, 20)}."
            raise InvalidTaskError(f"Expected the {what} column {name!r}; the table has no such column. {hint}")


def _with_plain_names(frame: pd.DataFrame) -> pd.DataFrame:
    names = [str(name).strip() for name in frame.columns]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InvalidTaskError(
            f"Expected different column names; found {listed(repeated)} more than once. Rename or remove the repeats."
        )
    return frame.set_axis(names, axis="columns")


def _check_names(frame: pd.DataFrame, target: str, drop: Sequence[str]) -> tuple[str, set[str]]:
    """Return the target and the columns to drop, named as the table names them."""
    names = list(frame.columns)
    target, dropped = str(target).strip(), [str(name).strip() for name in drop]
    check_columns([target], names, "target")
    check_columns(dropped, names, "dropped")
    if target in dropped:
        raise InvalidTaskError(
            f"Expected to keep the target {target!r}; it is among the columns to drop. Remove it there."
        )
    if frame.empty:
        raise InvalidTaskError(
            "Expected rows; found a table with columns and no rows. Check that the file is complete."
        )
    return target, set(dropped)


def _choose_metric(kind: Kind, metric: str | Mapping[str, Any] | Metric | None) -> Metric:
    chosen = METRICS[kind][0] if metric is None else Metric.read(metric)
    check_metric(kind, chosen)
    return chosen


def _order_rows(
    features: pd.DataFrame, target: PreparedTarget, test_rows: Sequence[int] | None, rows: int
) -> tuple[pd.DataFrame, NDArray[Any], NDArray[np.bool_]]:
    """Return clean features, target and test rows in the order of a hash of each row's content."""
    row_hash, feature_hash = hash_rows(features, target.values)
    if test_rows is None:
        strata = strata_of(target.values, is_regression=target.kind == "regression")
        is_test = split_rows(row_hash, feature_hash, strata)
    else:
        is_test = _given_split(test_rows, rows, target)
    order = np.lexsort((is_test, row_hash))
    return features.iloc[order].reset_index(drop=True), target.values[order], is_test[order]


def _given_split(test_rows: Sequence[int], rows: int, target: PreparedTarget) -> NDArray[np.bool_]:
    outside = [row for row in test_rows if not 0 <= row < rows]
    if outside or len(set(test_rows)) != len(test_rows):
        what = f"outside that range: {listed(outside)}" if outside else "repeated positions"
        raise InvalidTaskError(
            f"Expected different test rows between 0 and {rows - 1}; found {what}. Correct test_rows."
        )
    is_test = np.isin(target.keep, np.asarray(test_rows, dtype=np.int64))
    lost = sorted(set(range(len(target.class_names))) - set(target.values[~is_test].tolist()))
    if lost or is_test.all() or not is_test.any():
        names = listed([target.class_names[number] for number in lost])
        raise InvalidTaskError(
            f"Expected test rows and training rows of every class; found {int(is_test.sum())} test rows of "
            f"{len(is_test)}{f', and no training row of {names}' if lost else ''}. Correct test_rows, or leave it out."
        )
    return is_test


def _leak_notes(features: pd.DataFrame, target: NDArray[Any], kind: str) -> list[str]:
    """Name the columns that only spell the target in another coding, and whole numbers that follow it."""
    suspects, monotone, followers = [], [], []
    for name in features.columns:
        present = features[name].notna().to_numpy()
        if present.sum() < len(target) / 2:
            continue
        column, known = features[name][present], target[present]
        is_number = types.is_float_dtype(column.dtype)
        if _is_recoded(column, known) or (is_number and kind == "regression" and _is_linear(column.to_numpy(), known)):
            suspects.append(name)
        elif is_number and kind == "regression" and _is_monotone(column.to_numpy(), known):
            monotone.append(name)
        elif is_number and present.all() and _numbers_rows_in_order(column.to_numpy(), known, kind):
            followers.append(name)
    notes = {
        "holds different whole numbers along which the rows are sorted by the target. If they only number the rows, "
        "leave the column out": followers,
        "grows or falls with the target without exception": monotone,
        "is the target in another coding": suspects,
    }
    return [f"Possible leak: {listed(names)} {what}." for what, names in notes.items() if names]


def _is_recoded(column: pd.Series, target: NDArray[Any]) -> bool:
    """Tell whether values and targets are one to one, where values repeat: different ones always are."""
    values, categories = pd.factorize(column)
    codes, targets = pd.factorize(target)
    if len(categories) != len(targets) or len(targets) > _MAX_REPEATED * len(target):
        return False
    return len(np.unique(values.astype(np.int64) * len(targets) + codes)) == len(targets)


def _is_linear(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two columns without missing values are the same but for scale and offset."""
    with np.errstate(all="ignore"):  # values near the largest float overflow: then there is nothing to say
        return bool(abs(np.corrcoef(one, other)[0, 1]) > 1 - 1e-9)


def _is_monotone(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether one of two columns grows wherever the other does, or falls wherever it does."""
    if len(np.unique(one)) < _MIN_MONOTONE:
        return False
    steps = np.diff(other[np.argsort(one, kind="stable")])
    return bool((steps > 0).all() or (steps < 0).all())


def _numbers_rows_in_order(column: NDArray[np.float64], target: NDArray[Any], kind: str) -> bool:
    """Tell whether different, gapless whole numbers go through the classes one after the other."""
    rows = len(column)
    if kind == "regression" or column.max() - column.min() != rows - 1 or len(np.unique(column)) < rows:
        return False
    changes = int(np.count_nonzero(np.diff(target[np.argsort(column)])))
    return changes <= 2 * len(np.unique(target))
