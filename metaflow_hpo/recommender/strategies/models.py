"""Strategies that fit a model: GP-EI cold and warm-started, RGPE, Copula Thompson sampling.

They are the published methods, reimplemented on a pool of configurations; each docstring says what its paper leaves
open and how it is set here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metaflow_hpo.collect.strategies.fresh import fresh_configurations
from metaflow_hpo.collect.strategies.listed import make_random
from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.strategy import OneByOneStrategy, Record, StrategyContext
from metaflow_hpo.gaussian_process import GaussianProcess, expected_improvement
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.observed import Observed, best_free
from metaflow_hpo.recommender.strategies.orders import make_portfolio
from metaflow_hpo.recommender.strategies.past import PoolStrategy, past_of, pool_of, trials_of
from metaflow_hpo.space import Array, Configuration

RANDOM_STARTS = 3
PORTFOLIO_STARTS = 5
RGPE_SAMPLES = 64
RGPE_DROPPED_QUANTILE = 0.95
RGPE_DEVIATION = 0.1
"""Least deviation of a past task's process: at its own trials a process with noise is not certain either."""
MAX_CTS_ROWS = 20_000
_CANDIDATES = 2_000
"""Configurations among which expected improvement is looked for where there is no pool."""

First = Callable[[StrategyContext, Record], OneByOneStrategy]


def make_gp(context: StrategyContext) -> "GaussianProcessStrategy":
    """Make GP-EI after three random configurations, whatever past tasks say."""
    return GaussianProcessStrategy(context, context.pool, make_random, RANDOM_STARTS)


def make_warm_gp(context: StrategyContext) -> "GaussianProcessStrategy":
    """Make GP-EI after the first five of the portfolio on regret."""
    return GaussianProcessStrategy(context, pool_of(context), make_portfolio, PORTFOLIO_STARTS)


class GaussianProcessStrategy(OneByOneStrategy):
    """Expected improvement under a Gaussian process on the new task's trials alone.

    What is pending is taken to come out as expected (Ginsbourger, Le Riche, Carraro 2010, the believer).

    Args:
        context: What it is made from.
        pool: Configurations to choose among; None for the whole space.
        first: Makes what picks the first trials.
        starts: How many those are.
    """

    def __init__(self, context: StrategyContext, pool: Pool | None, first: First, starts: int) -> None:
        super().__init__(context.parallel)
        # Past tasks may be of a wider space than what is searched: points are compared in theirs.
        self._space, self._seed = context.space if pool is None else pool.space, context.seed
        self._pool = pool
        self._first = first(context, self._record)
        self._starts = starts

    def propose(self) -> Configuration | None:
        """Return one of the first, or the candidate of the greatest expected improvement."""
        record = self._record
        if len(record) < self._starts or not record.told:
            return self._first.propose()
        pool = self._pool or self._draw()
        if not len(pool):
            return self._first.propose()
        performance = np.array(record.performance)
        points = self._space.encode([trial.configuration for trial in record.told])
        process = GaussianProcess.fit(points, performance)
        if record.pending:
            waiting = self._space.encode(list(record.pending.values()))
            expected = np.append(performance, process.predict(waiting)[0])
            process = GaussianProcess.fit(np.concatenate([points, waiting]), expected)
        mean, deviation = process.predict(pool.points)
        improvement = expected_improvement(mean, deviation, float(performance.max()))
        position = best_free(improvement, [p for p, name in enumerate(pool.names) if name in record])
        return None if position is None else pool.configurations[position]

    def _draw(self) -> Pool:
        tried = [*(trial.configuration for trial in self._record.told), *self._record.pending.values()]
        performance = [*self._record.performance, *[-np.inf] * len(self._record.pending)]
        fresh = fresh_configurations(self._space, tried, performance, seed=self._seed, count=_CANDIDATES)
        return Pool(self._space, tuple(fresh))


def make_rgpe(context: StrategyContext) -> "RankingWeightedEnsemble":
    """Make RGPE."""
    return RankingWeightedEnsemble(context)


@dataclass(frozen=True)
class _Standardised:
    """Past tasks' predictions `(T, P)` and their deviations, standardised on the pool."""

    scores: Array
    deviation: Array

    @classmethod
    def of(cls, past: PastTasks) -> "_Standardised":
        width = np.maximum(past.scores.std(axis=1, keepdims=True), 1e-9)
        scores = (past.scores - past.scores.mean(axis=1, keepdims=True)) / width
        return cls(scores, np.maximum(past.deviation / width, RGPE_DEVIATION))


class RankingWeightedEnsemble(PoolStrategy):
    """RGPE: past tasks' processes and the new task's own, weighted by how often each ranks the trials best.

    The past tasks' means and deviations are those of `PastTasks` (the recorded values where they were tried). Starts
    with three of the portfolio. A past task is dropped where its median loss exceeds the 95th percentile of the own
    process's.

    References:
        Feurer, Letham, Hutter, Bakshy 2018, Practical transfer learning for Bayesian optimization, arXiv:1802.02219.
    """

    def __init__(self, context: StrategyContext) -> None:
        super().__init__(context, context.parallel)
        self._past = past_of(context).learn(_Standardised.of)
        self._first = make_portfolio(context, self._record)

    def propose(self) -> Configuration | None:
        """Return one of the portfolio's first, or what the ensemble chooses."""
        return self._first.propose() if len(self._record) < RANDOM_STARTS else super().propose()

    def choose(self, observed: Observed, pending: Sequence[int]) -> int | None:
        """Return the position of the greatest expected improvement under the ensemble."""
        taken = [*observed.positions.tolist(), *pending]
        if not len(observed.positions):
            return best_free(self._past.scores.mean(axis=0), taken)
        y = observed.performance
        width = float(y.std()) if y.std() > 1e-12 else 1.0
        y = (y - y.mean()) / width
        points = self.pool.points
        process = GaussianProcess.fit(points[observed.positions], y)
        weights = self._weights(process, observed, y, self.generator())
        mean, deviation = process.predict(points)
        mean = weights[:-1] @ self._past.scores + weights[-1] * mean
        variance = weights[:-1] ** 2 @ self._past.deviation**2 + (weights[-1] * deviation) ** 2
        best = float(mean[observed.positions].max())
        return best_free(expected_improvement(mean, np.sqrt(variance), best), taken)

    def _weights(self, process: GaussianProcess, observed: Observed, y: Array, rng: np.random.Generator) -> Array:
        """Return `(T + 1,)` weights, the new task's own process last."""
        at = observed.positions
        noise = rng.standard_normal((RGPE_SAMPLES, 1, len(at)))
        past = self._past.scores[:, at] + self._past.deviation[:, at] * noise
        worse = y[:, None] < y[None, :]
        losses = ((past[..., :, None] < past[..., None, :]) ^ worse).sum(axis=(2, 3))  # (S, T)
        mean, deviation = process.leave_one_out(y)
        own = mean + deviation * rng.standard_normal((RGPE_SAMPLES, len(at)))
        # The own process must not rank a trial by having seen it: left-out sample against the others' true values.
        own_losses = ((own[:, :, None] < y[None, None, :]) ^ worse).sum(axis=(1, 2))  # (S,)
        dropped = np.median(losses, axis=0) > np.quantile(own_losses, RGPE_DROPPED_QUANTILE)
        table = np.column_stack([np.where(dropped, np.inf, losses), own_losses])
        least = table == table.min(axis=1, keepdims=True)
        return np.asarray((least / least.sum(axis=1, keepdims=True)).mean(axis=0))


def make_cts(context: StrategyContext) -> "ThompsonStrategy":
    """Make CTS as in Syne Tune: boosted trees on past tasks' Gaussian copula scores, one Thompson sample a pick.

    The deviation is that of the residuals on a tenth of the trials that was left out; at most 20,000 trials are fitted.
    It learns nothing from the new task.

    References:
        Salinas, Shen, Perrone 2020, A quantile-based approach for hyperparameter transfer learning, arXiv:1909.13595.
    """
    return ThompsonStrategy(context, *past_of(context).learn(_fit_copula))


class ThompsonStrategy(PoolStrategy):
    """Chooses what is best in one sample a pick.

    Args:
        context: What it is made from.
        mean: `(P,)` expected score, higher is better.
        deviation: Of all scores.
    """

    def __init__(self, context: StrategyContext, mean: Array, deviation: float) -> None:
        super().__init__(context)
        self._mean = mean
        self._deviation = deviation

    def choose(self, observed: Observed, pending: Sequence[int]) -> int | None:
        """Return the best free position of a sample."""
        noise = self.generator().standard_normal(len(self._mean))
        return best_free(self._mean + self._deviation * noise, [*observed.positions.tolist(), *pending])


def _fit_copula(past: PastTasks) -> tuple[Array, float]:
    """Fit trees on the pooled trials of past tasks; return their mean on the pool and the deviation of residuals."""
    from scipy.stats import norm, rankdata
    from sklearn.ensemble import HistGradientBoostingRegressor

    trials = trials_of(past)
    points = np.concatenate([p for p, _ in trials])
    copula = np.concatenate([norm.ppf((rankdata(s) - 0.5) / len(s)) for _, s in trials])
    # In an order of the values, so that the order of past tasks does not matter.
    rows = np.lexsort((*points.T, copula))
    rows = np.random.default_rng(0).permutation(rows)[:MAX_CTS_ROWS]
    held = rows[: max(len(rows) // 10, 1)]
    trees = HistGradientBoostingRegressor(random_state=0).fit(points[rows[len(held) :]], copula[rows[len(held) :]])
    deviation = float((trees.predict(points[held]) - copula[held]).std())
    return np.asarray(trees.predict(past.points), dtype=np.float64), deviation
