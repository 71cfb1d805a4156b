"""One history of what a source found: tasks named, hyperparameters told from the rest, all of it counted."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.past_trials.left_out import why_not
from metaflow_hpo.adapters.past_trials.source import FROM_NAME, Direction, Found, PastTrial, Wanted
from metaflow_hpo.adapters.past_trials.spaces import build_space, united, varies, with_nothing_chosen
from metaflow_hpo.adapters.past_trials.values import flatten, is_finite, to_number
from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.history import History
from metaflow_hpo.history_files import write_trials
from metaflow_hpo.hyperparameter import Categorical, Hyperparameter, is_number
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.tables import HP_PREFIX, write_choice

META_PREFIX = "mf_"


@dataclass(frozen=True)
class Imported:
    """Past trials of another tool as a table of trials.

    Attributes:
        frame: One line a trial, performance in the metric's own units.
        space: Their search space.
        metric: Name of the metric.
        direction: Whether its higher or lower values are better.
        kept: Trials by status.
        dropped: Trials that are not in the table, by reason.
        left_out: Names that are no hyperparameters, with the reason.
        notes: What a person should know, sentences.
    """

    frame: pd.DataFrame
    space: SearchSpace
    metric: str
    direction: Direction
    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    left_out: Mapping[str, str]
    notes: Sequence[str]

    @property
    def said(self) -> dict[str, Any]:
        """What the lines of the table cannot say, as `History.from_file` reads it."""
        return {
            "space": self.space.to_json(),
            "lower_is_better": self.direction == "min",
            "notes": list(self.sentences),
        }

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was kept, dropped and left out, for people."""
        sentences = [f"{count} trials left out: {reason}." for reason, count in self.dropped.items()]
        if self.left_out:
            reasons = "; ".join(f"{name} ({reason})" for name, reason in self.left_out.items())
            sentences.append(f"No hyperparameters: {reasons}.")
        return (*sentences, *self.notes)

    def write(self, path: Path) -> None:
        """Write the table with its space and direction as parquet.

        Raises:
            InvalidTableError: If the ending is another one.
        """
        if path.suffix.lower() != ".parquet":
            raise InvalidTableError(f"Expected a name that ends in .parquet; got {path.name}. Choose another one.")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trials(path, self.frame, self.said)

    def to_history(self, space: SearchSpace | None = None) -> History:
        """Return the history of these trials.

        Args:
            space: Search space; the trials' own unless given.

        Raises:
            InvalidTableError: If no task is left on which trials differ.
            SearchSpaceMismatchError: If a configuration lies outside a given space.
        """
        return History.from_file(self.frame, self.said, space=space)

    def to_json(self) -> dict[str, Any]:
        """Return what was kept and what was dropped, JSON-ready."""
        return {
            "metric": self.metric,
            "direction": self.direction,
            "tasks": self.frame["task_id"].value_counts(sort=False).to_dict(),
            "trials": len(self.frame),
            "kept": dict(self.kept),
            "dropped": dict(self.dropped),
            "space": self.space.to_json(),
            "left_out": dict(self.left_out),
            "meta_features": [str(c) for c in self.frame.columns if str(c).startswith(META_PREFIX)],
            "notes": list(self.notes),
        }


def build(found: Found, wanted: Wanted) -> Imported:
    """Turn what a source found into a table of trials.

    Raises:
        InvalidTableError: If no trial is left, a label is not there, or nothing varies.
    """
    dropped: Counter[str] = Counter(found.dropped)
    trials = [_judged(trial, found.metric) for trial in found.trials]
    without = sum(trial is None for trial in trials)
    if without:
        dropped[f"no value of {found.metric}"] += without
    kept = [trial for trial in trials if trial is not None]
    if not kept:
        raise InvalidTableError(
            f"Expected finished trials with the metric {found.metric!r}; none is left "
            f"({'; '.join(f'{count} dropped: {why}' for why, count in dropped.items()) or 'there are no trials'})."
        )
    label = wanted.task or found.task_label
    tasks = [_task_of(trial, label) for trial in kept]
    if any(task is None for task in tasks):
        dropped[f"no {label} that names the task"] += sum(task is None for task in tasks)
        kept = [trial for trial, task in zip(kept, tasks, strict=True) if task is not None]
    names = [task for task in tasks if task is not None]
    if not kept:
        raise InvalidTableError(f"No trial has {label!r} to name its task; they have {_labels(found.trials)}.")
    configurations = [flatten(trial.configuration) for trial in kept]
    notes = list(found.notes)
    valued = sum(trial.status == "failed" and is_finite(trial.value) for trial in kept)
    if valued:
        notes.append(f"{valued} failed trials have a value, which is not used: they did not end well.")
    left_out = dict(found.left_out)
    known = {name: hp for name, hp in united(found.known).items() if varies(hp)}
    chosen = _choose(configurations, names, known, wanted, left_out)
    if not found.knows_conditions:
        nothing = with_nothing_chosen(configurations, names, [n for n in chosen if n not in known])
        if nothing:
            notes.append(f"Empty cells of {listed(nothing)} were read as the choice None.")
    _assume(configurations, known, wanted, notes)
    space = build_space(configurations, names, known, chosen, knows_conditions=found.knows_conditions)
    columns = {HP_PREFIX + hp.name: _column(hp, configurations) for hp in space.hyperparameters}
    frame = pd.DataFrame(
        {
            "task_id": names,
            "family": [str(_label(trial, "family") or task) for trial, task in zip(kept, names, strict=True)],
            **columns,
            **_features(kept, names, (*found.features, *wanted.features), notes),
            "performance": [math.nan if t.status != "ok" or t.value is None else t.value for t in kept],
            "test_performance": [math.nan if t.test_value is None else t.test_value for t in kept],
            "duration_s": [math.nan if t.duration_s is None else t.duration_s for t in kept],
            **_fidelity(kept, found.fidelity_unit),
            "status": [t.status for t in kept],
            "reason": [t.reason for t in kept],
            "learning_curve": pd.Series([np.array(t.curve, dtype=np.float64) for t in kept], dtype="object"),
        }
    )
    statuses: Counter[str] = Counter(t.status for t in kept)
    return Imported(frame, space, found.metric, found.direction, statuses, dropped, left_out, notes)


def _judged(trial: PastTrial, metric: str) -> PastTrial | None:
    """Return the trial, failed where its value is not finite; None where a finished one has no value."""
    if trial.status != "ok":
        return trial if trial.reason else replace(trial, reason=f"{trial.status} according to the tool")
    if trial.value is None:
        return None
    return trial if is_finite(trial.value) else replace(trial, status="failed", reason=f"{metric} is {trial.value}")


def _task_of(trial: PastTrial, label: str) -> str | None:
    kind, colon, name = label.partition(":")
    if kind == FROM_NAME and colon:
        return name
    value = _label(trial, label)
    return None if value is None or str(value).strip() == "" else str(value)


def _label(trial: PastTrial, label: str) -> Any:
    """Return a label by its whole name, or by what follows its kind where only one ends so."""
    if label in trial.labels:
        return trial.labels[label]
    ending = [name for name in trial.labels if name.partition(":")[2] == label]
    return trial.labels[ending[0]] if len(ending) == 1 else None


def _labels(trials: Sequence[PastTrial]) -> str:
    names = dict.fromkeys(name for trial in trials for name in trial.labels)
    return listed(list(names), 15) if names else f"no labels; name the task with --task {FROM_NAME}:NAME"


def _choose(
    configurations: Sequence[dict[str, Any]],
    tasks: Sequence[str],
    known: Mapping[str, Hyperparameter],
    wanted: Wanted,
    left_out: dict[str, str],
) -> list[str]:
    """Return the names that are hyperparameters, and say why the others are none."""
    labels = {label.rpartition(":")[2] for label in (wanted.task, *wanted.features) if label is not None}
    chosen = []
    for name in sorted({name for configuration in configurations for name in configuration}):
        values = [configuration[name] for configuration in configurations if name in configuration]
        reason = why_not(name, values, len(configurations), has_range=name in known)
        if name in wanted.leave_out:
            reason = "left out as asked"
        elif name in labels:
            reason = "describes the task"
        elif name not in wanted.assume and reason is None and name not in known:
            reason = _why_of_tasks(values, [t for c, t in zip(configurations, tasks, strict=True) if name in c])
        if reason is None or (name in wanted.assume and reason.startswith("constant")):
            chosen.append(name)
        else:
            left_out[name] = reason
    if not chosen:
        reasons = "; ".join(f"{name} ({why})" for name, why in list(left_out.items())[:10])
        raise InvalidTableError(
            f"Expected hyperparameters that vary; found {reasons or 'none at all'}. Check the address and the metric, "
            "or add trials of other configurations."
        )
    return chosen


def _why_of_tasks(values: Sequence[Any], tasks: Sequence[str]) -> str | None:
    """Return why a value that is the same within every task but not over tasks is none of a hyperparameter."""
    per_task: dict[str, set[str]] = {}
    for value, task in zip(values, tasks, strict=True):
        per_task.setdefault(task, set()).add(repr(value))
    counts = Counter(tasks)
    is_constant = all(len(found) == 1 for found in per_task.values())
    if len(per_task) > 1 and is_constant and min(counts.values()) > 1:
        return "constant within every task"
    return None


def _assume(
    configurations: Sequence[dict[str, Any]],
    known: Mapping[str, Hyperparameter],
    wanted: Wanted,
    notes: list[str],
) -> None:
    """Fill in what trials lack that are older than a hyperparameter."""
    for name, value in wanted.assume.items():
        condition = known[name].condition if name in known else None
        lacking = [c for c in configurations if name not in c and (condition is None or condition.holds(c))]
        for configuration in lacking:
            configuration[name] = value
        notes.append(f"{name} = {value} was assumed in {len(lacking)} trials that lack it.")


def _column(hp: Hyperparameter, configurations: Sequence[Mapping[str, Any]]) -> "pd.Series[Any]":
    if isinstance(hp, Categorical) and not all(is_number(choice) for choice in hp.choices):
        # A chosen None is written out, since an empty cell says that there is no value.
        return pd.Series([write_choice(c[hp.name]) if hp.name in c else None for c in configurations], dtype="str")
    return pd.Series([float(c.get(hp.name, math.nan)) for c in configurations])


def _fidelity(trials: Sequence[PastTrial], unit: str) -> dict[str, list[float]]:
    if all(trial.fidelity is None for trial in trials):
        return {}
    return {f"fidelity_{unit}": [math.nan if t.fidelity is None else t.fidelity for t in trials]}


def _features(
    trials: Sequence[PastTrial], tasks: Sequence[str], names: Sequence[str], notes: list[str]
) -> dict[str, list[float]]:
    """Return the numbers among the labels that a person says describe the task, one value a task."""
    columns: dict[str, list[float]] = {}
    for name in names:
        per_task: dict[str, set[float]] = {}
        for trial, task in zip(trials, tasks, strict=True):
            number = to_number(_label(trial, name))
            if is_finite(number) and number is not None:
                per_task.setdefault(task, set()).add(number)
        if not per_task:
            raise InvalidTableError(
                f"No trial has a number in {name!r} that could describe its task; they have {_labels(trials)}."
            )
        changing = [task for task, values in per_task.items() if len(values) > 1]
        if changing:
            raise InvalidTableError(
                f"{name!r} has several values within the task {changing[0]!r}: it does not describe the task. "
                "Leave it out of --task-features."
            )
        lacking = sorted(set(tasks) - set(per_task))
        if lacking:
            notes.append(f"{name} is not known of {listed(lacking)}.")
        values = {task: next(iter(found)) for task, found in per_task.items()}
        column = META_PREFIX + name.rpartition(":")[2].removeprefix(META_PREFIX)
        columns[column] = [values.get(task, math.nan) for task in tasks]
    return columns
