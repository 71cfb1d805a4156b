"""How far a task is from past ones, by what its meta-features say.

The one thing to know: there are two measures. `StandardDistance` is for tasks that this package has described, on the
scale on which the surrogate's networks see them; `TaskDistance` is for anyone's tables of trials, where meta-features
may be missing or span orders of magnitude.
"""

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
class StandardDistance:
    """Distances in meta-features as the networks see them: standardised and clipped.

    Attributes:
        standardiser: Fitted on past tasks.
        standardised: `(T, M)` past tasks.
    """

    standardiser: Standardiser
    standardised: Array

    @classmethod
    def fit(cls, meta_features: Array) -> "StandardDistance":
        """Fit on `(T, M)` finite meta-features of past tasks."""
        standardiser = Standardiser.fit(meta_features)
        return cls(standardiser, standardiser.transform(meta_features))

    def transform(self, meta_features: Array) -> Array:
        """Return the new task's `(M,)` standardised meta-features."""
        return self.standardiser.transform(meta_features)

    def squared(self, meta_features: Array) -> Array:
        """Return squared distances `(T,)` of a new task to the past ones."""
        return square_distances(self.standardised, self.transform(meta_features))


@dataclass(frozen=True)
class TaskDistance:
    """The same in meta-features of any origin: long-tailed positive ones on a log scale, missing ones at the median.

    Attributes:
        log: `(M,)` which are taken on a log scale.
        standard: Distances in what comes of that.
    """

    log: NDArray[np.bool_]
    standard: StandardDistance

    @classmethod
    def fit(cls, meta_features: Array) -> "TaskDistance":
        """Fit on `(T, M)` raw meta-features of past tasks, NaN where not known."""
        known = np.isfinite(meta_features)
        low = np.where(known, meta_features, np.inf).min(axis=0)
        high = np.where(known, meta_features, -np.inf).max(axis=0)
        log = (low > 0) & (high > _LONG_TAIL * low)
        values = _with_logs(meta_features, log)
        empty = ~known.any(axis=0)
        center = np.nanmedian(np.where(empty, 0.0, values), axis=0) if values.shape[1] else np.empty(0)
        return cls(log, StandardDistance.fit(np.where(np.isfinite(values), values, center)))

    @property
    def standardised(self) -> Array:
        """`(T, M)` past tasks."""
        return self.standard.standardised

    def transform(self, meta_features: Array) -> Array:
        """Return the new task's `(M,)` standardised meta-features."""
        values = _with_logs(meta_features, self.log)
        # The median of past tasks: filling their gaps with it has not moved it.
        return self.standard.transform(np.where(np.isfinite(values), values, self.standard.standardiser.center))

    def squared(self, meta_features: Array) -> Array:
        """Return squared distances `(T,)` of a new task to the past ones."""
        return square_distances(self.standardised, self.transform(meta_features))


def _with_logs(values: Array, log: NDArray[np.bool_]) -> Array:
    # A new task may have a value that is not positive where all past ones were.
    return np.asarray(np.where(log, np.log(np.maximum(values, 1e-12)), values))
