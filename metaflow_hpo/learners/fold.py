"""What training on one fold gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


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
