"""What training on one fold draws, and what it gives."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration, configuration_id

FloatArray = NDArray[np.float32]

MAX_LOSS = 1e6
"""A validation loss above this is divergence: training starts near log(classes), or 1 for a standardised target."""


@dataclass(frozen=True)
class FoldOutcome:
    """What training one configuration on one fold gave.

    Attributes:
        predictions: `(m, classes)` probabilities, or `(m,)` predictions in the coding of `y_valid`; empty if failed.
        learning_curve: `(E,)` balanced accuracy (classification) or R2 (regression) on the validation rows after
            each epoch; empty for learners without epochs.
        duration_s: Seconds of training.
        reason: Why it failed (`diverged: ...`, `time: ...`, `memory: ...`, `crashed: ...`) or was stopped; else empty.
        stopped: A judge gave it up for its learning curve, see `stages.py`.
    """

    predictions: FloatArray
    learning_curve: FloatArray
    duration_s: float
    reason: str = ""
    stopped: bool = False

    @classmethod
    def failed(cls, reason: str, duration_s: float, learning_curve: FloatArray | None = None) -> "FoldOutcome":
        """Make the outcome of a training that gave no predictions."""
        nothing = np.empty(0, np.float32)
        return cls(nothing, nothing if learning_curve is None else learning_curve, duration_s, reason)


def average_curves(curves: NDArray[Any]) -> NDArray[Any]:
    """Return the learning curve of a trial, `(E,)`, from those of its folds, `(F, E)`: each floored at 0, averaged."""
    return np.asarray(np.maximum(curves, 0).mean(axis=0))


def make_rng(seed: int, configuration: Configuration, fold_number: int) -> np.random.Generator:
    """Return what a training draws from: it depends on nothing else that is trained."""
    key = f"{seed}|{configuration_id(configuration)}|{fold_number}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))


def score_weights(fold: Fold) -> NDArray[np.float64]:
    """Return one weight a validation row, `(m,)`.

    Weighted hits sum to the balanced accuracy, and weighted squared errors to 1 - R2 (to 1 where the target of the
    validation rows is constant and R2 is not defined).
    """
    if fold.classes == 0:
        spread = float(np.sum((fold.y_valid.astype(np.float64) - fold.y_valid.mean(dtype=np.float64)) ** 2))
        return np.full(len(fold.y_valid), 1 / spread if spread > 0 else 0.0)
    counts = np.bincount(fold.y_valid, minlength=fold.classes)
    return np.asarray(1.0 / (counts[fold.y_valid] * np.count_nonzero(counts)))
