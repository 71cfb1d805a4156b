"""Standardisation and targets: what the network sees and what it is asked for.

The one thing to know: a `Standardiser` is fitted on meta-train tasks only and travels with the network it is for.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from metaflow_hpo.surrogate.anchors import find_anchors
from metaflow_hpo.surrogate.meta_dataset import Array, MetaDataset

CLIP = 4.0


@dataclass(frozen=True)
class Standardiser:
    """Robust shift and scale of meta-features.

    Attributes:
        center: `(M,)` medians over meta-train tasks.
        scale: `(M,)` standard deviations; 0 where a meta-feature is constant, which then reads as 0 everywhere.
    """

    center: Array
    scale: Array

    @classmethod
    def fit(cls, meta_features: Array) -> "Standardiser":
        """Fit on `(T, M)` meta-features of meta-train tasks."""
        center = np.median(meta_features, axis=0)
        scale = meta_features.std(axis=0)
        return cls(center, np.where(scale > 1e-9 * np.maximum(1.0, np.abs(center)), scale, 0.0))

    def transform(self, meta_features: Array) -> Array:
        """Return `(T, M)` or `(M,)` standardised, clipped to +-4: a strange task must not saturate the network."""
        safe = np.where(self.scale > 0, self.scale, 1.0)
        values = np.where(self.scale > 0, (meta_features - self.center) / safe, 0.0)
        return np.asarray(np.clip(values, -CLIP, CLIP))


def rank_scores(performance: Array) -> Array:
    """Return half normal scores of the ranks, half z-scores, row by row.

    Args:
        performance: `(T, C)`, NaN where never tried.

    Returns:
        `(T, C)`; the ranks stretch the crowded top where regret is decided, the z-scores keep distances.

    References:
        Salinas, Shen, Perrone 2020, A quantile-based approach for hyperparameter transfer learning (the copula part).
    """
    result = np.full(performance.shape, np.nan)
    for t, row in enumerate(performance):
        known = np.isfinite(row)
        values = row[known]
        if values.size == 0:
            continue
        copula = norm.ppf((rankdata(values) - 0.5) / values.size)
        # The deviation of equal numbers is not exactly 0, and dividing by it would make a z-score of rounding.
        distinct = values.max() > values.min()
        z = np.clip((values - values.mean()) / values.std(), -3, 3) if distinct else np.zeros_like(values)
        result[t, known] = 0.5 * copula + 0.5 * z
    return result


@dataclass(frozen=True)
class Rows:
    """The network's training rows, one a known cell of (task, configuration).

    Attributes:
        task: `(N,)` position of the task.
        meta_features: `(N, M)` standardised.
        encoded: `(N, D)`.
        score: `(N,)` rank score.
        position: `(N,)` where the performance lies between the task's worst (0) and best (1).
    """

    task: Array
    meta_features: Array
    encoded: Array
    score: Array
    position: Array


@dataclass(frozen=True)
class TaskRows:
    """What the network of the ends is trained on, one row a task.

    Attributes:
        meta_features: `(T, M)` standardised.
        anchors: `(T, 2)` where worst and best performance are looked for.
        ends: `(T, 2)` worst and best performance.
    """

    meta_features: Array
    anchors: Array
    ends: Array


def make_task_rows(meta: MetaDataset, standardiser: Standardiser) -> TaskRows:
    """Lay the tasks of a meta-data set out as rows."""
    return TaskRows(
        meta_features=standardiser.transform(meta.meta_features),
        anchors=find_anchors(meta.meta_features, meta.meta_feature_names),
        ends=np.column_stack([meta.worst, meta.best]),
    )


def make_rows(meta: MetaDataset, standardiser: Standardiser) -> Rows:
    """Lay a meta-data set out as rows of (task, configuration)."""
    tasks, columns = np.nonzero(np.isfinite(meta.performance))
    return Rows(
        task=tasks.astype(np.float64),
        meta_features=standardiser.transform(meta.meta_features)[tasks],
        encoded=meta.encoded[columns],
        score=rank_scores(meta.performance)[tasks, columns],
        position=meta.normalised[tasks, columns],
    )
