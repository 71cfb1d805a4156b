"""How long the training of a configuration takes."""

from dataclasses import dataclass

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.modalities.roles import Roles
from metaflow_hpo.past_tasks import PastTasks

_PENALTY = 1.0


@dataclass(frozen=True)
class DurationModel:
    """log(seconds) as a ridge regression on the task's sizes and the encoded configuration: cost is a product of sizes.

    Attributes:
        columns: Positions of the meta-features used: those that measure size.
        coefficients: `(1 + F + D,)`, the constant first.
        low: Shortest duration seen, in seconds; answers are kept within a factor of ten of what was seen.
        high: Longest duration seen, in seconds.
    """

    columns: tuple[int, ...]
    coefficients: Array
    low: float
    high: float

    @classmethod
    def fit(cls, past: PastTasks) -> "DurationModel":
        """Fit on all trials with a known duration."""
        columns = tuple(Roles.of(past.meta_feature_names).positions("size"))
        tasks, configurations = np.nonzero(np.isfinite(past.duration))
        seconds = np.maximum(past.duration[tasks, configurations], 1e-4)
        inputs = _inputs(past.meta_features[:, columns][tasks], past.points[configurations])
        penalty = _PENALTY * np.eye(inputs.shape[1])
        penalty[0, 0] = 0.0
        solution = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ np.log(seconds))
        return cls(columns, np.asarray(solution, dtype=np.float64), float(seconds.min()), float(seconds.max()))

    def predict(self, meta_features: Array, encoded: Array) -> Array:
        """Return expected seconds `(N,)` of a trial, for one task `(M,)` and encoded configurations `(N, D)`."""
        sizes = np.tile(meta_features[list(self.columns)], (len(encoded), 1))
        # Limited before exp: a task of a strange size would overflow.
        limits = np.log(self.low / 10), np.log(self.high * 10)
        return np.asarray(np.exp(np.clip(_inputs(sizes, encoded) @ self.coefficients, *limits)))


@dataclass(frozen=True)
class MedianDurations:
    """The median over past tasks, where nothing is known of sizes.

    Attributes:
        points: `(P, D)` encoded pool.
        seconds: `(P,)` NaN where not known.
    """

    points: Array
    seconds: Array

    @classmethod
    def fit(cls, past: PastTasks) -> "MedianDurations":
        """Take the medians."""
        known = np.isfinite(past.duration).any(axis=0)
        seconds = np.full(len(past.points), np.nan)
        seconds[known] = np.nanmedian(past.duration[:, known], axis=0)
        return cls(past.points, seconds)

    def predict(self, meta_features: Array, encoded: Array) -> Array:
        """Return the seconds `(N,)` of the nearest configurations of the pool, whatever the task."""
        squared = ((self.points[None, :, :] - encoded[:, None, :]) ** 2).sum(axis=2)
        return np.asarray(self.seconds[np.argmin(squared, axis=1)])


def fit_durations(past: PastTasks, *, described: bool) -> DurationModel | MedianDurations:
    """Return what knows best; `described` tells that the names of the meta-features say which are sizes."""
    return DurationModel.fit(past) if described and np.isfinite(past.duration).any() else MedianDurations.fit(past)


def _inputs(sizes: Array, encoded: Array) -> Array:
    return np.concatenate([np.ones((len(encoded), 1)), sizes, encoded], axis=1)
