"""Chooses configurations for a task of any search space in view of a history of any other."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.actions.past_knowledge import as_history
from metaflow_hpo.alignment import holds, is_inside, translate
from metaflow_hpo.collect.strategies.fresh import fresh_configurations
from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError, listed
from metaflow_hpo.gaussian_process import GaussianProcess, expected_improvement
from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.hyperparameter import Hyperparameter, Value
from metaflow_hpo.past_tasks import MAX_QUICK_TRIALS, rank_scores
from metaflow_hpo.recommender.new_task import NewTask, RecommenderSettings
from metaflow_hpo.recommender.observed import Observed, place
from metaflow_hpo.recommender.pool_kernel import PoolKernel
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.strategies.recommended import FRESH_FROM
from metaflow_hpo.space import Configuration, SearchSpace, configuration_id
from metaflow_hpo.tables import META_PREFIX

POOL = 200
"""Configurations to choose among."""
MAX_TRIALS = 8_000
"""Trials of a history that are looked at, evenly over its tasks; each task's best are among them."""
MAX_UNSURE_TASKS = 24
"""Past tasks up to which each is as unsure as it is of what it never tried; of more that costs too long a trial."""
MIN_OWN_TRIALS = 3
"""Trials from which a study has a model of its own."""
_ADAPTED = 64
_FRESH, _LONG = 200, 60
"""New configurations to choose among; half as many from so many trials on, when each costs more time."""


class Chooser:
    """What a history teaches about one search space.

    Args:
        history: Trials of other tasks, in any search space.
        space: The search space of today.
        task: Meta-features of the task by name, with or without the prefix of their columns.
        assume: Values of hyperparameters for past trials that lack them.
        seed: Seed of what is drawn at random.
    """

    def __init__(
        self,
        history: History,
        space: SearchSpace,
        *,
        task: Mapping[str, float] | None = None,
        assume: Mapping[str, Value] | None = None,
        seed: int = 0,
    ) -> None:
        aligned = history.aligned_to(space, assume=assume)
        self._space, self._wide, self._seed = space, aligned.space, seed
        self._features = read_features(history.meta_feature_names, task)
        self.knows = bool(aligned.tasks)
        if not self.knows:
            return
        self._pool = aligned.candidates_in(space, seed=seed, count=POOL)
        wider, at = aligned.with_configurations(self._pool)
        past = wider.past_tasks(pool=at, quick=True)
        if len(past.task_ids) > MAX_UNSURE_TASKS:
            past = replace(past, deviation=np.zeros_like(past.deviation))
        recommender = Recommender(past, RecommenderSettings(task_forest=bool(task)))
        # Of a task that is not described nothing can tell how near it is.
        fallback = not task or recommender.falls_back(self._features)[1]
        self._past, self._settings, self._positions = past, recommender.settings, recommender.positions
        self._weights = recommender.weigh(None if fallback else self._features)
        self._kernel = PoolKernel.fit(past, most=MAX_QUICK_TRIALS)
        self._carried: dict[tuple[tuple[str, Value], ...], Configuration] = {}

    def choose(
        self,
        told: Sequence[tuple[Configuration, float]],
        pending: Sequence[Configuration] = (),
        *,
        skip: int = 0,
        asked: Collection[str] | None = None,
        settle: Callable[[Configuration], Configuration] = dict,
    ) -> Configuration | None:
        """Return the next configuration; None where there is nothing left to propose.

        Args:
            told: Finished trials and their performance, higher is better.
            pending: What is being tried.
            skip: How many better ones are left to others, who choose at the same time.
            asked: Names that are known to be asked for; all unless given.
            settle: Returns what becomes of a configuration, say of a number between two steps.
        """
        tried = [configuration for configuration, _ in told]
        performance = [value for _, value in told]
        fresh: Sequence[Configuration] = ()
        if len(told) >= FRESH_FROM:
            fresh = self._draw(tried, performance)
        task, seen, waiting = self._begin(told, pending, fresh)
        is_new = self._make_is_new([*tried, *pending], asked)
        chosen = task.choose(seen, skip + 1, waiting)
        if chosen and not is_new(settle(task.past.configurations[chosen[-1]])):
            settled = [settle(configuration) for configuration in task.past.configurations]
            used_up = {p for p, configuration in enumerate(settled) if not is_new(configuration)}
            chosen = task.choose(seen, skip + 1, sorted({*waiting, *used_up} - set(seen.positions.tolist())))
        return settle(task.past.configurations[chosen[-1]]) if chosen else None

    def choose_alone(
        self,
        told: Sequence[tuple[Configuration, float]],
        pending: Sequence[Configuration] = (),
        *,
        skip: int = 0,
        asked: Collection[str] | None = None,
        settle: Callable[[Configuration], Configuration] = dict,
    ) -> Configuration | None:
        """Return the next configuration whatever the past says: what the trials alone promise most of.

        A Gaussian process on their ranks, so that what diverged does not set the scale; what is pending is taken to
        come out as expected. None below `MIN_OWN_TRIALS`, or where there is nothing left to propose.

        Args:
            told: Finished trials and their performance, higher is better.
            pending: What is being tried.
            skip: How many better ones are left to others, who choose at the same time.
            asked: Names that are known to be asked for; all unless given.
            settle: Returns what becomes of a configuration, say of a number between two steps.
        """
        if len(told) < MIN_OWN_TRIALS:
            return None
        tried, performance = [configuration for configuration, _ in told], np.array([value for _, value in told])
        fresh = self._draw(tried, performance)
        points = self._space.encode([*map(self._held, tried), *map(self._held, pending), *fresh])
        own, waiting, free = np.split(points, [len(tried), len(tried) + len(pending)])
        scores = rank_scores(performance[None, :])[0]
        process = _fit_process(own, scores)
        if len(waiting):
            scores = np.append(scores, process.predict(waiting)[0])
            process = process.like(np.concatenate([own, waiting]), scores)
        promise = expected_improvement(*process.predict(free), float(scores.max()))
        is_new = self._make_is_new([*tried, *pending], asked)
        ordered = (settle(fresh[position]) for position in np.argsort(-promise, kind="stable")[skip:])
        return next((configuration for configuration in ordered if is_new(configuration)), None)

    def _make_is_new(
        self, known: Sequence[Configuration], asked: Collection[str] | None
    ) -> Callable[[Configuration], bool]:
        """Return what tells whether a configuration is another one than all that are known.

        What differs in nothing that is asked for would be the same trial once more.
        """
        others = [c if asked is None else {n: v for n, v in c.items() if n in asked} for c in known]
        return lambda configuration: (
            is_inside(self._space, configuration)
            and not any(_covers(configuration, other) for other in others if other)
        )

    def choose_given(
        self,
        told: Sequence[tuple[Configuration, float]],
        fixed: Configuration,
        hp: Hyperparameter,
        *,
        number: int,
    ) -> Configuration:
        """Return the best configuration that has some values fixed, and one hyperparameter as it really is.

        Args:
            told: Finished trials and their performance.
            fixed: Values that are settled.
            hp: A hyperparameter whose value must lie in its range.
            number: Number of the trial.
        """
        rng = np.random.default_rng([self._seed, number, len(fixed)])
        adapted = []
        for configuration in self._pool[:_ADAPTED]:
            values = {**configuration, **fixed}
            if hp.name not in values or not holds(hp, values[hp.name]):
                values[hp.name] = hp.from_unit(float(rng.random()))
            adapted.append(values)
        inside = [translate(self._wide, values, {}) for values in adapted]
        task, seen, _ = self._begin(told, (), inside)
        at = self._place(task, inside)
        is_first = not len(seen.positions)
        gain = -(task.weights @ task.past.regret) if is_first else task.belief.improvement(seen)
        return adapted[int(np.argmax(gain[at]))]

    def _begin(
        self,
        told: Sequence[tuple[Configuration, float]],
        pending: Sequence[Configuration],
        more: Sequence[Configuration],
    ) -> tuple[NewTask, Observed, list[int]]:
        known = [self._carry(configuration) for configuration, _ in told]
        waiting = [self._carry(configuration) for configuration in pending]
        beside, at = place(self._positions, [*known, *waiting], more)
        past = self._kernel.extend(beside) if beside else self._past
        task = NewTask(past, self._weights, (), None, self._settings)
        seen = Observed(at[: len(known)], np.array([value for _, value in told], dtype=np.float64))
        return task, seen, at[len(known) :].tolist()

    def _draw(self, tried: Sequence[Configuration], performance: Sequence[float] | Array) -> list[Configuration]:
        inside = [self._clip(configuration) for configuration in tried]
        count = _FRESH // 2 if len(tried) > _LONG else _FRESH
        return fresh_configurations(self._space, inside, performance, seed=self._seed, count=count)

    def _carry(self, configuration: Configuration) -> Configuration:
        """Return what a trial says in the space that holds all; the same trials are asked for again and again."""
        key = tuple(configuration.items())
        if key not in self._carried:
            self._carried[key] = translate(self._wide, configuration, {})
        return self._carried[key]

    def _place(self, task: NewTask, configurations: Sequence[Configuration]) -> IntArray:
        place_of = {configuration_id(c): p for p, c in enumerate(task.past.configurations)}
        return np.array([place_of[configuration_id(c)] for c in configurations], dtype=np.int64)

    def has(self, name: str) -> bool:
        """Tell whether a hyperparameter is part of the space."""
        return name in self._space.names

    def _clip(self, configuration: Configuration) -> Configuration:
        """Return the configuration of today's space nearest to one that was enqueued outside of it."""
        return {**{hp.name: hp.default for hp in self._space.hyperparameters}, **self._held(configuration)}

    def _held(self, configuration: Configuration) -> dict[str, Value]:
        """Return those values of a configuration that have a place in today's space."""
        hps = self._space.hyperparameters
        return {hp.name: v for hp in hps if hp.name in configuration and holds(hp, v := configuration[hp.name])}


def _fit_process(points: Array, scores: Array) -> GaussianProcess:
    """Fit a process; of many trials its lengths come from the best and some of the others."""
    if len(scores) <= MAX_QUICK_TRIALS:
        return GaussianProcess.fit(points, scores)
    order = np.argsort(-scores, kind="stable")
    half = MAX_QUICK_TRIALS // 2
    kept = np.append(order[:half], order[half :: -(-(len(order) - half) // half)])
    return GaussianProcess.fit(points[kept], scores[kept]).like(points, scores)


def _covers(configuration: Configuration, other: Configuration) -> bool:
    return all(name in configuration and configuration[name] == value for name, value in other.items())


def read_features(names: Sequence[str], task: Mapping[str, float] | None) -> Array:
    """Return meta-features `(M,)` in the order of their names, NaN where not given.

    Raises:
        InvalidTableError: If the history has no such meta-feature.
    """
    given = {n if n.startswith(META_PREFIX) else META_PREFIX + n: float(v) for n, v in (task or {}).items()}
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InvalidTableError(
            f"Expected meta-features that the history has, {listed(list(names)) or 'of which there are none'}; got "
            f"{listed(unknown)}. Leave these out."
        )
    return np.array([given.get(name, np.nan) for name in names], dtype=np.float64)


def read_past(past: Any) -> History | None:
    """Return past trials, given as any of what `past=` takes; None for none at all.

    Args:
        past: See `as_history`.

    Raises:
        InvalidTableError: If it holds no trials that differ.
    """
    if past is None or (isinstance(past, list | tuple) and not past):
        return None
    return _thinned(as_history(past))


def read_grown(path: Path) -> History | None:
    """Return the past trials of a history that grows; None where there are none yet that differ."""
    try:
        return read_past(path) if path.is_file() else None
    except DegenerateTaskError:
        return None


def _thinned(history: History) -> History:
    """Return at most `MAX_TRIALS` trials: of each task its best third, then others, evenly spread."""
    each = max(MAX_TRIALS // max(len(history.tasks), 1), 10)
    tasks = []
    for task in history.tasks:
        order = np.argsort(-task.performance, kind="stable")
        best, rest = order[: each // 3], order[each // 3 :]
        spread = (
            rest[np.unique(np.linspace(0, max(len(rest) - 1, 0), each - len(best)).astype(np.int64))]
            if len(rest)
            else rest
        )
        kept = np.sort(np.concatenate([best, spread]))
        rows = {name: getattr(task, name)[kept] for name in ("performance", "test_performance", "duration_s")}
        tasks.append(replace(task, positions=task.positions[kept], **rows))
    used = np.unique(np.concatenate([task.positions for task in tasks])) if tasks else np.empty(0, dtype=np.int64)
    return replace(history, tasks=tuple(tasks)).on(used)
