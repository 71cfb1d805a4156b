"""The history: trials of one learner over tasks, whether they shipped, were collected or imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.alignment import assumed, candidates, translate, widen, without_inactive
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history_files import read_trials, write_trials
from metaflow_hpo.metric import Metric
from metaflow_hpo.past_tasks import IntArray, PastTasks, ScoredTrials, View, see_tasks, share_lengths
from metaflow_hpo.space import Array, Categorical, Configuration, SearchSpace, Value, configuration_id
from metaflow_hpo.tables import HP_PREFIX, write_choice
from metaflow_hpo.trial_rows import TaskTrials, read_rows

__all__ = ["Array", "History", "IntArray", "TaskTrials", "read_curves"]

LOSS = Metric("performance", "min")
"""Any loss of which nothing else is known."""
MIN_SPAN = 0.02
"""A task whose best and worst performance are closer than this tells configurations apart by noise alone."""


@dataclass(frozen=True)
class History:
    """Trials of one learner on T tasks.

    Attributes:
        space: Search space, given or inferred.
        configurations: `(C,)` distinct configurations that some task tried.
        meta_feature_names: `(M,)` with the prefix `mf_`.
        tasks: `(T,)` what each of them tried.
        notes: What was left out and why, sentences for people.
        learner: Name of the learner, where it is known.
        metric: What performances were before they were turned so that higher is better, where it is known.
    """

    space: SearchSpace
    configurations: tuple[Configuration, ...]
    meta_feature_names: tuple[str, ...]
    tasks: tuple[TaskTrials, ...]
    notes: tuple[str, ...] = ()
    learner: str | None = None
    metric: Metric | None = None
    _scored: dict[int, ScoredTrials] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        space: SearchSpace | None = None,
        learner: str | None = None,
        lower_is_better: bool = False,
        metric: Metric | None = None,
    ) -> "History":
        """Read a table of trials; the order of its lines changes nothing.

        Args:
            frame: One line a trial: `task_id`, `hp_*`, `performance`; optional `family` (the task's name unless
                given), `mf_*`, `test_performance`, `duration_s`, `learner`, `fidelity_<unit>`, `trial_id`, `seed`, and
                `status`: ok, failed or stopped, or what other tools call these. Several lines of one `trial_id` are
                its learning curve. Numbers written as text are read as numbers.
            space: Search space; inferred from the columns unless given.
            learner: Whose trials to keep; needed where the table holds those of several.
            lower_is_better: The performance is a loss or an error.
            metric: What the performance is, where that has a name; turned already unless `lower_is_better`.

        Raises:
            InvalidTableError: If a column is missing or of the wrong type, a status is not known, or no task is left.
            DegenerateTaskError: If every configuration performs the same on every task.
            SearchSpaceMismatchError: If a configuration lies outside the given space.
        """
        sign = -1.0 if lower_is_better else 1.0
        found = read_rows(frame, space=space, learner=learner, sign=sign)
        return cls(**vars(found), metric=metric or (LOSS if lower_is_better else None))

    @classmethod
    def from_arrays(
        cls,
        space: SearchSpace,
        configurations: Sequence[Configuration],
        task_ids: Sequence[str],
        families: Sequence[str],
        performance: Array,
        *,
        meta_feature_names: Sequence[str] = (),
        meta_features: Array | None = None,
        duration: Array | None = None,
        test_performance: Array | None = None,
        learner: str | None = None,
        metric: Metric | None = None,
    ) -> "History":
        """Build a history from dense arrays.

        Args:
            space: Search space.
            configurations: `(C,)`.
            task_ids: `(T,)` names.
            families: `(T,)` their families.
            performance: `(T, C)` higher is better; NaN where a configuration was never tried.
            meta_feature_names: `(M,)` with the prefix `mf_`.
            meta_features: `(T, M)` raw, NaN where not known.
            duration: `(T, C)` seconds, NaN where not known.
            test_performance: `(T, C)` on unseen rows, NaN where not known.
            learner: Name of the learner.
            metric: What the performances were.

        Raises:
            InvalidTableError: If the shapes do not belong together.
        """
        shape = (len(task_ids), len(configurations))
        known = np.full((shape[0], 0), np.nan) if meta_features is None else meta_features
        seconds = np.full(shape, np.nan) if duration is None else duration
        test = np.full(shape, np.nan) if test_performance is None else test_performance
        if performance.shape != shape or seconds.shape != shape or test.shape != shape:
            raise InvalidTableError(
                f"Expected performances and durations of shape {shape} (tasks, configurations); got "
                f"{performance.shape}, {test.shape} and {seconds.shape}."
            )
        if known.shape != (shape[0], len(meta_feature_names)):
            raise InvalidTableError(
                f"Expected {len(meta_feature_names)} meta-features of {shape[0]} tasks; got shape {known.shape}."
            )
        tasks = []
        for t, (task_id, family) in enumerate(zip(task_ids, families, strict=True)):
            tried = np.flatnonzero(np.isfinite(performance[t]))
            values = (table[t, tried] for table in (performance, test, seconds))
            tasks.append(TaskTrials(task_id, family, known[t], tried, *values))
        return cls(
            space=space,
            configurations=tuple(configurations),
            meta_feature_names=tuple(meta_feature_names),
            tasks=tuple(tasks),
            learner=learner,
            metric=metric,
        )

    @classmethod
    def from_past(cls, past: PastTasks, *, learner: str | None = None, metric: Metric | None = None) -> "History":
        """Return what past tasks tried of their pool; what was filled in is not known again."""
        return cls.from_arrays(
            past.space,
            past.configurations,
            past.task_ids,
            past.families,
            np.where(past.deviation > 0, np.nan, past.performance),
            meta_feature_names=past.meta_feature_names,
            meta_features=past.meta_features,
            duration=past.duration,
            test_performance=past.test_performance,
            learner=learner,
            metric=metric,
        )

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        space: SearchSpace | None = None,
        learner: str | None = None,
        lower_is_better: bool | None = None,
        task_column: str | None = None,
    ) -> "History":
        """Read a file of trials, see `from_frame`; one that `write` has written says the rest itself.

        Args:
            path: csv, JSON lines, parquet or Excel.
            space: Search space; that of the file, or else inferred, unless given.
            learner: Whose trials to keep.
            lower_is_better: Whether the performance is a loss; as the file says, or else not, unless given.
            task_column: Column that names the task; `task_id` unless given.

        Raises:
            InvalidTableError: If the file is missing, damaged or not a table of trials.
            SearchSpaceMismatchError: If a configuration lies outside the space.
        """
        return cls.from_file(
            *read_trials(Path(path)),
            space=space,
            learner=learner,
            lower_is_better=lower_is_better,
            task_column=task_column,
        )

    @classmethod
    def from_file(
        cls,
        frame: pd.DataFrame,
        said: Mapping[str, Any],
        *,
        space: SearchSpace | None = None,
        learner: str | None = None,
        lower_is_better: bool | None = None,
        task_column: str | None = None,
    ) -> "History":
        """Read the table that a file holds and what the file says of it, see `read`."""
        if task_column not in (None, "task_id") and task_column in frame:
            frame = frame.drop(columns="task_id", errors="ignore").rename(columns={task_column: "task_id"})
        if space is None and "space" in said:
            space = SearchSpace.from_json(said["space"])
        is_loss = said.get("lower_is_better", False) if lower_is_better is None else lower_is_better
        metric = Metric.read(said["metric"]) if said.get("metric") else None
        found = cls.from_frame(frame, space=space, learner=learner, lower_is_better=bool(is_loss), metric=metric)
        noise = said.get("noise", {})
        tasks = tuple(replace(task, noise=float(noise.get(task.task_id, task.noise))) for task in found.tasks)
        return replace(found, tasks=tasks, notes=(*said.get("notes", ()), *found.notes))

    def write(self, path: str | Path) -> None:
        """Write a file that `read` reads back.

        Args:
            path: `.parquet`, which holds the space and the direction as well; or `.csv`, with these in
                `<path>.json` beside it.

        Raises:
            InvalidTableError: If the ending is another one.
        """
        said = {
            "space": self.space.to_json(),
            "lower_is_better": self.lower_is_better,
            "metric": None if self.metric is None else self.metric.to_json(),
            "noise": {task.task_id: task.noise for task in self.tasks if np.isfinite(task.noise)},
            "notes": list(self.notes),
        }
        write_trials(Path(path), self.to_frame(), said)

    def to_frame(self) -> pd.DataFrame:
        """Return one line a configuration on a task, performances in the metric's own units."""
        names = [f"{HP_PREFIX}{name}" for name in self.space.names]
        columns = {}
        for hp, name in zip(self.space.hyperparameters, names, strict=True):
            if isinstance(hp, Categorical):
                texts = [write_choice(c[hp.name]) if hp.name in c else None for c in self.configurations]
                columns[name] = pd.Series(texts, dtype="str")
            else:
                columns[name] = pd.Series([c.get(hp.name) for c in self.configurations], dtype="float64")
        configurations = pd.DataFrame(columns)
        parts = []
        for task in self.tasks:
            part = configurations.iloc[task.positions].reset_index(drop=True)
            known = {
                "task_id": task.task_id,
                "family": task.family,
                **({} if self.learner is None else {"learner": self.learner}),
                "performance": self.sign * task.performance,
                "test_performance": self.sign * task.test_performance,
                "duration_s": task.duration_s,
            }
            described = dict(zip(self.meta_feature_names, task.meta_features, strict=True))
            parts.append(pd.concat([pd.DataFrame(known), part, pd.DataFrame([described] * len(part))], axis=1))
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def points(self) -> Array:
        """`(C, D)` encoded configurations: numbers in [0, 1], choices one-hot, a flag where one may be absent."""
        return self.space.encode(self.configurations)

    @cached_property
    def configuration_ids(self) -> tuple[str, ...]:
        """`(C,)` names of the configurations by their content."""
        return tuple(configuration_id(configuration) for configuration in self.configurations)

    @property
    def task_ids(self) -> tuple[str, ...]:
        """`(T,)` names of the tasks."""
        return tuple(task.task_id for task in self.tasks)

    @property
    def families(self) -> tuple[str, ...]:
        """`(T,)` family of each task."""
        return tuple(task.family for task in self.tasks)

    @cached_property
    def meta_features(self) -> Array:
        """`(T, M)` raw, NaN where not known."""
        return np.stack([task.meta_features for task in self.tasks]) if self.tasks else np.empty((0, 0))

    def __repr__(self) -> str:
        """Say how much there is."""
        trials = sum(len(task.positions) for task in self.tasks)
        name = "" if self.learner is None else f" of {self.learner}"
        return (
            f"History({trials} trials{name} on {len(self.tasks)} tasks of {len(set(self.families))} families, "
            f"{len(self.configurations)} configurations of {', '.join(self.space.names)})"
        )

    @property
    def is_shared(self) -> bool:
        """Whether every task has every configuration."""
        return all(len(task.positions) == len(self.configurations) for task in self.tasks)

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is a loss or an error: performances are its negatives."""
        return self.metric is not None and self.metric.direction == "min"

    @property
    def sign(self) -> float:
        """What turns a performance into the metric's own units, and back."""
        return -1.0 if self.lower_is_better else 1.0

    @cached_property
    def performance(self) -> Array:
        """`(T, C)` performance, higher is better; NaN where a configuration was never tried on a task."""
        return self._spread("performance")

    @cached_property
    def duration(self) -> Array:
        """`(T, C)` seconds a trial took; NaN where never tried, failed or not known."""
        return self._spread("duration_s")

    def _spread(self, name: str) -> Array:
        dense = np.full((len(self.tasks), len(self.configurations)), np.nan)
        for t, task in enumerate(self.tasks):
            dense[t, task.positions] = getattr(task, name)
        return dense

    @property
    def best(self) -> Array:
        """`(T,)` best known performance of each task."""
        return np.array([task.performance.max() for task in self.tasks])

    @property
    def worst(self) -> Array:
        """`(T,)` worst known performance of each task."""
        return np.array([task.performance.min() for task in self.tasks])

    @property
    def normalised(self) -> Array:
        """`(T, C)` performance scaled to [0, 1] between the worst and the best known of a task (NaN = never tried)."""
        low, high = self.worst[:, None], self.best[:, None]
        return np.asarray((self.performance - low) / np.where(high > low, high - low, 1.0))

    @property
    def informative(self) -> IntArray:
        """Positions of the tasks on which configurations differ by at least `MIN_SPAN`."""
        return np.flatnonzero(self.best - self.worst >= MIN_SPAN)

    def subset(self, tasks: Sequence[int] | IntArray) -> "History":
        """Return some tasks, in the asked order; configurations stay, tried or not."""
        return replace(self, tasks=tuple(self.tasks[int(t)] for t in tasks))

    def on(self, pool: Sequence[int] | IntArray) -> "History":
        """Return the trials of some configurations `(P,)`, these in the asked order; tasks with none are left out."""
        positions = np.asarray(pool, dtype=np.int64)
        position = np.full(len(self.configurations), -1, dtype=np.int64)
        position[positions] = np.arange(len(positions))
        tasks = [task.on(position) for task in self.tasks]
        return replace(
            self,
            configurations=tuple(self.configurations[p] for p in positions),
            tasks=tuple(task for task in tasks if len(task.positions)),
        )

    def shared(self, min_fraction: float = 1.0) -> "History":
        """Return only the configurations tried on at least `min_fraction` of the tasks."""
        return self.on(np.flatnonzero(self.count_tasks() >= min_fraction * len(self.tasks)))

    def count_tasks(self) -> IntArray:
        """Return how many tasks tried each configuration, `(C,)`."""
        tried = [np.empty(0, dtype=np.int64), *(task.positions for task in self.tasks)]
        return np.bincount(np.concatenate(tried), minlength=len(self.configurations))

    def aligned_to(self, space: SearchSpace, *, assume: Mapping[str, Value] | None = None) -> "History":
        """Return what these trials teach about another search space.

        Shared names count by value, whatever their scale; other names are left out. The space of the result is wider
        than the given one where older values lie outside, and a hyperparameter that a trial lacks is optional in it.
        `candidates_in` returns what may be proposed.

        Args:
            space: The search space of today.
            assume: Values of hyperparameters for trials that lack them.
        """
        assume = assume or {}
        values: dict[str, dict[str, Value]] = {hp.name: {} for hp in space.hyperparameters}
        for configuration in self.configurations:
            for name in values.keys() & configuration.keys():
                values[name].setdefault(repr(configuration[name]), configuration[name])
        for name in values.keys() & assume.keys():
            values[name].setdefault(repr(assume[name]), assume[name])
        wide = widen(space, {name: list(found.values()) for name, found in values.items()})
        told = [
            without_inactive(space, translate(wide, configuration, assumed(space, configuration, assume or {})))
            for configuration in self.configurations
        ]
        lacking = {name for name in wide.names if any(name not in c for c in told)}
        wide = SearchSpace(
            tuple(replace(hp, optional=hp.optional or hp.name in lacking) for hp in wide.hyperparameters)
        )
        place: dict[str, int] = {}
        merged = np.array([place.setdefault(configuration_id(c), len(place)) for c in told], dtype=np.int64)
        distinct = {configuration_id(c): c for c in told}
        tasks = [task.merged(merged) for task in self.tasks if any(told[p] for p in task.positions)]
        return replace(
            self,
            space=wide,
            configurations=tuple(distinct[name] for name in place),
            tasks=tuple(task for task in tasks if not task.is_degenerate),
        )

    def candidates_in(self, space: SearchSpace, *, seed: int, count: int) -> list[Configuration]:
        """Return configurations of a space this was aligned to: the best of each task in turn, others at random."""
        orders = [task.positions[np.argsort(-task.performance, kind="stable")].tolist() for task in self.tasks]
        searched = [frozenset().union(*(self.configurations[p] for p in order)) for order in orders]
        ranked = (
            (self.configurations[order[rank]], names)
            for rank in range(max(map(len, orders), default=0))
            for order, names in zip(orders, searched, strict=True)
            if rank < len(order)
        )
        return candidates(space, ranked, seed=seed, count=count)

    def with_configurations(self, more: Sequence[Configuration]) -> tuple["History", IntArray]:
        """Return this and configurations that perhaps nobody tried, and the positions of these."""
        place = {name: p for p, name in enumerate(self.configuration_ids)}
        beside = [c for c in more if configuration_id(c) not in place]
        wider = replace(self, configurations=(*self.configurations, *beside))
        place |= {configuration_id(c): len(self.configurations) + n for n, c in enumerate(beside)}
        return wider, np.array([place[configuration_id(c)] for c in more], dtype=np.int64)

    def past_tasks(
        self,
        tasks: Sequence[int] | IntArray | None = None,
        pool: Sequence[int] | IntArray | None = None,
        *,
        quick: bool = False,
    ) -> PastTasks:
        """Return tasks as seen from a pool of configurations, those that a task never tried filled in.

        Args:
            tasks: Positions of the past tasks; all unless given. Their order does not matter.
            pool: `(P,)` positions of the configurations; all unless given.
            quick: Fill in what a task never tried by lengths that tasks share, rather than its own.
        """
        chosen = range(len(self.tasks)) if tasks is None else sorted(int(t) for t in tasks)
        at = np.arange(len(self.configurations)) if pool is None else np.asarray(pool, dtype=np.int64)
        seen = [self.tasks[t] for t in chosen]
        view = View(
            space=self.space,
            configurations=tuple(self.configurations[p] for p in at),
            points=self.points[at],
            pool=at,
            task_ids=tuple(task.task_id for task in seen),
            families=tuple(task.family for task in seen),
            meta_feature_names=self.meta_feature_names,
            meta_features=self.meta_features[list(chosen)],
            duration=self._values_on("duration_s", chosen, at),
            test_performance=self._values_on("test_performance", chosen, at),
        )
        scored = [self._score(t) for t in chosen]
        if quick:
            share_lengths(scored)
        return see_tasks(view, scored)

    def _values_on(self, name: str, tasks: Sequence[int], pool: IntArray) -> Array:
        position = np.full(len(self.configurations), -1, dtype=np.int64)
        position[pool] = np.arange(len(pool))
        dense = np.full((len(tasks), len(pool)), np.nan)
        for row, t in enumerate(tasks):
            part = self.tasks[t].on(position)
            dense[row, part.positions] = getattr(part, name)
        return dense

    def _score(self, t: int) -> ScoredTrials:
        if t not in self._scored:
            task = self.tasks[t]
            points = self.points[task.positions]
            tried = {name for p in task.positions for name in self.configurations[p]}
            known = self.space.columns_of(
                hp.name for hp in self.space.hyperparameters if not hp.optional or hp.name in tried
            )
            self._scored[t] = ScoredTrials.of(points, task.positions, task.performance, columns=known)
        return self._scored[t]


def read_curves(frame: pd.DataFrame, learner: str, epochs: int) -> Array:
    """Return the learning curves of a learner's whole trainings.

    Args:
        frame: Trials of any learner; `learning_curve` may be missing.
        learner: Name of the learner.
        epochs: Full fidelity: curves of other lengths are left out.

    Returns:
        `(N, E)`, in the order of the table; there may be none.
    """
    if "learning_curve" not in frame.columns:
        return np.empty((0, epochs))
    rows = frame.loc[(frame["learner"] == learner) & (frame["status"] == "ok"), "learning_curve"]
    whole: list[NDArray[np.float64]] = [curve for curve in rows if curve is not None and len(curve) == epochs]
    return np.array(whole, np.float64).reshape(-1, epochs)
