"""Which lines of a table of trials count, and as what.

The rules that make outcomes comparable are here and nowhere else: a failed trial counts as its task's worst; a stopped
one is left out; the highest fidelity of the learner counts; repetitions of a configuration on a task are averaged, and
tell how much luck there is in one trial.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.hyperparameter import find_value
from metaflow_hpo.infer_space import infer_space
from metaflow_hpo.modalities.table.columns import describe_extremes
from metaflow_hpo.past_tasks import IntArray
from metaflow_hpo.space import Array, Categorical, Configuration, Hyperparameter, SearchSpace, configuration_id
from metaflow_hpo.tables import CURVE, HP_PREFIX, META_PREFIX, PADDED, read_configuration

FIDELITY_PREFIX = "fidelity_"
TRIAL_ID = "trial_id"
KNOWN_STATUSES: Mapping[str, Literal["ok", "failed", "stopped"]] = {
    **dict.fromkeys(("ok", "complete", "completed", "finished", "done", "terminated", "success", "succeeded"), "ok"),
    **dict.fromkeys(("failed", "fail", "crashed", "killed", "error", "errored", "invalid", "abandoned"), "failed"),
    **dict.fromkeys(("stopped", "pruned", "early_stopped", "preempted"), "stopped"),
}
"""What tools call the outcome of a trial, in lower case, by what it is called here."""
STEPS = ("epoch", "step", "iteration", "training_iteration", "global_step")
"""What a column is called that numbers the lines of a learning curve."""
_AGAIN = "again"
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
        positions: `(N,)` rows of the history's configurations, ascending.
        performance: `(N,)` finite, higher is better; a failed trial counts as the worst of the task.
        test_performance: `(N,)`, NaN where not known.
        duration_s: `(N,)` seconds, NaN where not known or failed.
        noise: Standard deviation of the performance of one trial among its repetitions; NaN where there are none.
    """

    task_id: str
    family: str
    meta_features: Array
    positions: IntArray
    performance: Array
    test_performance: Array
    duration_s: Array
    noise: float = float("nan")

    @property
    def is_degenerate(self) -> bool:
        """Whether all its configurations perform the same, so that no choice among them matters."""
        return bool(np.ptp(self.performance) <= _ROUNDING * np.abs(self.performance).max())

    def merged(self, position: IntArray) -> "TaskTrials":
        """Return the trials at new positions `(C,)`; those that become one are averaged."""
        at, group = np.unique(position[self.positions], return_inverse=True)
        counts = np.bincount(group)
        return replace(
            self,
            positions=at,
            performance=np.bincount(group, self.performance) / counts,
            test_performance=np.bincount(group, self.test_performance) / counts,
            duration_s=np.bincount(group, self.duration_s) / counts,
        )

    def on(self, position: IntArray) -> "TaskTrials":
        """Return the trials of some configurations.

        Args:
            position: `(C,)` where each configuration of the history is to be; -1 for those that are left out.
        """
        at = position[self.positions]
        kept = np.flatnonzero(at >= 0)
        kept = kept[np.argsort(at[kept], kind="stable")]
        rows = {name: getattr(self, name)[kept] for name in ("performance", "test_performance", "duration_s")}
        return replace(self, positions=at[kept], **rows)


@dataclass(frozen=True)
class TrialRows:
    """What a table of trials says; the attributes are those of `History`."""

    space: SearchSpace
    configurations: tuple[Configuration, ...]
    meta_feature_names: tuple[str, ...]
    tasks: tuple[TaskTrials, ...]
    notes: tuple[str, ...]
    learner: str | None


def read_rows(frame: pd.DataFrame, *, space: SearchSpace | None, learner: str | None, sign: float) -> TrialRows:
    """Read a table, see `History.from_frame`; `sign` turns its performances into what is higher where it is better."""
    rows, learner = _keep_learner(_check_columns(frame, space), learner)
    notes: list[str] = []
    rows = _keep_finished(rows, "status" in frame, notes)
    ok = np.isfinite(rows["performance"]) & rows["status"].eq("ok")
    rows = rows.assign(
        performance=(sign * rows["performance"]).where(ok),
        test_performance=(sign * rows["test_performance"]).where(ok),
        duration_s=rows["duration_s"].where(ok),
    )
    _note_trials(rows, ok, notes)
    if space is None:
        space = infer_space(rows)
        _note_choices(rows, space, notes)
        _note_none(rows, space, notes)
    else:
        space = _allow_missing(rows, space)
    _note_missing(rows, space, notes)
    configurations, rows = _read_configurations(rows, space, learner)
    names = tuple(sorted(str(c) for c in rows.columns if str(c).startswith(META_PREFIX)))
    _check_tasks(rows, names, notes)
    tasks, left_out = _read_tasks(rows, names)
    if not tasks:
        error = DegenerateTaskError if any("perform the same" in note for note in left_out) else InvalidTableError
        raise error(f"Expected tasks on which trials differ; found none ({' '.join(left_out)}). Search longer.")
    return TrialRows(space, configurations, names, tasks, (*left_out, *notes), learner)


def _check_columns(frame: pd.DataFrame, space: SearchSpace | None) -> pd.DataFrame:
    """Return a copy with the right types, and with every column that is asked for later."""
    always = [] if space is None else [HP_PREFIX + hp.name for hp in space.hyperparameters if not _may_miss(hp)]
    needed = ["task_id", "performance", *always]
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
    rows["status"] = read_statuses(rows["status"]) if "status" in rows else "ok"
    absent = [HP_PREFIX + name for name in (space.names if space else ()) if HP_PREFIX + name not in rows]
    for name in (*_OPTIONAL, *absent):
        if name not in rows:
            rows[name] = np.nan
    _check_numbers(rows)
    text = (
        set() if space is None else {HP_PREFIX + hp.name for hp in space.hyperparameters if isinstance(hp, Categorical)}
    )
    for name in rows.columns:
        if str(name).startswith(HP_PREFIX) and name not in text:
            rows[name] = _read_numbers(rows[name], keeps_zeros=space is None)
    return rows


def _may_miss(hp: Hyperparameter) -> bool:
    return hp.condition is not None or hp.optional


def _check_numbers(rows: pd.DataFrame) -> None:
    """Turn what must be numbers into float64, in place."""
    prefixes = (META_PREFIX, FIDELITY_PREFIX)
    numeric = ["performance", *_OPTIONAL, *(str(c) for c in rows.columns if str(c).startswith(prefixes))]
    wrong = [name for name in numeric if not is_numeric_dtype(rows[name]) and not rows[name].isna().all()]
    if wrong:
        present = rows[wrong[0]].dropna()
        odd = present[pd.to_numeric(present, errors="coerce").isna()]
        raise InvalidTableError(
            f"Expected numbers in {wrong[:_SHOWN]}; found {present.dtype} such as "
            f"{(odd if len(odd) else present).iloc[0]!r}. Correct or drop these columns."
        )
    for name in numeric:
        rows[name] = rows[name].astype(np.float64)
    if (rows["duration_s"] < 0).any():
        raise InvalidTableError(
            f"Expected durations of 0 s or more; found {rows['duration_s'].min():g}. Correct or drop duration_s."
        )


def read_statuses(statuses: pd.Series) -> pd.Series:
    """Return ok, failed or stopped; where there is none, the performance tells."""
    names = statuses.astype(object).where(statuses.notna(), "ok").astype(str).str.strip()
    # Enumerations are written as TrialState.COMPLETE.
    mapped = names.str.lower().str.split(".").str[-1].map(KNOWN_STATUSES)
    unknown = names[mapped.isna()].value_counts()
    if len(unknown):
        found = ", ".join(f"{name!r} ({count} trials)" for name, count in unknown.head(_SHOWN).items())
        raise InvalidTableError(
            f"Expected the status ok, failed or stopped, or what other tools call these ({', '.join(KNOWN_STATUSES)}); "
            f"found {found}. Map each to one of the three, or leave these lines out."
        )
    return mapped


def _read_numbers(column: pd.Series, *, keeps_zeros: bool) -> pd.Series:
    """Return a hyperparameter's values as numbers if all of them are written as such, else as they are.

    Args:
        column: The values.
        keeps_zeros: Whether whole numbers are text where one begins with a zero.
    """
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
    if keeps_zeros and any(isinstance(value, str) and PADDED.fullmatch(value.strip()) for value in present):
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    return column if numbers[present.index].isna().any() else numbers


def _keep_learner(rows: pd.DataFrame, learner: str | None) -> tuple[pd.DataFrame, str | None]:
    """Return the trials of one learner, and its name."""
    if "learner" not in rows:
        return rows, learner
    names = rows["learner"].dropna().astype(str)
    found = sorted(names.unique())
    if learner is None and len(found) > 1:
        raise InvalidTableError(f"Expected the trials of one learner; the table holds {found}. Say which (--learner).")
    if learner is None:
        return rows, found[0] if found else None
    own = rows.loc[rows["learner"].astype(str) == learner]
    if own.empty:
        raise InvalidTableError(f"No trial of the learner {learner!r} in the table; it has {found}.")
    return own, learner


def _keep_finished(rows: pd.DataFrame, is_told: bool, notes: list[str]) -> pd.DataFrame:
    """Return one line a training that ran to its end: no stopped one, of curves the last line, the highest fidelity."""
    rows = _number_steps(rows)
    fidelities = sorted(str(c) for c in rows.columns if str(c).startswith(FIDELITY_PREFIX))
    if TRIAL_ID in rows and fidelities:
        rows = _keep_last_lines(rows, fidelities, is_told, notes)
    stopped = int(rows["status"].eq("stopped").sum())
    if stopped:
        notes.append(f"{stopped} of {len(rows)} trials were stopped: what they would have reached is not known.")
        rows = rows.loc[rows["status"].ne("stopped")]
        if rows.empty:
            raise InvalidTableError("Expected trials that ran to their end; all were stopped. Search longer.")
    rows = keep_highest_fidelity(rows, notes)
    return _drop_duplicates(rows, notes)


def _number_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Name the trial of each line where lines of one configuration differ by a step: they are its learning curve."""
    named = [name for name in rows.columns if str(name).lower() in STEPS and is_numeric_dtype(rows[name])]
    if len(named) != 1 or any(str(c).startswith(FIDELITY_PREFIX) for c in rows.columns):
        return rows
    hps = [name for name in rows.columns if str(name).startswith(HP_PREFIX)]
    keys = [name for name in ("task_id", "learner", "seed", TRIAL_ID, *hps) if name in rows]
    steps = rows.groupby(keys, dropna=False)[named[0]]
    if steps.nunique().max() < 2:
        return rows
    again = rows.groupby([*keys, named[0]], dropna=False).cumcount()
    numbers = rows.assign(**{_AGAIN: again}).groupby([*keys, _AGAIN], dropna=False).ngroup()
    return rows.assign(**{TRIAL_ID: numbers, f"{FIDELITY_PREFIX}{str(named[0]).lower()}s": rows[named[0]]})


def _keep_last_lines(rows: pd.DataFrame, fidelities: list[str], is_told: bool, notes: list[str]) -> pd.DataFrame:
    """Return the end of each trial's learning curve; where a status says ok or failed, that is a whole training."""
    keys = ["task_id", TRIAL_ID]
    ordered = rows.sort_values([*keys, *fidelities], kind="stable")
    is_curve = ordered.duplicated(keys, keep=False)
    last = ordered.loc[~ordered.duplicated(keys, keep="last")].copy()
    if len(last) == len(rows):
        return rows
    notes.append(f"{len(rows)} lines are the learning curves of {len(last)} trials: the last line of each counts.")
    if is_told:
        ended = is_curve.loc[~ordered.duplicated(keys, keep="last")] & last["status"].ne("stopped")
        last.loc[ended, fidelities] = rows[fidelities].max().to_numpy()
    return last


def keep_highest_fidelity(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return one learner's trials of the highest fidelity; where none is recorded, trials are whole trainings.

    Args:
        rows: Trials with columns `fidelity_<unit>`, or without.
        notes: What was left out is appended.
    """
    for name in sorted(str(c) for c in rows.columns if str(c).startswith(FIDELITY_PREFIX)):
        if not rows[name].notna().any():
            continue
        highest = float(rows[name].max())
        kept = rows.loc[rows[name].fillna(highest) == highest]
        if len(kept) < len(rows):
            unit = name.removeprefix(FIDELITY_PREFIX)
            left = len(rows) - len(kept)
            notes.append(f"{left} of {len(rows)} trials, of fewer than {highest:g} {unit}, are left out.")
            lost = sorted(set(rows["task_id"]) - set(kept["task_id"]))
            notes += _note(lost, f"left out, since they have no trial of {highest:g} {unit}")
        rows = kept
    return rows


def _drop_duplicates(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return each trial once where a line that can only be of the same trial is there twice."""
    told = [name for name in (TRIAL_ID, "seed", "duration_s") if name in rows and rows[name].notna().any()]
    if not told:
        return rows
    flat = [name for name in rows.columns if name != CURVE]
    twice = rows.duplicated(flat) & rows[told].notna().any(axis=1)
    if twice.any():
        notes.append(f"{int(twice.sum())} of {len(rows)} lines are there before: each trial counts once.")
    return rows.loc[~twice]


def _note_trials(rows: pd.DataFrame, ok: "pd.Series[bool]", notes: list[str]) -> None:
    """Say how many trials failed, and how many are repetitions."""
    failed, total = int((~ok).sum()), len(rows)
    if failed:
        notes.append(
            f"{failed} of {total} trials failed or have no finite performance: each counts as its task's worst."
        )
    if strange := describe_extremes(rows.loc[ok, "performance"]):
        notes.append(f"Performances: {strange}. Leave lines out that hold no performance, or give them a status.")
    columns = ["task_id", *(c for c in rows.columns if str(c).startswith(HP_PREFIX))]
    repeated = int(rows.duplicated(columns).sum())
    if repeated:
        notes.append(f"{repeated} of {total} trials repeat a configuration on its task: their mean counts.")


def _note_choices(rows: pd.DataFrame, space: SearchSpace, notes: list[str]) -> None:
    """Warn of text that differs in nearly every configuration, such as a name or a number with a unit."""
    names = [HP_PREFIX + hp.name for hp in space.hyperparameters if isinstance(hp, Categorical)]
    counts = {name: int(rows[name].nunique()) for name in names}
    configurations = len(rows[[HP_PREFIX + name for name in space.names]].drop_duplicates())
    notes += [
        f"{name} holds {count} different texts in {configurations} configurations: nothing carries over from one to "
        "another. Give numbers, or drop the column if it only names the configuration."
        for name, count in counts.items()
        if count > max(_MANY_CHOICES, configurations // 2)
    ]


def _allow_missing(rows: pd.DataFrame, space: SearchSpace) -> SearchSpace:
    """Return the space with every hyperparameter optional that trials lack although it plays a role in them."""
    found = []
    for hp in space.hyperparameters:
        active = pd.Series(True, rows.index)
        if hp.condition is not None:
            spelled = [text for v in hp.condition.values for text in (str(v), json.dumps(v), f"{v}.0")]
            active = rows[HP_PREFIX + hp.condition.parent].astype(str).isin(spelled)
        column = rows[HP_PREFIX + hp.name]
        has_none = isinstance(hp, Categorical) and find_value(hp.choices, None) is not None
        # An empty cell is the choice None, unless that is written out.
        is_missing = bool((active & column.isna()).any()) and not (has_none and not column.eq("null").any())
        found.append(replace(hp, optional=True) if is_missing and not hp.optional else hp)
    return SearchSpace(tuple(found))


def _note_none(rows: pd.DataFrame, space: SearchSpace, notes: list[str]) -> None:
    for hp in space.hyperparameters:
        if isinstance(hp, Categorical) and None in hp.choices:
            count = int(rows[HP_PREFIX + hp.name].isna().sum())
            notes.append(f"{hp.name} is missing in {count} of {len(rows)} trials: that counts as the choice None.")


def _note_missing(rows: pd.DataFrame, space: SearchSpace, notes: list[str]) -> None:
    for hp in space.hyperparameters:
        if hp.optional:
            count = int(rows[HP_PREFIX + hp.name].isna().sum())
            notes.append(f"{hp.name} is missing in {count} of {len(rows)} trials, for no known reason: not used there.")


def _read_configurations(
    rows: pd.DataFrame, space: SearchSpace, learner: str | None
) -> tuple[tuple[Configuration, ...], pd.DataFrame]:
    """Return the distinct configurations in the order of their values, and the lines with their `position`."""
    columns = [HP_PREFIX + name for name in space.names]
    rows = rows.assign(position=rows.groupby(columns, dropna=False, sort=True).ngroup())
    distinct = rows.drop_duplicates("position").sort_values("position")
    found: dict[str, Configuration] = {}
    position = np.empty(len(distinct), dtype=np.int64)
    order: dict[str, int] = {}
    for i, row in enumerate(distinct[["task_id", *columns]].to_dict("records")):
        try:
            configuration = read_configuration(row, space)
        except SearchSpaceMismatchError as error:
            raise SearchSpaceMismatchError(
                f"A configuration{f' of {learner}' if learner else ''}, tried on the task {row['task_id']}: {error} "
                "Correct its trials in the table, or leave them out."
            ) from error
        # Numbers that differ beyond the digits that count are one configuration.
        name = configuration_id(configuration)
        found.setdefault(name, configuration)
        position[i] = order.setdefault(name, len(order))
    return tuple(found.values()), rows.assign(position=position[rows["position"].to_numpy()])


def _check_tasks(rows: pd.DataFrame, names: Sequence[str], notes: list[str]) -> None:
    """Check what describes tasks: it should not change between their trials."""
    families = rows.groupby("task_id")["family"].nunique()
    if (families > 1).any():
        task_id = families.index[families > 1][0]
        raise InvalidTableError(
            f"Expected one family a task; {task_id} has {int(families[task_id])}. "
            "It must describe the task, not the trial: correct it."
        )
    bad = [name for name in names if np.isinf(rows[name].to_numpy(dtype=np.float64)).any()]
    if bad:
        raise InvalidTableError(
            f"Meta-features must be finite or missing; {bad[:_SHOWN]} hold infinities. Correct them."
        )
    changing = [name for name in names if rows.groupby("task_id")[name].nunique().max() > 1]
    if changing:
        more = ", ..." if len(changing) > _SHOWN else ""
        notes.append(f"{', '.join(changing[:_SHOWN])}{more} differ between trials of a task: their mean counts.")


def _read_tasks(rows: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[TaskTrials, ...], list[str]]:
    """Return the tasks on which configurations differ, and a note on the others."""
    values = ["performance", *_OPTIONAL]
    # Sorted first: the mean of repetitions must not depend on the order of the lines.
    ordered = rows.sort_values(["task_id", "position", *values])
    repetitions = ordered.groupby(["task_id", "position"])
    means, noise = repetitions[values].mean(), _measure_noise(repetitions["performance"])
    by_task = ordered.groupby("task_id")
    described = by_task[["family", *names]].first()
    changing = [name for name in names if by_task[name].nunique().max() > 1]
    described[changing] = by_task[changing].mean()
    tasks, constant, failed = [], [], []
    for (task_id, group), (family, *meta_features) in zip(
        means.groupby(level="task_id", sort=True), described.itertuples(index=False), strict=True
    ):
        performance, test, duration = group.to_numpy(dtype=np.float64).T
        if not np.isfinite(performance).any():
            failed.append(str(task_id))
            continue
        task = TaskTrials(
            task_id=str(task_id),
            family=str(family),
            meta_features=np.array(meta_features, dtype=np.float64),
            positions=group.index.get_level_values("position").to_numpy(dtype=np.int64),
            performance=np.where(np.isfinite(performance), performance, np.nanmin(performance)),
            test_performance=test,
            duration_s=duration,
            noise=noise.get(str(task_id), float("nan")),
        )
        if task.is_degenerate:
            constant.append(task.task_id)
        else:
            tasks.append(task)
    notes = [
        *_note(constant, "left out, since all their trials perform the same"),
        *_note(failed, "left out, since all their trials failed"),
    ]
    return tuple(tasks), notes


def _measure_noise(performance: Any) -> dict[str, float]:
    """Return the standard deviation among repetitions by task, pooled over its configurations."""
    counted = performance.agg(["count", "var"])
    counted = counted.loc[counted["count"] > 1]
    freedom = counted["count"] - 1
    pooled = (counted["var"] * freedom).groupby(level="task_id").sum() / freedom.groupby(level="task_id").sum()
    return {str(task_id): float(np.sqrt(variance)) for task_id, variance in pooled.items()}


def _note(task_ids: Sequence[str], what: str) -> list[str]:
    shown = ", ".join(task_ids[:_SHOWN]) + (", ..." if len(task_ids) > _SHOWN else ".")
    return [f"{len(task_ids)} tasks {what}: {shown}"] if task_ids else []
