"""Standardisation and targets: what the network sees and what it is asked for."""

from dataclasses import dataclass, field

import numpy as np

from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.past_tasks import rank_scores
from metaflow_hpo.surrogate.anchors import find_anchors

CLIP = 4.0


@dataclass(frozen=True)
class Standardiser:
    """Robust shift and scale of meta-features, fitted on meta-train tasks only; it travels with its network.

    Attributes:
        center: `(M,)` medians over meta-train tasks.
        scale: `(M,)` standard deviations; 0 where a meta-feature is constant, which then reads as 0 everywhere.
        indicated: `(I,)` positions of meta-features that are followed by whether they are missing.
    """

    center: Array
    scale: Array
    indicated: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def fit(cls, meta_features: Array, indicated: IntArray | None = None) -> "Standardiser":
        """Fit on `(T, M)` meta-features of meta-train tasks, NaN where not known."""
        known = np.isfinite(meta_features)
        empty = ~known.any(axis=0)
        filled = np.where(empty, 0.0, meta_features)
        center = np.nanmedian(filled, axis=0) if filled.shape[1] else np.empty(0)
        scale = np.where(known, meta_features, center).std(axis=0)
        scale = np.where(scale > 1e-9 * np.maximum(1.0, np.abs(center)), scale, 0.0)
        return cls(center, scale) if indicated is None else cls(center, scale, indicated)

    def transform(self, meta_features: Array) -> Array:
        """Return `(T, M + I)` or `(M + I,)` standardised, 0 where not known, and indicators behind them.

        They are clipped to +-4: a strange task must not saturate the network.
        """
        safe = np.where(self.scale > 0, self.scale, 1.0)
        values = np.where(self.scale > 0, (meta_features - self.center) / safe, 0.0)
        known = np.clip(np.nan_to_num(values, nan=0.0), -CLIP, CLIP)
        missing = np.isnan(meta_features[..., self.indicated]).astype(np.float64)
        return np.concatenate([known, missing], axis=-1) if len(self.indicated) else np.asarray(known)


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
        ends: `(T, 2)` worst and best performance, between the bounds of the metric.
    """

    meta_features: Array
    anchors: Array
    ends: Array


def make_task_rows(meta: History, standardiser: Standardiser) -> TaskRows:
    """Lay the tasks of a history out as rows."""
    return TaskRows(
        meta_features=standardiser.transform(meta.meta_features),
        anchors=find_anchors(meta.meta_features, meta.meta_feature_names),
        ends=np.column_stack([meta.worst, meta.best]),
    )


def make_rows(meta: History, standardiser: Standardiser) -> Rows:
    """Lay a meta-data set out as rows of (task, configuration)."""
    tasks, columns = np.nonzero(np.isfinite(meta.performance))
    return Rows(
        task=tasks.astype(np.float64),
        meta_features=standardiser.transform(meta.meta_features)[tasks],
        encoded=meta.points[columns],
        score=rank_scores(meta.performance)[tasks, columns],
        position=meta.normalised[tasks, columns],
    )
