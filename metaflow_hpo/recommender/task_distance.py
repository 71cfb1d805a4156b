"""How far a task is from past ones, by what its meta-features say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.history import Array
from metaflow_hpo.surrogate.targets import Standardiser

_LONG_TAIL = 100.0


def square_distances(points: Array, point: Array) -> Array:
    """Return squared distances `(T,)` of points `(T, M)` to one point `(M,)`."""
    return np.asarray(((points - point) ** 2).sum(axis=1))


@dataclass(frozen=True)
class TaskDistance:
    """Distances in meta-features as the networks see them: standardised, clipped, the median where not known.

    Attributes:
        log: `(M,)` which are taken on a log scale first.
        standardiser: Fitted on past tasks.
        standardised: `(T, M)` past tasks.
    """

    log: NDArray[np.bool_]
    standardiser: Standardiser
    standardised: Array

    @classmethod
    def fit(cls, meta_features: Array, *, guess_scales: bool = True) -> "TaskDistance":
        """Fit on past tasks.

        Args:
            meta_features: `(T, M)` raw, NaN where not known.
            guess_scales: Take positive meta-features that span orders of magnitude on a log scale.
        """
        known = np.isfinite(meta_features)
        low = np.where(known, meta_features, np.inf).min(axis=0, initial=np.inf)
        high = np.where(known, meta_features, -np.inf).max(axis=0, initial=-np.inf)
        log = (low > 0) & (high > _LONG_TAIL * low) & guess_scales
        values = _with_logs(meta_features, log)
        standardiser = Standardiser.fit(values)
        return cls(log, standardiser, standardiser.transform(values))

    @property
    def typical(self) -> Array:
        """`(M,)` raw meta-features in the middle of past tasks."""
        center = self.standardiser.center
        return np.asarray(np.where(self.log, np.exp(np.where(self.log, center, 0.0)), center))

    def transform(self, meta_features: Array) -> Array:
        """Return the new task's `(M,)` standardised meta-features."""
        return self.standardiser.transform(_with_logs(meta_features, self.log))

    def squared(self, meta_features: Array) -> Array:
        """Return squared distances `(T,)` of a new task to the past ones."""
        return square_distances(self.standardised, self.transform(meta_features))


def _with_logs(values: Array, log: NDArray[np.bool_]) -> Array:
    # A new task may have a value that is not positive where all past ones were.
    return np.asarray(np.where(log, np.log(np.maximum(values, 1e-12)), values))
