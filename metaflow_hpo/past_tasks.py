"""Past tasks as seen from one pool of configurations: scores, their uncertainty, regrets (`History.past_tasks`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from metaflow_hpo.gaussian_process import GaussianProcess
from metaflow_hpo.space import Array, Configuration, SearchSpace

IntArray = NDArray[np.int64]

_Learned = TypeVar("_Learned")

MAX_QUICK_TRIALS = 60
"""Trials from which lengths are learned that tasks share."""
MAX_FITTED_TRIALS = 300
"""Trials of a task that its process is conditioned on; the others of a longer task are spread evenly away."""


@dataclass(frozen=True)
class PastTasks:
    """T past tasks on a pool of P configurations.

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
        task_ids: `(T,)` names of the tasks.
        families: `(T,)` their families.
        meta_feature_names: `(M,)` with the prefix `mf_`.
        ends: `(T, 2)` worst and best performance of each task, in the pool or not.
        duration: `(T, P)` seconds of training, NaN where not known.
        test_performance: `(T, P)` on unseen rows, NaN where not known.
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
    task_ids: tuple[str, ...]
    families: tuple[str, ...]
    meta_feature_names: tuple[str, ...]
    ends: Array
    duration: Array
    test_performance: Array
    _learned: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_shared(self) -> bool:
        """Whether every past task tried every configuration of the pool."""
        return not self.deviation.any()

    @property
    def performance(self) -> Array:
        """`(T, P)` higher is better; filled in where a configuration was never tried."""
        worst, best = self.ends[:, :1], self.ends[:, 1:]
        return np.asarray(best - self.regret * (best - worst))

    def subset(self, tasks: Sequence[int] | IntArray) -> "PastTasks":
        """Return some of the tasks, on the same pool."""
        rows = np.asarray(tasks, dtype=np.int64)
        return replace(
            self,
            scores=self.scores[rows],
            deviation=self.deviation[rows],
            regret=self.regret[rows],
            scale=self.scale[rows],
            meta_features=self.meta_features[rows],
            ends=self.ends[rows],
            duration=self.duration[rows],
            test_performance=self.test_performance[rows],
            task_ids=tuple(self.task_ids[t] for t in rows),
            families=tuple(self.families[t] for t in rows),
            trials=tuple(self.trials[t] for t in rows) if self.trials else (),
        )

    def learn(self, fit: "Callable[[PastTasks], _Learned]") -> "_Learned":
        """Return what a function learns from these tasks; it is called once, for however many new tasks."""
        if fit not in self._learned:
            self._learned[fit] = fit(self)
        learned: _Learned = self._learned[fit]
        return learned


@dataclass
class ScoredTrials:
    """One task's own trials, scored among themselves: what fills in the configurations that it never tried.

    Nothing of another task enters here.

    Attributes:
        points: `(N, D)` encoded configurations, all that were tried.
        positions: `(N,)` their positions in the history, ascending.
        performance: `(N,)` higher is better.
        scores: `(N,)` rank scores.
        columns: Columns of the points that tell of hyperparameters which were searched on the task.
    """

    points: Array
    positions: IntArray
    performance: Array
    scores: Array
    columns: IntArray
    _process: GaussianProcess | None = None

    @classmethod
    def of(cls, points: Array, positions: IntArray, performance: Array, *, columns: IntArray) -> "ScoredTrials":
        """Score the trials."""
        return cls(points, positions, performance, rank_scores(performance[None, :])[0], columns)

    @property
    def scale(self) -> float:
        """Performance per unit of score: the least-squares slope, above 0."""
        centred = self.scores - self.scores.mean()
        return max(float(centred @ self.performance / max(float(centred @ centred), 1e-12)), 1e-12)

    def seen_from(self, pool: IntArray, points: Array) -> tuple[Array, Array, Array]:
        """Return score, deviation and performance `(P,)` on a pool.

        Where a configuration was never tried, a Gaussian process on the task's own trials fills the cell and says how
        sure it is.

        Args:
            pool: `(P,)` positions in the history.
            points: `(P, D)` the same, encoded.
        """
        at = np.minimum(np.searchsorted(self.positions, pool), len(self.positions) - 1)
        tried = self.positions[at] == pool
        score, performance, deviation = self.scores[at], self.performance[at], np.zeros(len(pool))
        if not tried.all():
            score[~tried], deviation[~tried] = self.process.predict(points[~tried][:, self.columns])
            order = np.argsort(self.scores, kind="stable")
            # A filled-in score is worth the performance that the task's own trials have at that score.
            performance[~tried] = np.interp(score[~tried], self.scores[order], self.performance[order])
        return score, deviation, performance

    @property
    def process(self) -> GaussianProcess:
        """What the trials say of any configuration."""
        if self._process is None:
            self._process = GaussianProcess.fit(*self._thinned(MAX_FITTED_TRIALS))
        return self._process

    def follow(self, lengths: GaussianProcess) -> None:
        """Take over the lengths of another process, unless there is one already."""
        if self._process is None:
            self._process = lengths.like(*self._thinned(MAX_FITTED_TRIALS))

    def fit_quickly(self) -> GaussianProcess:
        """Return a process on few of the trials, for its lengths."""
        return GaussianProcess.fit(*self._thinned(MAX_QUICK_TRIALS))

    def _thinned(self, most: int) -> tuple[Array, Array]:
        count = min(len(self.positions), most)
        kept = np.linspace(0, len(self.positions) - 1, count).round().astype(np.int64)
        return self.points[kept][:, self.columns], self.scores[kept]


def share_lengths(tasks: Sequence[ScoredTrials]) -> None:
    """Give tasks that searched the same hyperparameters the lengths of the one of them with the most trials."""
    groups: dict[tuple[int, ...], list[ScoredTrials]] = {}
    for task in tasks:
        groups.setdefault(tuple(task.columns.tolist()), []).append(task)
    for group in groups.values():
        lengths = max(group, key=lambda task: len(task.positions)).fit_quickly()
        for task in group:
            task.follow(lengths)


@dataclass(frozen=True)
class View:
    """What is seen.

    Attributes:
        space: The search space.
        configurations: `(P,)` the pool.
        points: `(P, D)` the same, encoded.
        pool: `(P,)` their positions in the history.
        task_ids: `(T,)` names of the tasks.
        families: `(T,)` their families.
        meta_feature_names: `(M,)` with the prefix `mf_`.
        meta_features: `(T, M)` raw, NaN where not known.
        duration: `(T, P)` seconds, NaN where not known.
        test_performance: `(T, P)` on unseen rows, NaN where not known.
    """

    space: SearchSpace
    configurations: tuple[Configuration, ...]
    points: Array
    pool: IntArray
    task_ids: tuple[str, ...]
    families: tuple[str, ...]
    meta_feature_names: tuple[str, ...]
    meta_features: Array
    duration: Array
    test_performance: Array


def see_tasks(view: View, trials: Sequence[ScoredTrials]) -> PastTasks:
    """Return tasks as seen from a pool, given each task's own trials `(T,)`."""
    scores, deviation, performance = (
        np.stack(part) for part in zip(*(task.seen_from(view.pool, view.points) for task in trials), strict=True)
    )
    ends = np.array([[task.performance.min(), task.performance.max()] for task in trials])
    worst, best = ends[:, :1], ends[:, 1:]
    span = best - worst
    seen = {name: value for name, value in vars(view).items() if name != "pool"}
    return PastTasks(
        **seen,
        scores=scores,
        deviation=deviation,
        regret=np.clip((best - performance) / np.where(span > 0, span, 1.0), 0.0, 1.0),
        scale=np.array([task.scale for task in trials]),
        trials=tuple((task.points, task.scores) for task in trials),
        default=find_default(view.space, view.points),
        ends=ends,
    )


def find_default(space: SearchSpace, points: Array) -> int:
    """Return the position of the configuration `(P, D)` nearest to the space's default."""
    return int(np.argmin(((points - space.encode([space.default])[0]) ** 2).sum(axis=1)))


def rank_scores(performance: Array) -> Array:
    """Return half normal scores of the ranks, half z-scores, row by row.

    Args:
        performance: `(T, C)`, NaN where never tried.

    Returns:
        `(T, C)`; the ranks stretch the crowded top where regret is decided, the z-scores keep distances.

    References:
        Salinas, Shen, Perrone 2020, A quantile-based approach for hyperparameter transfer learning (the copula part).
    """
    result = np.full(performance.shape, np.nan)
    for t, row in enumerate(performance):
        known = np.isfinite(row)
        values = row[known]
        if values.size == 0:
            continue
        copula = ndtri((_rank(values) - 0.5) / values.size)
        # The deviation of equal numbers is not exactly 0, and dividing by it would make a z-score of rounding.
        distinct = values.max() > values.min()
        z = np.clip((values - values.mean()) / values.std(), -3, 3) if distinct else np.zeros_like(values)
        result[t, known] = 0.5 * copula + 0.5 * z
    return result


def _rank(values: Array) -> Array:
    """Return ranks from 1 of `(n,)` values, the mean of theirs to equal ones; scipy.stats costs a second to import."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
