"""Expected training time of a configuration: a ridge regression in logarithms, as cost is a product of sizes."""

from dataclasses import dataclass

import numpy as np

from metaflow_hpo.history import Array, History

_SIZES = ("rows", "columns", "classes")
_PENALTY = 1.0


@dataclass(frozen=True)
class DurationModel:
    """log(seconds) as a linear function of the task's sizes and the encoded configuration.

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
    def fit(cls, meta: History) -> "DurationModel":
        """Fit on all trials with a known duration."""
        columns = tuple(i for i, name in enumerate(meta.meta_feature_names) if any(word in name for word in _SIZES))
        tasks, configurations = np.nonzero(np.isfinite(meta.duration))
        seconds = np.maximum(meta.duration[tasks, configurations], 1e-4)
        inputs = _inputs(meta.meta_features[:, columns][tasks], meta.points[configurations])
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


def _inputs(sizes: Array, encoded: Array) -> Array:
    return np.concatenate([np.ones((len(encoded), 1)), sizes, encoded], axis=1)
