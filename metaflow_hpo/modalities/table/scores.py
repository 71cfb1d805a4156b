"""Scores of predictions, each in its own orientation; `Metric.orient` turns one into a performance."""

import numpy as np
from numpy.typing import NDArray

_CLIP = 1e-7


def score(kind: str, y_true: NDArray[np.generic], predictions: NDArray[np.floating]) -> dict[str, float]:
    """Score predictions by every metric of a kind of task.

    Args:
        kind: `binary`, `multiclass` or `regression`.
        y_true: Class numbers or target, `(m,)`.
        predictions: Probabilities `(m, classes)`, or predicted target `(m,)`.

    Returns:
        `accuracy`, `balanced_accuracy` (mean recall of the classes that occur) and `log_loss` (probabilities clipped to
        1e-7), or `r2` and `rmse` (in the units of `y_true`). R2 of a constant target is 1 if it is hit, else 0.
    """
    if kind == "regression":
        return _score_regression(y_true.astype(np.float64), predictions.astype(np.float64))
    labels = y_true.astype(np.int64)
    hits = predictions.argmax(axis=1) == labels
    counts = np.bincount(labels)
    recall = np.bincount(labels, weights=hits)[counts > 0] / counts[counts > 0]
    chosen = predictions[np.arange(len(labels)), labels].astype(np.float64)
    return {
        "accuracy": float(hits.mean()),
        "balanced_accuracy": float(recall.mean()),
        "log_loss": float(-np.log(np.clip(chosen, _CLIP, 1 - _CLIP)).mean()),
    }


def _score_regression(y_true: NDArray[np.float64], predictions: NDArray[np.float64]) -> dict[str, float]:
    squared = float(np.sum((y_true - predictions) ** 2))
    total = float(np.sum((y_true - y_true.mean()) ** 2))
    r2 = 1 - squared / total if total > 0 else float(squared == 0)
    return {"r2": r2, "rmse": float(np.sqrt(squared / len(y_true)))}
