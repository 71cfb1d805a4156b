"""Past tasks as seen from one pool of configurations: scores, their uncertainty, regrets.

The one thing to know: where a past task never tried a configuration of the pool, a Gaussian process on *that task's
own* trials fills the cell and says how sure it is. Nothing of one task enters another one here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.surrogate.gaussian_process import GaussianProcess
from metaflow_hpo.surrogate.meta_dataset import Array, IntArray, MetaDataset
from metaflow_hpo.surrogate.targets import rank_scores
from metaflow_hpo.surrogate.trial_table import TrialTable

_Learned = TypeVar("_Learned")

MAX_FITTED_TRIALS = 300
"""Trials of a task that its process is conditioned on; the others of a longer task are spread evenly away."""


@dataclass(frozen=True)
class PastTasks:
    """Past tasks on a pool of P configurations.

    Attributes:
        space: Search space of the configurations.
        configurations: `(P,)` the pool.
        points: `(P, D)` the same, encoded.
        scores: `(T, P)` half normal scores, half z-scores of each task; higher is better.
        deviation: `(T, P)` how unsure a filled-in score is; 0 where it was tried.
        regret: `(T, P)` normalised regret in [0, 1].
        scale: `(T,)` performance per unit of score.
        meta_features: `(T, M)` raw, NaN where not known.
        trials: `(T,)` each task's own (points, scores), whether in the pool or not.
        default: Position in the pool of the configuration nearest to the space's default.
        families: `(T,)` families of the tasks.
    """

    space: SearchSpace
    configurations: tuple[Configuration, ...]
    points: Array
    scores: Array
    deviation: Array
    regret: Array
    scale: Array
    meta_features: Array
    trials: tuple[tuple[Array, Array], ...]
    default: int
    families: tuple[str, ...]

    _learned: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_shared(self) -> bool:
        """Whether every past task tried every configuration of the pool."""
        return not self.deviation.any()

    def learn(self, fit: "Callable[[PastTasks], _Learned]") -> "_Learned":
        """Return what a function learns from these tasks; it is called once, for however many new tasks."""
        if fit not in self._learned:
            self._learned[fit] = fit(self)
        learned: _Learned = self._learned[fit]
        return learned


@dataclass
class History:
    """All tasks of a table, ready to be seen from any pool.

    Attributes:
        table: The trials.
        scores: `(T,)` one `(N,)` array a task.
        processes: One Gaussian process a task, fitted when a pool first needs it.
    """

    table: TrialTable
    scores: tuple[Array, ...]
    processes: dict[int, GaussianProcess] = field(default_factory=dict)

    @classmethod
    def of(cls, table: TrialTable) -> "History":
        """Score the trials of every task among themselves."""
        return cls(table, tuple(rank_scores(task.performance[None, :])[0] for task in table.tasks))

    def seen_from(self, tasks: Sequence[int] | IntArray, pool: IntArray) -> PastTasks:
        """Return some tasks as seen from a pool.

        Args:
            tasks: Positions of the past tasks, in any order.
            pool: `(P,)` rows of the table's configurations.
        """
        tasks = np.sort(np.asarray(tasks, dtype=np.int64))  # sums must not depend on their order
        points = self.table.points[pool]
        columns = [self._column(int(t), pool, points) for t in tasks]
        scores, deviation, performance = (np.stack(part) for part in zip(*columns, strict=True))
        past = [self.table.tasks[t] for t in tasks]
        best = np.array([task.performance.max() for task in past])[:, None]
        worst = np.array([task.performance.min() for task in past])[:, None]
        default = self.table.space.encode([self.table.space.default])[0]
        return PastTasks(
            space=self.table.space,
            configurations=tuple(self.table.configurations[p] for p in pool),
            points=points,
            scores=scores,
            deviation=deviation,
            regret=np.clip((best - performance) / (best - worst), 0.0, 1.0),
            scale=np.array([_slope(task.performance, self.scores[t]) for t, task in zip(tasks, past, strict=True)]),
            meta_features=np.stack([task.meta_features for task in past]),
            trials=tuple((self.table.points[self.table.tasks[t].positions], self.scores[t]) for t in tasks),
            default=int(np.argmin(((points - default) ** 2).sum(axis=1))),
            families=tuple(task.family for task in past),
        )

    def _column(self, t: int, pool: IntArray, points: Array) -> tuple[Array, Array, Array]:
        """Return score, deviation and performance `(P,)` of task `t` on the pool."""
        task = self.table.tasks[t]
        at = np.searchsorted(task.positions, pool)
        at = np.minimum(at, len(task.positions) - 1)
        tried = task.positions[at] == pool
        score, performance = self.scores[t][at], task.performance[at]
        deviation = np.zeros(len(pool))
        if not tried.all():
            process = self._process(t)
            score[~tried], deviation[~tried] = process.predict(points[~tried])
            order = np.argsort(self.scores[t], kind="stable")
            # A filled-in score is worth the performance that the task's own trials have at that score.
            performance[~tried] = np.interp(score[~tried], self.scores[t][order], task.performance[order])
        return score, deviation, performance

    def _process(self, t: int) -> GaussianProcess:
        if t not in self.processes:
            positions = self.table.tasks[t].positions
            count = min(len(positions), MAX_FITTED_TRIALS)
            kept = np.linspace(0, len(positions) - 1, count).round().astype(np.int64)
            self.processes[t] = GaussianProcess.fit(self.table.points[positions[kept]], self.scores[t][kept])
        return self.processes[t]


def see_core(meta: MetaDataset) -> PastTasks:
    """Return the tasks of a meta-data set as seen from its own configurations.

    A configuration that a task never tried has the mean score of those that did, and regret 1.
    """
    scores = rank_scores(meta.performance)
    tried = np.isfinite(scores)
    mean = np.where(tried, scores, 0.0).sum(axis=0) / np.maximum(tried.sum(axis=0), 1)
    default = meta.space.encode([meta.space.default])[0]
    performance = zip(meta.performance, scores, tried, strict=True)
    scale = np.array([_slope(p[k], s[k]) for p, s, k in performance])
    scores = np.where(tried, scores, mean)
    return PastTasks(
        space=meta.space,
        configurations=meta.configurations,
        points=meta.encoded,
        scores=scores,
        deviation=np.zeros_like(scores),
        regret=np.where(tried, 1.0 - meta.normalised, 1.0),
        scale=scale,
        meta_features=meta.meta_features,
        trials=(),
        default=int(np.argmin(((meta.encoded - default) ** 2).sum(axis=1))),
        families=tuple(meta.families),
    )


def _slope(performance: Array, scores: Array) -> float:
    """Return the least-squares slope of performance on score, above 0."""
    centred = scores - scores.mean()
    return max(float(centred @ performance / max(float(centred @ centred), 1e-12)), 1e-12)
