"""Sequential recommenders: pick configurations of a pool one by one, seeing what the picked ones gave.

The one thing to know: a recommender is never handed the new task's trials. `start` gets its meta-features, the picker
gets what was observed so far, and a picker is a function of that alone: asked twice, it answers the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metaflow_hpo.history import Array, IntArray
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommend.portfolio import select_greedily
from metaflow_hpo.recommend.task_distance import TaskDistance
from metaflow_hpo.space import Configuration, configuration_id


@dataclass(frozen=True)
class ObservedTrial:
    """A trial made on the new task: a configuration of the learner and its performance, higher is better."""

    configuration: Configuration
    performance: float


@dataclass(frozen=True)
class Observed:
    """What was tried on the new task, by position in a pool.

    Attributes:
        positions: `(N,)` positions in the pool, in the order of trying.
        performance: `(N,)` what they gave, higher is better.
    """

    positions: IntArray
    performance: Array

    @classmethod
    def nothing(cls) -> "Observed":
        """Return the state before the first trial."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0))

    def with_trial(self, position: int, performance: float) -> "Observed":
        """Return this and one more trial."""
        return Observed(np.append(self.positions, position), np.append(self.performance, performance))


def place(
    pool: Sequence[Configuration], observed: Sequence[Configuration], more: Sequence[Configuration] = ()
) -> tuple[list[Configuration], IntArray]:
    """Return what of `observed` and `more` lies beside a pool, and the positions of `observed` on both together.

    Args:
        pool: `(P,)` configurations.
        observed: `(N,)` configurations, repetitions allowed.
        more: Other configurations.

    Returns:
        The distinct configurations beside the pool, those of `observed` first; positions `(N,)`.
    """
    positions = {configuration_id(configuration): p for p, configuration in enumerate(pool)}
    beside: list[Configuration] = []
    for configuration in (*observed, *more):
        name = configuration_id(configuration)
        if name not in positions:
            positions[name] = len(pool) + len(beside)
            beside.append(configuration)
    return beside, np.array([positions[configuration_id(c)] for c in observed], dtype=np.int64)


Picker = Callable[[Observed], int | None]
"""Returns the position to try next, or None when it has nothing more to say."""


class SequentialRecommender(Protocol):
    """Fitted on past tasks, ready for any new task on the same pool."""

    @property
    def is_random(self) -> bool:
        """Whether the seed matters; the others run once."""

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Begin a new task.

        Args:
            meta_features: `(M,)` raw, NaN where not known.
            seed: Seed of everything random.
        """


def best_free(score: Array, tried: IntArray | Sequence[int]) -> int | None:
    """Return the position of the greatest score `(P,)` that was not tried; ties go to the first."""
    free = np.array(score, dtype=np.float64)
    free[np.asarray(tried, dtype=np.int64)] = -np.inf
    best = int(np.argmax(free))
    return best if np.isfinite(free[best]) else None


def generator(seed: int, observed: Observed) -> np.random.Generator:
    """Return a generator that depends on the seed and on how many trials there are: pickers hold no state."""
    return np.random.default_rng([seed, len(observed.positions)])


@dataclass(frozen=True)
class RandomOrder:
    """Random search."""

    size: int
    is_random: bool = True

    @classmethod
    def fit(cls, past: PastTasks) -> "RandomOrder":
        """Learn the size of the pool, nothing else."""
        return cls(len(past.points))

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Shuffle the pool."""
        return in_order(np.random.default_rng(seed).permutation(self.size))


@dataclass(frozen=True)
class DefaultOnly:
    """The recorded configuration nearest to the space's default (its middle, where it was inferred), nothing after."""

    position: int
    is_random: bool = False

    @classmethod
    def fit(cls, past: PastTasks) -> "DefaultOnly":
        """Look the default up."""
        return cls(past.default)

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Return the default, once."""
        return in_order(np.array([self.position]))


@dataclass(frozen=True)
class MeanRank:
    """Best mean rank over past tasks first."""

    order: IntArray
    is_random: bool = False

    @classmethod
    def fit(cls, past: PastTasks) -> "MeanRank":
        """Average the ranks."""
        return cls(np.argsort(rank_losses(past).mean(axis=0), kind="stable"))

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Go down the list."""
        return in_order(self.order)


@dataclass(frozen=True)
class GreedyPortfolio:
    """Each pick minimises the mean over past tasks of the least loss so far.

    References:
        Xu, Hoos, Leyton-Brown 2010 (Hydra); Feurer et al. 2022 (auto-sklearn 2.0, regret); Salinas, Erickson 2023
        (TabRepo, ranks).
    """

    losses: Array
    is_random: bool = False

    @classmethod
    def on_regret(cls, past: PastTasks) -> "GreedyPortfolio":
        """Take the normalised regret for the loss."""
        return cls(past.regret)

    @classmethod
    def on_ranks(cls, past: PastTasks) -> "GreedyPortfolio":
        """Take the rank, scaled to [0, 1], for the loss."""
        return cls(rank_losses(past))

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Go through the portfolio."""
        weights = np.ones(len(self.losses))
        order: list[int] = []

        def pick(observed: Observed) -> int | None:
            tried = set(observed.positions.tolist())
            while True:
                # Grown as far as it is asked for; it never depends on what was observed.
                following = next((p for p in order if p not in tried), None)
                if following is not None or len(order) == self.losses.shape[1]:
                    return following
                order.extend(select_greedily(self.losses, weights, _GROWTH, order))

        return pick


_GROWTH = 16


@dataclass(frozen=True)
class NearestTask:
    """The order of the past task with the nearest meta-features; the mean score over all of them where there are none.

    References:
        Wang et al. 2022, Mining robust default configurations for resource-constrained AutoML (FLAML zero-shot),
        arXiv:2202.09927, for picking the configurations of the nearest task.
    """

    distance: TaskDistance
    scores: Array
    is_random: bool = False

    @classmethod
    def fit(cls, past: PastTasks) -> "NearestTask":
        """Standardise the meta-features."""
        return cls(TaskDistance.fit(past.meta_features), past.scores)

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Follow the nearest past task."""
        squared = self.distance.squared(meta_features)
        nearest = self.scores[int(np.argmin(squared))] if len(meta_features) else self.scores.mean(axis=0)
        return in_order(np.argsort(-nearest, kind="stable"))


def rank_losses(past: PastTasks) -> Array:
    """Return ranks `(T, P)` of the scores, 0 for the best, 1 for the worst, ties averaged."""
    from scipy.stats import rankdata

    count = max(past.scores.shape[1] - 1, 1)
    return np.asarray((rankdata(-past.scores, axis=1) - 1.0) / count)


def in_order(order: IntArray) -> Picker:
    """Return a picker that goes down a list of positions, whatever it observes, and then stops."""
    positions = [int(p) for p in order]

    def pick(observed: Observed) -> int | None:
        tried = set(observed.positions.tolist())
        return next((p for p in positions if p not in tried), None)

    return pick
