"""The strategy `recommended`: what past tasks teach, from the first trial on, and variants of it for ablations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from metaflow_hpo.collect.strategies.fresh import fresh_configurations
from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext, performances_with_failures
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommend.new_task import RecommenderSettings
from metaflow_hpo.recommend.recommender import Recommender
from metaflow_hpo.recommend.sequential import Observed, ObservedTrial
from metaflow_hpo.recommend.strategies.past import PoolStrategy, features_of, past_of
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.trial import Trial

Choose = Callable[[Sequence[ObservedTrial], Sequence[Configuration], int], Sequence[Configuration]]
"""Returns at most so many configurations to try next, given the trials so far and new configurations to consider."""

FRESH_FROM = 15
"""Trials from which new configurations are considered: before, the pool holds enough that is better than the best."""
_TABLE = RecommenderSettings()
_FULL = _TABLE.mixture
_NO_PORTFOLIO = replace(_TABLE, portfolio_trials=0, mixture_trials=0)


class RecommendedStrategy(Strategy):
    """Asks a recommender anew after every batch.

    Args:
        choose: The recommender, begun on the task.
        space: The search space.
        batch_size: How many configurations it may be asked for without hearing back, at least 1.
        seed: Seed of the new configurations.
        fresh_from: Trials from which new configurations are considered beside the pool.
    """

    def __init__(
        self, choose: Choose, space: SearchSpace, *, batch_size: int = 1, seed: int = 0, fresh_from: int = FRESH_FROM
    ) -> None:
        self._choose = choose
        self._space = space
        self._batch_size = batch_size
        self._seed = seed
        self._fresh_from = fresh_from
        self._told: list[Trial] = []

    @property
    def batch_size(self) -> int:
        """How many configurations it may be asked for without hearing back."""
        return self._batch_size

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`."""
        performance = performances_with_failures(self._told)
        tried = [trial.configuration for trial in self._told]
        observed = [ObservedTrial(c, p) for c, p in zip(tried, performance, strict=True)]
        fresh: list[Configuration] = []
        if len(observed) >= self._fresh_from:
            fresh = fresh_configurations(self._space, tried, performance, seed=self._seed)
        return list(self._choose(observed, fresh, count))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; a failed trial counts as the worst of the others."""
        self._told += trials


@dataclass(frozen=True)
class _Fit:
    """What is learned from past tasks with some settings; equal settings are learned once."""

    settings: RecommenderSettings

    def __call__(self, past: PastTasks) -> Recommender:
        return Recommender(past, self.settings)


class AdaptiveStrategy(PoolStrategy):
    """Portfolio and mixture of past tasks on a pool.

    Args:
        context: What it is made from.
        settings: How the parts work together.
    """

    def __init__(self, context: StrategyContext, settings: RecommenderSettings = _TABLE) -> None:
        super().__init__(context, context.parallel)
        recommender = past_of(context).learn(_Fit(settings))
        features = features_of(context)
        self._task = recommender.begin(features, is_novel=recommender.falls_back(features)[1])

    def choose(self, observed: Observed, pending: Sequence[int]) -> int | None:
        """Return the next position."""
        return next(iter(self._task.choose(observed, 1, pending)), None)


def make_recommended(context: StrategyContext) -> AdaptiveStrategy:
    """Make what `fit` on these past tasks would recommend."""
    return AdaptiveStrategy(context)


def make_meta_gp(context: StrategyContext) -> AdaptiveStrategy:
    """Make the Gaussian process whose mean and covariance are those of past tasks."""
    mixture = replace(_FULL, task_experts=False, scale="fitted")
    return AdaptiveStrategy(context, replace(_NO_PORTFOLIO, similarity=False, mixture=mixture))


def make_no_portfolio(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` without its portfolio."""
    return AdaptiveStrategy(context, _NO_PORTFOLIO)


def make_no_task_forest(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` with past tasks weighed by distance alone."""
    return AdaptiveStrategy(context, replace(_TABLE, task_forest=False))


def make_no_task_experts(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` with the mean of past tasks as the only expert."""
    return AdaptiveStrategy(context, replace(_TABLE, mixture=replace(_FULL, task_experts=False)))


def make_no_scale(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` with the scale of past tasks' median."""
    return AdaptiveStrategy(context, replace(_TABLE, mixture=replace(_FULL, scale="fixed")))


def make_no_similarity(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` with equal weights of past tasks."""
    return AdaptiveStrategy(context, replace(_TABLE, similarity=False))


def make_no_past_covariance(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` without the covariance over past tasks."""
    return AdaptiveStrategy(context, replace(_TABLE, mixture=replace(_FULL, past_share=0.0)))


def make_no_smooth_kernel(context: StrategyContext) -> AdaptiveStrategy:
    """Make `recommended` without the smooth kernel over configurations."""
    return AdaptiveStrategy(context, replace(_TABLE, mixture=replace(_FULL, smooth_share=0.0)))
