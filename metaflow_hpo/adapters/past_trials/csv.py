"""Any table of trials, made by hand or by a tool of one's own: parameters, a score, and what else is there."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.left_out import is_measured
from metaflow_hpo.adapters.past_trials.source import Found, Wanted, choose_metric, existing
from metaflow_hpo.adapters.past_trials.tables import (
    TASKS,
    TableForm,
    find_measured,
    find_name,
    find_steps,
    is_missing,
    is_numeric,
    read_any_table,
    read_rows,
)
from metaflow_hpo.adapters.past_trials.values import UNFINISHED
from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.modalities.table.files.totals import without_total
from metaflow_hpo.trial_rows import KNOWN_STATUSES
from metaflow_hpo.written_scores import read_scores

PREFIXES = (
    "hp_",
    "params_",
    "params.",
    "param_",
    "param.",
    "parameters.",
    "config/",
    "config.",
    "config_",
    "hparams/",
    "hparam_",
)
"""What tools put before the names of hyperparameters."""
_STATUS = ("status", "state", "trial_status", "st_status")
_DURATION = ("duration_s", "duration", "runtime", "time_total_s", "elapsed", "seconds", "train_time", "Runtime")
_TRIAL = ("trial_id", "trial", "run_id", "run", "trial_index", "number", "arm_name")
_OUTCOMES = ("success", "succeeded", "is_success", "failed", "is_failed", "exit_code", "returncode", "return_code")
_NO_NAME = re.compile(r"(unnamed: ?\d+|)", re.IGNORECASE)
_GENERATED = ("arm_name", "generation_method", "generation_node")
"""What Ax says of who proposed a trial."""
_METRIC = ("performance", "value", "score", "metric", "objective")


class CsvSource:
    """Columns are known by their usual names and prefixes; what cannot be known is asked for in one message."""

    name = "csv"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell a table with columns such as `params_lr`, `config/lr` or `param_gamma`, and one of Ax."""
        is_ax = {"trial_index", "arm_name"} <= set(columns)
        return is_ax or any(c.startswith(tuple(p for p in PREFIXES if p != "hp_")) for c in columns)

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read a table.

        Args:
            address: csv or parquet, or a frame.
            wanted: `metric` is its column; `task` the column that names the task, or `name:NAME`.
        """
        if isinstance(address, pd.DataFrame):
            return self.read_table(address, wanted)
        table = read_any_table(existing(address, "a table of trials"))
        return self.read_table(table, wanted)

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read a frame; without prefixes every column that is nothing else is a hyperparameter."""
        table, summed = without_total(table)
        columns = [str(column) for column in table.columns]
        if len(set(columns)) < len(columns):
            raise InvalidTableError("Expected every column once. Rename or drop those that are there twice.")
        prefixes = tuple(p for p in PREFIXES if any(c.startswith(p) for c in columns))
        table = _with_scores(table, [c for c in columns if not c.startswith(prefixes or "\0")], wanted.metric)
        metric, direction = choose_metric(wanted, _candidates(table, columns, prefixes, wanted))
        task = wanted.task or find_name(columns, TASKS)
        trial = find_name(columns, _TRIAL)
        _check_outcomes(table, [c for c in columns if not c.startswith(prefixes or "\0")])
        key = [c for c in (task, trial) if c in columns]
        if trial is None and prefixes:
            key += [c for c in columns if c.startswith(prefixes)]
        step = find_steps(table, key) if trial is not None or prefixes else None
        test = f"test_{metric}" if f"test_{metric}" in columns else None
        measured = [] if prefixes else [c for c in find_measured(table, columns) if c not in {metric, test}]
        unnamed = [] if prefixes else [c for c in columns if _NO_NAME.fullmatch(c)]
        form = TableForm(
            metric=metric,
            prefixes=prefixes,
            status=_find_status(table, columns),
            duration=find_name(columns, _DURATION),
            test=test,
            trial=trial if step is not None else None,
            step=step,
            ignored=()
            if prefixes
            else ("family", *_GENERATED, *([] if trial is None else [trial]), *unnamed, *measured),
            task=task,
        )
        left_out = dict.fromkeys(measured, "looks like a measurement")
        left_out |= dict.fromkeys(unnamed, "a column without a name, as the index of a saved table")
        found = read_rows(table, form, metric, direction, wanted, left_out=left_out)
        return found if not summed else replace(found, dropped={**found.dropped, "a row of totals": 1})


def _with_scores(table: pd.DataFrame, columns: Sequence[str], metric: str | None) -> pd.DataFrame:
    """Return a table whose scores that were written for people, `85%`, are numbers."""
    usual = {find_name(columns, [name]) for name in _METRIC}
    scores = [c for c in columns if c == metric or c in usual or is_measured(c)]
    return table.assign(**{name: read_scores(table[name])[0] for name in scores})


def _candidates(table: pd.DataFrame, columns: Sequence[str], prefixes: Sequence[str], wanted: Wanted) -> list[str]:
    """Return the columns that may be the metric: the usual names, else what looks measured, else all numbers."""
    named = [c for c in (find_name(columns, [name]) for name in _METRIC) if c is not None]
    if wanted.metric is None and len(named) == 1:
        return named
    free = [c for c in columns if not (prefixes and c.startswith(tuple(prefixes))) and is_numeric(table[c])]
    measured = find_measured(table, free)
    return measured if wanted.metric is None and measured else free


def _find_status(table: pd.DataFrame, columns: Sequence[str]) -> str | None:
    """Return the column of statuses; only what is called state may be a hyperparameter, where no word is known."""
    found = find_name(columns, [name for name in _STATUS if name != "state"])
    if found is not None and any(not is_missing(value) for value in table[found]):
        return found
    state = find_name(columns, ["state"])
    return state if state is not None and _is_status(table[state]) else None


def _check_outcomes(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a column that says which trials failed in words of its own: they would count like the others.

    Raises:
        InvalidTableError: If there is one.
    """
    found = find_name(columns, _OUTCOMES)
    values = sorted({str(value) for value in table[found]}) if found is not None else []
    if len(values) > 1:
        raise InvalidTableError(
            f"Expected a column `status` with ok, failed or stopped; {found!r} ({listed(values, 3)}) says in another "
            "way which trials failed. Write it as `status`, or drop it."
        )


def _is_status(column: "pd.Series[Any]") -> bool:
    """Tell a column of statuses from one of a hyperparameter that is called so: one word at least is known."""
    words = {str(value).strip().lower() for value in column if not is_missing(value)}
    return bool(words & (set(KNOWN_STATUSES) | UNFINISHED))
