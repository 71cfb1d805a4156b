"""What people would do otherwise: the default, random search, a portfolio, the nearest past task."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array, History
from metaflow_hpo.recommend.portfolio import select_greedily, task_regret
from metaflow_hpo.recommend.task_distance import TaskDistance


class Ranker(Protocol):
    """Orders the configurations of a pool for a task that it knows only by its meta-features."""

    @property
    def name(self) -> str:
        """Name in tables and plots."""

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return at most `count` positions in the pool, the first to try first, for a task `(M,)`."""


@dataclass(frozen=True)
class DefaultRecommender:
    """Always the learner's default configuration, and nothing else."""

    position: int
    name: str = "default"

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return the default."""
        return [self.position]


@dataclass(frozen=True)
class RandomRecommender:
    """A random order of the pool, another one for each task and each seed."""

    size: int
    seed: int = 0
    name: str = "random"

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return `count` positions drawn without replacement; the draw depends on the seed and on the task."""
        words = np.ascontiguousarray(meta_features, dtype=np.float64).view(np.uint32)
        rng = np.random.default_rng([self.seed, *map(int, words)])
        return [int(i) for i in rng.permutation(self.size)[:count]]


@dataclass(frozen=True)
class PortfolioRecommender:
    """The greedy portfolio on normalised regret: complementary over past tasks, blind to the new one.

    Attributes:
        regret: `(T, C)` normalised regret on past tasks.
    """

    regret: Array
    name: str = "portfolio"

    @classmethod
    def fit(cls, past: History) -> "PortfolioRecommender":
        """Learn from past tasks."""
        return cls(task_regret(past.performance))

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return the portfolio's first `count` configurations."""
        return select_greedily(self.regret, np.ones(len(self.regret)), count)


@dataclass(frozen=True)
class NearestTaskRecommender:
    """The order of the past task whose meta-features are nearest.

    Attributes:
        distance: To the past tasks.
        performance: `(T, C)` their performances.
    """

    distance: TaskDistance
    performance: Array
    name: str = "nearest_task"

    @classmethod
    def fit(cls, past: History) -> "NearestTaskRecommender":
        """Learn from past tasks."""
        return cls(TaskDistance.fit(past.meta_features, guess_scales=False), past.performance)

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return the nearest past task's best `count` configurations, best first."""
        nearest = int(np.argmin(self.distance.squared(meta_features)))
        order = np.argsort(-np.nan_to_num(self.performance[nearest], nan=-np.inf), kind="stable")
        return [int(i) for i in order[:count]]


def find_default(meta: History) -> int:
    """Return the position of the learner's default configuration in the pool.

    Raises:
        InvalidTableError: If the pool does not hold it; the shared core always starts with it.
    """
    default = meta.space.default
    for position, configuration in enumerate(meta.configurations):
        if dict(configuration) == dict(default):
            return position
    raise InvalidTableError(
        f"The pool of {len(meta.configurations)} configurations misses the learner's default {dict(default)}; "
        "search with `--strategy sobol`, whose first configuration is the default."
    )
