"""What all strategies that learn from past tasks share: the past tasks themselves, and choosing in a pool."""

from collections.abc import Sequence

import numpy as np

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.strategy import UNLIMITED, OneByOneStrategy, StrategyContext
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.observed import Observed
from metaflow_hpo.space import Array, Configuration


def past_of(context: StrategyContext) -> PastTasks:
    """Return the past tasks of a context.

    Raises:
        MetaflowHPOError: If there are none.
    """
    if context.past is None:
        raise MetaflowHPOError(
            "This strategy learns from past tasks, and there are none. Give some (`--past HISTORY`), or "
            "take one that needs none, such as tpe or sobol."
        )
    return context.past


def pool_of(context: StrategyContext) -> Pool:
    """Return the configurations to choose among: the pool of a context, or what past tasks have tried."""
    return past_of(context).learn(_to_pool) if context.pool is None else context.pool


def _to_pool(past: PastTasks) -> Pool:
    return Pool(past.space, past.configurations)


def features_of(context: StrategyContext) -> Array:
    """Return the task's meta-features `(M,)`, NaN for all where nothing is known of it."""
    count = past_of(context).meta_features.shape[1]
    return np.full(count, np.nan) if context.meta_features is None else context.meta_features


def trials_of(past: PastTasks) -> Sequence[tuple[Array, Array]]:
    """Return points and scores of each past task's own trials; of what it has in the pool where no others are kept."""
    return past.trials or [(past.points, scores) for scores in past.scores]


class PoolStrategy(OneByOneStrategy):
    """Chooses in a pool by position; what was tried beside the pool is not looked at.

    Args:
        context: What it is made from.
        batch_size: See `Strategy`.
    """

    def __init__(self, context: StrategyContext, batch_size: int = UNLIMITED) -> None:
        super().__init__(batch_size)
        self.pool = pool_of(context)
        self.seed = context.seed

    def propose(self) -> Configuration | None:
        """Return the configuration at the position that is chosen."""
        positions = self.pool.positions
        told = zip(self._record.told, self._record.performance, strict=True)
        seen = [(positions[t.configuration_id], p) for t, p in told if t.configuration_id in positions]
        observed = Observed(np.array([p for p, _ in seen], dtype=np.int64), np.array([y for _, y in seen]))
        pending = [positions[name] for name in self._record.pending if name in positions]
        position = self.choose(observed, pending)
        return None if position is None else self.pool.configurations[position]

    def choose(self, observed: Observed, pending: Sequence[int]) -> int | None:
        """Return a position that was neither observed nor is pending; None where there is none."""
        raise NotImplementedError

    def generator(self) -> np.random.Generator:
        """Return a generator that depends on the seed and on how many trials were asked for."""
        return self._record.generator(self.seed)
