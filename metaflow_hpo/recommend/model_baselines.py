"""Baselines that fit a model: GP-EI cold and warm-started, RGPE, Copula Thompson sampling.

The one thing to know: they are the published methods, reimplemented on a pool of recorded configurations; each
docstring says what its paper leaves open and how it is set here.
"""

from dataclasses import dataclass

import numpy as np

from metaflow_hpo.gaussian_process import GaussianProcess, expected_improvement
from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommend.sequential import (
    GreedyPortfolio,
    Observed,
    Picker,
    RandomOrder,
    best_free,
    generator,
)

RANDOM_STARTS = 3
PORTFOLIO_STARTS = 5
RGPE_SAMPLES = 64
RGPE_DROPPED_QUANTILE = 0.95
RGPE_DEVIATION = 0.1
"""Least deviation of a past task's process: at its own trials a process with noise is not certain either."""
MAX_CTS_ROWS = 20_000


@dataclass(frozen=True)
class GaussianProcessSearch:
    """Expected improvement under a Gaussian process on the new task's trials alone.

    Attributes:
        points: `(P, D)` encoded pool.
        initial: What picks the first trials.
        starts: How many those are.
        is_random: Whether the first trials are random.
    """

    points: Array
    initial: RandomOrder | GreedyPortfolio
    starts: int
    is_random: bool

    @classmethod
    def cold(cls, past: PastTasks) -> "GaussianProcessSearch":
        """Start with three random configurations, whatever past tasks say."""
        return cls(past.points, RandomOrder.fit(past), RANDOM_STARTS, True)

    @classmethod
    def warm(cls, past: PastTasks) -> "GaussianProcessSearch":
        """Start with the first five of the portfolio on regret."""
        return cls(past.points, GreedyPortfolio.on_regret(past), PORTFOLIO_STARTS, False)

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Begin with the initial configurations."""
        first = self.initial.start(meta_features, seed)

        def pick(observed: Observed) -> int | None:
            if len(observed.positions) < self.starts:
                return first(observed)
            process = GaussianProcess.fit(self.points[observed.positions], observed.performance)
            mean, deviation = process.predict(self.points)
            return best_free(
                expected_improvement(mean, deviation, float(observed.performance.max())), observed.positions
            )

        return pick


@dataclass(frozen=True)
class RankingWeightedEnsemble:
    """RGPE: past tasks' processes and the new task's own, weighted by how often each ranks the trials best.

    The past tasks' means and deviations are those of `PastTasks` (the recorded values where they were tried). Starts
    with three of the portfolio. A past task is dropped where its median loss exceeds the 95th percentile of the own
    process's.

    References:
        Feurer, Letham, Hutter, Bakshy 2018, Practical transfer learning for Bayesian optimization, arXiv:1802.02219.
    """

    points: Array
    scores: Array
    deviation: Array
    initial: GreedyPortfolio
    is_random: bool = True

    @classmethod
    def fit(cls, past: PastTasks) -> "RankingWeightedEnsemble":
        """Take over the past tasks' predictions, standardised on the pool."""
        width = np.maximum(past.scores.std(axis=1, keepdims=True), 1e-9)
        scores = (past.scores - past.scores.mean(axis=1, keepdims=True)) / width
        deviation = np.maximum(past.deviation / width, RGPE_DEVIATION)
        return cls(past.points, scores, deviation, GreedyPortfolio.on_regret(past))

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Begin with the portfolio."""
        first = self.initial.start(meta_features, seed)

        def pick(observed: Observed) -> int | None:
            if len(observed.positions) < RANDOM_STARTS:
                return first(observed)
            y = observed.performance
            width = float(y.std()) if y.std() > 1e-12 else 1.0
            y = (y - y.mean()) / width
            process = GaussianProcess.fit(self.points[observed.positions], y)
            weights = self._weights(process, observed, y, generator(seed, observed))
            mean, deviation = process.predict(self.points)
            mean = weights[:-1] @ self.scores + weights[-1] * mean
            variance = weights[:-1] ** 2 @ self.deviation**2 + (weights[-1] * deviation) ** 2
            best = float(mean[observed.positions].max())
            return best_free(expected_improvement(mean, np.sqrt(variance), best), observed.positions)

        return pick

    def _weights(self, process: GaussianProcess, observed: Observed, y: Array, rng: np.random.Generator) -> Array:
        """Return `(T + 1,)` weights, the new task's own process last."""
        at = observed.positions
        past = self.scores[:, at] + self.deviation[:, at] * rng.standard_normal((RGPE_SAMPLES, 1, len(at)))
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


@dataclass(frozen=True)
class CopulaThompson:
    """CTS as in Syne Tune: boosted trees on past tasks' Gaussian copula scores, one Thompson sample a pick.

    The deviation is that of the residuals on a tenth of the trials that was left out; at most 20,000 trials are fitted.
    It learns nothing from the new task.

    References:
        Salinas, Shen, Perrone 2020, A quantile-based approach for hyperparameter transfer learning, arXiv:1909.13595.
    """

    mean: Array
    deviation: float
    is_random: bool = True

    @classmethod
    def fit(cls, past: PastTasks) -> "CopulaThompson":
        """Fit the trees on the pooled trials of past tasks."""
        from scipy.stats import norm, rankdata
        from sklearn.ensemble import HistGradientBoostingRegressor

        points = np.concatenate([p for p, _ in past.trials])
        copula = np.concatenate([norm.ppf((rankdata(s) - 0.5) / len(s)) for _, s in past.trials])
        # In an order of the values, so that the order of past tasks does not matter.
        rows = np.lexsort((*points.T, copula))
        rows = np.random.default_rng(0).permutation(rows)[:MAX_CTS_ROWS]
        held = rows[: max(len(rows) // 10, 1)]
        trees = HistGradientBoostingRegressor(random_state=0).fit(points[rows[len(held) :]], copula[rows[len(held) :]])
        deviation = float((trees.predict(points[held]) - copula[held]).std())
        return cls(np.asarray(trees.predict(past.points), dtype=np.float64), deviation)

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Sample once a pick."""

        def pick(observed: Observed) -> int | None:
            noise = generator(seed, observed).standard_normal(len(self.mean))
            return best_free(self.mean + self.deviation * noise, observed.positions)

        return pick
