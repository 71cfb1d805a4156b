"""Strategies that past tasks put into an order: mean rank, greedy portfolio, nearest task."""

from collections.abc import Iterator

import numpy as np

from metaflow_hpo.collect.strategies.listed import OrderedStrategy
from metaflow_hpo.collect.strategies.strategy import Record, StrategyContext
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.portfolio import select_greedily
from metaflow_hpo.recommender.strategies.past import features_of, past_of, pool_of
from metaflow_hpo.recommender.task_distance import TaskDistance
from metaflow_hpo.space import Array

_GROWTH = 16


def make_mean_rank(context: StrategyContext) -> OrderedStrategy:
    """Make the strategy that tries the best mean rank over past tasks first."""
    return OrderedStrategy(pool_of(context), past_of(context).learn(_order_by_mean_rank))


def make_portfolio(context: StrategyContext, record: Record | None = None) -> OrderedStrategy:
    """Make the greedy portfolio on normalised regret: complementary over past tasks, blind to the new one.

    References:
        Xu, Hoos, Leyton-Brown 2010 (Hydra); Feurer et al. 2022 (auto-sklearn 2.0).
    """
    return OrderedStrategy(pool_of(context), past_of(context).learn(_order_by_regret), record)


def make_portfolio_ranks(context: StrategyContext) -> OrderedStrategy:
    """Make the greedy portfolio on ranks, scaled to [0, 1].

    References:
        Salinas, Erickson 2023 (TabRepo).
    """
    return OrderedStrategy(pool_of(context), past_of(context).learn(_order_by_ranks))


def make_nearest_task(context: StrategyContext) -> OrderedStrategy:
    """Make the strategy that follows the past task of nearest meta-features, all of them on the mean if there are none.

    References:
        Wang et al. 2022, Mining robust default configurations for resource-constrained AutoML (FLAML zero-shot),
        arXiv:2202.09927, for picking the configurations of the nearest task.
    """
    past, features = past_of(context), features_of(context)
    nearest = past.scores.mean(axis=0)
    if len(features):
        nearest = past.scores[int(np.argmin(past.learn(_measure_distances).squared(features)))]
    return OrderedStrategy(pool_of(context), np.argsort(-nearest, kind="stable").tolist())


class GreedyOrder:
    """Positions of which each minimises the mean over past tasks of the least loss so far; grown as far as it is read.

    Args:
        losses: `(T, P)` in [0, 1].
    """

    def __init__(self, losses: Array) -> None:
        self._losses = losses
        self._order: list[int] = []

    def __iter__(self) -> Iterator[int]:
        n = 0
        while n < self._losses.shape[1]:
            if n == len(self._order):
                self._order += select_greedily(self._losses, np.ones(len(self._losses)), _GROWTH, self._order)
            yield self._order[n]
            n += 1


def rank_losses(past: PastTasks) -> Array:
    """Return ranks `(T, P)` of the scores, 0 for the best, 1 for the worst, ties averaged."""
    from scipy.stats import rankdata

    count = max(past.scores.shape[1] - 1, 1)
    return np.asarray((rankdata(-past.scores, axis=1) - 1.0) / count)


def _order_by_mean_rank(past: PastTasks) -> list[int]:
    return [int(p) for p in np.argsort(rank_losses(past).mean(axis=0), kind="stable")]


def _order_by_regret(past: PastTasks) -> GreedyOrder:
    return GreedyOrder(past.regret)


def _order_by_ranks(past: PastTasks) -> GreedyOrder:
    return GreedyOrder(rank_losses(past))


def _measure_distances(past: PastTasks) -> TaskDistance:
    return TaskDistance.fit(past.meta_features)
