"""The strategy `recommended`: what past tasks teach, from the first trial on, and variants of it for ablations."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from metaflow_hpo.collect.strategies.fresh import fresh_configurations
from metaflow_hpo.collect.strategies.strategy import Record, Strategy, StrategyContext
from metaflow_hpo.metric import Metric
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.new_task import RecommenderSettings
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.strategies.past import past_of
from metaflow_hpo.recommender.tuning import TuningEvidence
from metaflow_hpo.space import Configuration
from metaflow_hpo.trial import Trial

FRESH_FROM = 15
"""Trials from which new configurations are considered: before, the pool holds enough that is better than the best."""
_FULL = RecommenderSettings()
_MIXTURE = _FULL.mixture
_NO_PORTFOLIO = replace(_FULL, portfolio_trials=0, mixture_trials=0)


class RecommendedStrategy(Strategy):
    """Asks a recommender anew each time, as `recommend` does.

    Args:
        recommender: Who is asked; where the context has a pool, it is the recommender's.
        context: The task.
        per_time: Choose by expected gain per second of training instead of per trial.
        fresh_from: Trials from which new configurations are considered beside the pool, where that is allowed.
    """

    def __init__(
        self,
        recommender: Recommender,
        context: StrategyContext,
        *,
        per_time: bool = False,
        fresh_from: int = FRESH_FROM,
    ) -> None:
        self._recommender = recommender
        self._context = context
        self._per_time = per_time
        self._fresh_from = fresh_from
        self._record = Record()
        known = context.meta_features
        self._features = np.full(len(recommender.meta_feature_names), np.nan) if known is None else known

    @property
    def batch_size(self) -> int:
        """How many configurations it is best asked for at once."""
        return self._context.parallel

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`."""
        told, performance = self._record.told, self._record.performance
        tried = [trial.configuration for trial in told]
        observed = [ObservedTrial(c, p) for c, p in zip(tried, performance, strict=True)]
        fresh: Sequence[Configuration] = ()
        if self._context.pool is None and len(observed) >= self._fresh_from:
            fresh = fresh_configurations(self._context.space, tried, performance, seed=self._context.seed)
        pending = list(self._record.pending.values())
        chosen = self._recommender.choose(
            self._features, count, observed, fresh, pending=pending, per_time=self._per_time
        ).configurations
        for configuration in chosen:
            self._record.ask(configuration)
        return list(chosen)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; a failed trial counts as the worst of the others."""
        self._record.tell(trials)


@dataclass(frozen=True)
class FitRecommender:
    """Fits a recommender without networks on past tasks; equal ones are fitted once, see `PastTasks.learn`.

    Attributes:
        settings: How its parts work together.
        metric: What performances are, where that is known.
        tuning: What decides whether a recommendation comes before the default; only what past tasks tell counts.
    """

    settings: RecommenderSettings = _FULL
    metric: Metric | None = None
    tuning: TuningEvidence | None = field(default=None, hash=False)

    @classmethod
    def like(cls, recommender: Recommender) -> "FitRecommender":
        """Return what fits another one of the kind."""
        return cls(recommender.settings, recommender.metric, recommender.tuning)

    def __call__(self, past: PastTasks) -> Recommender:
        """Return the recommender."""
        tuning = None if self.tuning is None else self.tuning.of(past.task_ids)
        return Recommender(past, self.settings, metric=self.metric, tuning=tuning)

    def make(self, context: StrategyContext) -> RecommendedStrategy:
        """Return its strategy."""
        return RecommendedStrategy(past_of(context).learn(self), context)


make_recommended = FitRecommender().make
"""What `fit` on these past tasks would recommend."""
make_meta_gp = FitRecommender(
    replace(_NO_PORTFOLIO, similarity=False, mixture=replace(_MIXTURE, task_experts=False, scale="fitted"))
).make
"""The Gaussian process whose mean and covariance are those of past tasks."""
make_no_portfolio = FitRecommender(_NO_PORTFOLIO).make
make_no_task_forest = FitRecommender(replace(_FULL, task_forest=False)).make
"""Past tasks are weighed by distance alone."""
make_no_task_experts = FitRecommender(replace(_FULL, mixture=replace(_MIXTURE, task_experts=False))).make
"""The mean of past tasks is the only expert."""
make_no_scale = FitRecommender(replace(_FULL, mixture=replace(_MIXTURE, scale="fixed"))).make
"""The scale is that of past tasks' median."""
make_no_similarity = FitRecommender(replace(_FULL, similarity=False)).make
"""All past tasks weigh the same."""
make_no_past_covariance = FitRecommender(replace(_FULL, mixture=replace(_MIXTURE, past_share=0.0))).make
make_no_smooth_kernel = FitRecommender(replace(_FULL, mixture=replace(_MIXTURE, smooth_share=0.0))).make
