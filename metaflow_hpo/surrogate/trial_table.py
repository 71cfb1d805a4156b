"""Trials of any learner on many tasks, read off a table: what `benchmark` replays and a recommender learns from.

The one thing to know: tasks, configurations and trials are put into an order of their own, so nothing that follows
depends on the order of the lines. Configurations need not be shared by all tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.space import Categorical, Configuration, SearchSpace
from metaflow_hpo.surrogate.infer_space import infer_space
from metaflow_hpo.surrogate.meta_dataset import Array, IntArray
from metaflow_hpo.tables import HP_PREFIX, read_configuration

META_PREFIX = "mf_"
_OPTIONAL = ("test_performance", "duration_s")
_SHOWN = 5
_ROUNDING = 1e-12
"""Share of the largest performance up to which a range is rounding: means of equal repetitions differ by that."""
_MANY_CHOICES = 20


@dataclass(frozen=True)
class TaskTrials:
    """What is recorded of one task.

    Attributes:
        task_id: Its name.
        family: Its family; tasks of one family are never on both sides of a split.
        meta_features: `(M,)` raw, NaN where not known.
        positions: `(N,)` rows of the table's configurations, ascending.
        performance: `(N,)` finite, higher is better; a failed trial counts as the worst of the task.
        test_performance: `(N,)`, NaN where not known.
        duration_s: `(N,)` seconds, NaN where not known.
    """

    task_id: str
    family: str
    meta_features: Array
    positions: IntArray
    performance: Array
    test_performance: Array
    duration_s: Array

    @property
    def is_degenerate(self) -> bool:
        """Whether all its configurations perform the same, so that no choice among them matters."""
        return bool(np.ptp(self.performance) <= _ROUNDING * np.abs(self.performance).max())


@dataclass(frozen=True)
class TrialTable:
    """Trials of one learner on many tasks.

    Attributes:
        space: Search space, inferred or given.
        configurations: `(C,)` distinct configurations.
        points: `(C, D)` the same, encoded: numbers in [0, 1], choices one-hot, a flag where a condition rules.
        meta_feature_names: `(M,)` with the prefix `mf_`.
        tasks: `(T,)` sorted by name; none is degenerate.
        notes: What was left out and why, sentences for people.
    """

    space: SearchSpace
    configurations: tuple[Configuration, ...]
    points: Array
    meta_feature_names: tuple[str, ...]
    tasks: tuple[TaskTrials, ...]
    notes: tuple[str, ...]

    @property
    def is_shared(self) -> bool:
        """Whether every task has every configuration."""
        return all(len(task.positions) == len(self.configurations) for task in self.tasks)

    @property
    def families(self) -> tuple[str, ...]:
        """Distinct families, sorted."""
        return tuple(sorted({task.family for task in self.tasks}))


def build_trial_table(
    frame: pd.DataFrame, *, lower_is_better: bool = False, space: SearchSpace | None = None
) -> TrialTable:
    """Turn a table of trials into tasks with their recorded configurations.

    Args:
        frame: One line a trial: `task_id`, `hp_*`, `performance`; optional `family` (the task's name unless given),
            `mf_*` (one value a task), `test_performance`, `duration_s`, `status` (anything but "ok" is failed, but
            for "stopped": what that trial would have reached is not known, and it is left out).
            Repetitions of a configuration on a task are averaged; numbers written as text are read as numbers.
        lower_is_better: The performance is a loss or an error: flip its sign and that of the test performance.
        space: Search space; inferred from the columns unless given.

    Raises:
        InvalidTableError: If a column is missing or of the wrong type, or fewer than two families have trials that
            differ.
        SearchSpaceMismatchError: If a configuration lies outside the given space.
    """
    rows = _check_columns(frame, space)
    if "status" in rows:
        rows = rows.loc[rows["status"].ne("stopped")]
    sign = -1.0 if lower_is_better else 1.0
    ok = np.isfinite(rows["performance"]) & (rows["status"].eq("ok") if "status" in rows else True)
    rows = rows.assign(
        performance=(sign * rows["performance"]).where(ok),
        test_performance=(sign * rows["test_performance"]).where(ok),
        duration_s=rows["duration_s"].where(ok),
    )
    notes = _note_trials(rows, ok)
    if space is None:
        space = infer_space(rows)
        notes += _note_choices(rows, space)
    columns = [HP_PREFIX + name for name in space.names]
    # Numbered in the order of their values, not of their lines.
    rows = rows.assign(position=rows.groupby(columns, dropna=False, sort=True).ngroup())
    distinct = rows.drop_duplicates("position").sort_values("position")
    configurations = tuple(read_configuration(row, space) for row in distinct[columns].to_dict("records"))
    tasks, left_out = _read_tasks(rows)
    families = {task.family for task in tasks}
    if len(families) < 2:
        raise InvalidTableError(
            f"Expected tasks of at least two families whose trials differ; found {sorted(families) or 'none'} "
            f"({'; '.join(left_out) or 'nothing was left out'}). Add tasks, or correct the columns task_id and family."
        )
    names = tuple(sorted(str(c) for c in rows.columns if str(c).startswith(META_PREFIX)))
    return TrialTable(space, configurations, space.encode(configurations), names, tasks, (*left_out, *notes))


def _check_columns(frame: pd.DataFrame, space: SearchSpace | None) -> pd.DataFrame:
    needed = ["task_id", "performance"] + ([] if space is None else [HP_PREFIX + name for name in space.names])
    missing = [name for name in needed if name not in frame.columns]
    if missing or frame.empty:
        raise InvalidTableError(
            f"Expected one line a trial with the columns {needed[:_SHOWN]} and {HP_PREFIX}<name>; "
            f"{f'{missing[:_SHOWN]} are missing' if missing else 'there is no line'} "
            f"(found {[str(c) for c in frame.columns][:12]}). Rename the columns, or give another table."
        )
    twice = list(dict.fromkeys(str(c) for c in frame.columns[frame.columns.duplicated()]))
    if twice:
        raise InvalidTableError(f"Expected every column once; found {twice[:_SHOWN]} repeatedly. Rename or drop them.")
    if frame["task_id"].isna().any():
        raise InvalidTableError(f"{int(frame['task_id'].isna().sum())} trials have no task_id. Fill it in.")
    rows = frame.copy()
    rows["task_id"] = rows["task_id"].astype(str)
    family = rows["family"] if "family" in rows else rows["task_id"]
    rows["family"] = family.where(family.notna(), rows["task_id"]).astype(str)
    for name in _OPTIONAL:
        if name not in rows:
            rows[name] = np.nan
    numeric = ["performance", *_OPTIONAL, *(str(c) for c in rows.columns if str(c).startswith(META_PREFIX))]
    wrong = [name for name in numeric if not is_numeric_dtype(rows[name]) and not rows[name].isna().all()]
    if wrong:
        raise InvalidTableError(
            f"Expected numbers in {wrong[:_SHOWN]}; found {rows[wrong[0]].dtype} such as "
            f"{rows[wrong[0]].dropna().iloc[0]!r}. Correct or drop these columns."
        )
    for name in numeric:
        rows[name] = rows[name].astype(np.float64)
    if "status" in rows and not rows["status"].eq("ok").any():
        found = sorted(map(str, rows["status"].unique()))[:_SHOWN]
        raise InvalidTableError(
            f"Expected the status 'ok' of trials that worked; found only {found}. Rename it, or drop the column."
        )
    text = (
        set() if space is None else {HP_PREFIX + hp.name for hp in space.hyperparameters if isinstance(hp, Categorical)}
    )
    for name in rows.columns:
        if str(name).startswith(HP_PREFIX) and name not in text:
            rows[name] = _read_numbers(rows[name])
    return rows


def _read_numbers(column: pd.Series) -> pd.Series:
    """Return a hyperparameter's values as numbers if all of them are written as such, else as they are."""
    if is_numeric_dtype(column) or is_datetime64_any_dtype(column):
        return column
    present = column.dropna()
    nested = next((value for value in present if not np.isscalar(value) and not isinstance(value, Decimal)), None)
    if nested is not None:
        raise InvalidTableError(
            f"Expected numbers, text or true and false in {column.name}; found {nested!r}. Split it into columns."
        )
    if any(isinstance(value, bool | np.bool_) for value in present):
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    return column if numbers[present.index].isna().any() else numbers


def _read_tasks(rows: pd.DataFrame) -> tuple[tuple[TaskTrials, ...], tuple[str, ...]]:
    """Return the tasks on which configurations differ, and a note on the others."""
    _check_constant(rows)
    names = sorted(c for c in rows.columns if str(c).startswith(META_PREFIX))
    values = ["performance", *_OPTIONAL]
    # Sorted first: the mean of repetitions must not depend on the order of the lines.
    means = rows.sort_values(["task_id", "position", *values]).groupby(["task_id", "position"])[values].mean()
    described = rows.groupby("task_id")[["family", *names]].first()
    families, meta_features = described["family"].astype(str), described[names].to_numpy(dtype=np.float64)
    tasks, constant, failed = [], [], []
    groups = means.groupby(level="task_id", sort=True)
    for t, (task_id, group) in enumerate(groups):  # both sorted by name
        performance, test, duration = group.to_numpy(dtype=np.float64).T
        if not np.isfinite(performance).any():
            failed.append(str(task_id))
            continue
        task = TaskTrials(
            task_id=str(task_id),
            family=families.iloc[t],
            meta_features=meta_features[t],
            positions=group.index.get_level_values("position").to_numpy(dtype=np.int64),
            performance=np.where(np.isfinite(performance), performance, np.nanmin(performance)),
            test_performance=test,
            duration_s=duration,
        )
        if task.is_degenerate:
            constant.append(task.task_id)
        else:
            tasks.append(task)
    notes = (
        *_note(constant, "left out, since all their trials perform the same"),
        *_note(failed, "left out, since all their trials failed"),
    )
    return tuple(tasks), notes


def _note_trials(rows: pd.DataFrame, ok: "pd.Series[bool]") -> list[str]:
    """Say how many trials failed, and how many are repetitions."""
    notes = []
    failed, total = int((~ok).sum()), len(rows)
    if failed:
        notes.append(
            f"{failed} of {total} trials failed or have no finite performance: each counts as its task's worst."
        )
    columns = ["task_id", *(c for c in rows.columns if str(c).startswith(HP_PREFIX))]
    repeated = int(rows.duplicated(columns).sum())
    if repeated:
        notes.append(f"{repeated} of {total} trials repeat a configuration on its task: their mean counts.")
    return notes


def _note_choices(rows: pd.DataFrame, space: SearchSpace) -> list[str]:
    """Warn of text that differs in nearly every configuration, such as a name or a number with a unit."""
    names = [HP_PREFIX + hp.name for hp in space.hyperparameters if isinstance(hp, Categorical)]
    counts = {name: int(rows[name].nunique()) for name in names}
    configurations = len(rows[[HP_PREFIX + name for name in space.names]].drop_duplicates())
    return [
        f"{name} holds {count} different texts in {configurations} configurations: nothing carries over from one to "
        "another. Give numbers, or drop the column if it only names the configuration."
        for name, count in counts.items()
        if count > max(_MANY_CHOICES, configurations // 2)
    ]


def _note(task_ids: Sequence[str], what: str) -> list[str]:
    shown = ", ".join(task_ids[:_SHOWN]) + (", ..." if len(task_ids) > _SHOWN else ".")
    return [f"{len(task_ids)} tasks {what}: {shown}"] if task_ids else []


def _check_constant(rows: pd.DataFrame) -> None:
    """Family and meta-features describe the task: they must not change between its trials."""
    names = ["family", *(c for c in rows.columns if str(c).startswith(META_PREFIX))]
    counts = rows.groupby("task_id")[names].nunique()
    changing = counts.columns[(counts > 1).any()]
    if len(changing):
        task_id = counts.index[counts[changing[0]] > 1][0]
        raise InvalidTableError(
            f"Expected one value of {changing[0]} a task; {task_id} has {int(counts.loc[task_id, changing[0]])}. "
            "It must describe the task, not the trial: correct it."
        )
    bad = [n for n in names[1:] if np.isinf(rows[n].to_numpy(dtype=np.float64)).any()]
    if bad:
        raise InvalidTableError(
            f"Meta-features must be finite or missing; {bad[:_SHOWN]} hold infinities. Correct them."
        )
