"""The mixture of past tasks: every past task is an expert on the new one, weighted by the trials observed so far.

Performance of the new task is `a + b z(theta)`. Each expert is a Gaussian process for z: its mean leans towards one
past task (or the mean of all), its covariance is what past tasks vary by, plus a smooth rest. The offset a has a flat
prior, the scale b a grid of its prior; experts and scales are weighted by their marginal likelihood.

The one thing to know: with no trials there is nothing to weigh experts by; the first picks come from elsewhere
(`adaptive.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import solve_triangular

from metaflow_hpo.gaussian_process import expected_improvement, matern, squared_distances
from metaflow_hpo.history import Array, IntArray
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.observed import Observed

_FLAT = 100.0
"""Variance of the offset in units of the score: flat, and still well conditioned."""
_SCORE_RANGE = 6.0
_MIN_LOG_SCALE_SD = 0.3
_LOG_SCALE_STEP = 0.5
_MAX_SCALES = 25
_MIN_SHARE = 1e-3
_MAX_COMPONENTS = 300


@dataclass(frozen=True)
class MixtureSettings:
    """What an ablation switches off.

    Attributes:
        lean: How far an expert's mean leans from the mean of past tasks to its own task, in [0, 1].
        past_share: Share of the prior variance that follows past tasks' covariance.
        smooth_share: Share that follows a Matern kernel over configurations.
        length: Its length in the unit cube of seven dimensions; grows with the root of the dimension.
        noise: Noise variance of a score.
        task_experts: Whether past tasks are experts; otherwise only their mean is.
        scale: Whether the scale is integrated, fitted (its most probable value) or fixed at past tasks' median. Fixed
            is worse; fitted, which the meta-learned GP does, is as good as integrated.
    """

    lean: float = 0.8
    past_share: float = 0.7
    smooth_share: float = 0.15
    length: float = 0.6
    noise: float = 0.02
    task_experts: bool = True
    scale: Literal["integrated", "fitted", "fixed"] = "integrated"


@dataclass(frozen=True)
class Belief:
    """Everything about a new task that does not depend on its trials.

    Attributes:
        log_scales: `(B,)` log performance per unit of score, a grid.
        scale_prior: `(B,)` its prior, sums to 1.
        means: `(E, P)` means of the experts.
        log_weights: `(E,)` log prior of the experts.
        factors: `(T, P)` with `factors.T @ factors` the covariance over past tasks.
        deviation: `(P,)` its root diagonal.
        unsure: `(E, P)` deviation of filled-in scores in an expert's mean; empty where the pool is shared.
        points: `(P, D)` pool in units of the smooth kernel's length.
        settings: What is switched on.
    """

    log_scales: Array
    scale_prior: Array
    means: Array
    log_weights: Array
    factors: Array
    deviation: Array
    unsure: Array
    points: Array
    settings: MixtureSettings

    @classmethod
    def of(cls, past: PastTasks, weights: Array, settings: MixtureSettings = MixtureSettings()) -> "Belief":
        """Build experts from past tasks with weights `(T,)`."""
        log_scales, scale_prior = _make_scales(past.scale, settings)
        mean = weights @ past.scores
        factors = np.sqrt(weights)[:, None] * (past.scores - mean)
        variance = (factors**2).sum(axis=0) + weights @ past.deviation**2
        means, shares, unsure = [mean], [1.0], [np.zeros_like(mean)]
        if settings.task_experts:
            means = [mean, *((1.0 - settings.lean) * mean + settings.lean * past.scores)]
            shares = [0.25, *(0.75 * weights)]
            unsure = [np.zeros_like(mean), *(settings.lean * past.deviation)]
        length = settings.length * np.sqrt(past.points.shape[1] / 7.0)
        return cls(
            log_scales=log_scales,
            scale_prior=scale_prior,
            means=np.stack(means),
            log_weights=np.log(np.array(shares)),
            factors=factors,
            deviation=np.sqrt(np.maximum(variance, 1e-6)),
            unsure=np.empty((0, len(mean))) if past.is_shared else np.stack(unsure),
            points=past.points / length,
            settings=settings,
        )

    def improvement(self, observed: Observed) -> Array:
        """Return the expected improvement `(P,)`, averaged over experts and scales.

        In units of the score, since what counts is regret relative to the task's range; in units of performance the
        scales that promise most would decide.
        """
        performance = observed.performance - observed.performance.mean()
        best = float(performance.max())
        total = np.zeros(self.means.shape[1])
        for share, scales, mean, deviation in self._components(observed.positions, performance):
            total += share @ expected_improvement(mean, deviation[None, :], (best / scales)[:, None])
        return np.asarray(total)

    def predict(self, observed: Observed) -> tuple[Array, Array]:
        """Return mean and deviation `(P,)` of the performance, noise left out, given one trial or more."""
        level = float(observed.performance.mean())
        first, second = np.zeros(self.means.shape[1]), np.zeros(self.means.shape[1])
        for share, scales, mean, deviation in self._components(observed.positions, observed.performance - level):
            performance = scales[:, None] * mean  # (B', P)
            first += share @ performance
            second += share @ (performance**2 + (scales[:, None] * deviation) ** 2)
        return level + first, np.sqrt(np.maximum(second - first**2, 0.0))

    def _components(self, at: IntArray, performance: Array) -> Iterator[tuple[Array, Array, Array, Array]]:
        """Yield, for each expert that matters: shares, scales `(B',)`, means `(B', P)`, deviations `(P,)` of scores.

        Args:
            at: `(N,)` observed positions.
            performance: `(N,)` what they gave, less its mean: were it far from 0, large scales, for which it is not as
                far, would seem likelier.
        """
        best = float(performance.max())
        cross, smooth = self._covariance(at)  # (N, P) both
        scales = np.exp(self.log_scales)  # (B,)
        # A value far below the incumbent is only bad: scores do not reach further down.
        targets = np.maximum(performance / scales[:, None], best / scales[:, None] - _SCORE_RANGE)  # (B, N)
        residual = targets[None, :, :] - self.means[:, None, at]  # (E, B, N)
        noise, is_own = self.settings.noise, len(self.unsure) > 0
        if is_own:  # scores were filled in: each expert has a covariance of its own
            own = [self._own(e, cross[:, at], smooth[:, at], at, at) for e in range(len(self.means))]
            parts = [_Conditioned.on(covariance, residual[e : e + 1], noise) for e, covariance in enumerate(own)]
        else:
            parts = [_Conditioned.on(cross[:, at], residual, noise)]
        # Flat in the offset of y, not of y / b: one power of b less.
        evidence = np.concatenate([part.log_evidence for part in parts]) - (len(at) - 1) * self.log_scales
        log_weight = evidence + self.log_weights[:, None] + np.log(self.scale_prior)
        experts, grid, share = self._prune(log_weight)
        variance = self._prior_variance()
        if not is_own:
            variance = variance - parts[0].explain(cross)
        for e in np.unique(experts):  # only what matters is worked out for the whole pool
            mine = experts == e
            b = grid[mine]
            if is_own:
                covariance = self._own(e, cross, smooth, at, np.arange(cross.shape[1]))
                left = variance + self.unsure[e] ** 2 - parts[e].explain(covariance)
                mean = self.means[e] + parts[e].solved[0, b] @ covariance
            else:
                left, mean = variance, self.means[e] + parts[0].solved[e, b] @ cross
            yield share[mine], scales[b], mean, np.sqrt(np.maximum(left, 1e-10))

    def _own(self, e: int, cross: Array, smooth: Array, at: IntArray, to: IntArray) -> Array:
        """Return expert e's covariance of positions `at` with `to`: where its scores were filled in it is less sure."""
        return np.asarray(cross + smooth * self.unsure[e, at][:, None] * self.unsure[e, to][None, :])

    def _covariance(self, at: IntArray) -> tuple[Array, Array]:
        """Return prior covariance and smooth correlation `(N, P)` of observed positions with the pool."""
        settings = self.settings
        smooth = matern(squared_distances(self.points[at], self.points))
        past = settings.past_share * (1.0 - settings.lean**2 * settings.task_experts)
        rest = settings.smooth_share * self.deviation[at][:, None] * self.deviation[None, :]
        return past * self.factors[:, at].T @ self.factors + rest * smooth + _FLAT, smooth

    def _prior_variance(self) -> Array:
        settings = self.settings
        past = settings.past_share * (1.0 - settings.lean**2 * settings.task_experts)
        return np.asarray(past * (self.factors**2).sum(axis=0) + settings.smooth_share * self.deviation**2 + _FLAT)

    def _prune(self, log_weight: Array) -> tuple[IntArray, IntArray, Array]:
        """Return experts, scales and shares of the (expert, scale) pairs that carry nearly all the weight."""
        if self.settings.scale == "fitted":
            best = log_weight == log_weight.max(axis=1, keepdims=True)
            log_weight = np.where(best, log_weight, -np.inf)
        flat = log_weight.ravel()
        kept = np.argsort(-flat, kind="stable")[:_MAX_COMPONENTS]
        share = np.exp(flat[kept] - flat[kept[0]])
        share /= share.sum()
        kept, share = kept[share > _MIN_SHARE], share[share > _MIN_SHARE]
        experts, grid = np.divmod(kept, log_weight.shape[1])
        return experts, grid, share / share.sum()


def _make_scales(past: Array, settings: MixtureSettings) -> tuple[Array, Array]:
    """Return a grid of log scales `(B,)` and its prior `(B,)`, log-normal as the scales of past tasks `(T,)` are."""
    log_scale = np.log(past)
    sd = max(float(log_scale.std()), _MIN_LOG_SCALE_SD)
    count = int(np.clip(np.ceil(4.0 * sd / _LOG_SCALE_STEP), 7, _MAX_SCALES))
    z = np.zeros(1) if settings.scale == "fixed" else np.linspace(-2.0, 2.0, count)
    prior = np.exp(-0.5 * z**2)
    return float(np.median(log_scale)) + sd * z, prior / prior.sum()


@dataclass(frozen=True)
class _Conditioned:
    """Processes with one covariance, given the observed trials.

    Attributes:
        cholesky: `(N, N)` of the trials' covariance, noise included.
        solved: `(E, B, N)` covariance^-1 residual.
        log_evidence: `(E, B)` log marginal likelihood, up to a constant.
    """

    cholesky: Array
    solved: Array
    log_evidence: Array

    @classmethod
    def on(cls, covariance: Array, residual: Array, noise: float) -> "_Conditioned":
        """Condition on residuals `(E, B, N)` of trials with covariance `(N, N)`."""
        count = len(covariance)
        cholesky: Array = np.linalg.cholesky(covariance + noise * np.eye(count)).astype(np.float64, copy=False)
        half = solve_triangular(cholesky, residual.reshape(-1, count).T, lower=True, check_finite=False)
        back = solve_triangular(cholesky, half, lower=True, trans="T", check_finite=False)
        evidence = -0.5 * (half**2).sum(axis=0) - np.log(np.diag(cholesky)).sum()
        return cls(cholesky, back.T.reshape(residual.shape), evidence.reshape(residual.shape[:2]))

    def explain(self, cross: Array) -> Array:
        """Return the variance `(P,)` that the trials take away, given their covariance with the pool `(N, P)`."""
        half = solve_triangular(self.cholesky, cross, lower=True, check_finite=False)
        return np.asarray((half**2).sum(axis=0))
