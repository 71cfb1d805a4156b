"""Stopping by learning curve: a bound on what a training will still reach, learned from the curves of past tasks.

The one thing to know: the bound is a quantile, so one training in fifty that is judged would have come out better than
it says. It is linear in a few features of the curve; boosted trees that know the configuration as well stop no more
for the same loss.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.history import Array
from metaflow_hpo.trial import Trial

QUANTILE = 0.98
"""Of what is still to come; at .95 a third of the time is saved instead of a fifth, for five times the loss."""
MIN_TRIALS = 3
"""Finished trials before the first is stopped."""
_SHARES = (0.06, 0.12, 0.2, 0.3, 0.44, 0.64)
"""Of the epochs, after which a training is judged."""
_MIN_CURVES = 200
_MAX_CURVES = 4000
_SEED = 0
_ALPHA = 1e-6
"""Penalty of the weights: next to nothing, but one solution where curves are so alike that there would be many."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoppingRule:
    """Bounds what a training of `epochs` epochs reaches, from its learning curve up to a checkpoint.

    Attributes:
        epochs: Fidelity of the trainings it was learned from, `E`.
        checkpoints: `(S,)` epochs after which it can be asked, ascending.
        coefficients: `(S, 5)` intercept and weights of the features of a curve.
    """

    epochs: int
    checkpoints: tuple[int, ...]
    coefficients: Array

    @classmethod
    def fit(cls, curves: NDArray[np.floating[Any]], quantile: float = QUANTILE) -> "StoppingRule | None":
        """Learn from finished trainings.

        Args:
            curves: `(N, E)` learning curves, in [0, 1]; 4,000 of them, drawn with a fixed seed, are enough.
            quantile: Of what is still to come, in (0, 1).

        Returns:
            The rule; None where there are fewer than 200 curves, or so few epochs that checkpoints coincide, or (with a
            warning) where the curves are so odd that the regression finds no solution.

        References:
            Quantile regression: Koenker and Bassett 1978. Stopping by extrapolated curves: Domhan et al. 2015.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import QuantileRegressor

        count, epochs = curves.shape
        checkpoints = tuple(round(share * epochs) for share in _SHARES)
        if count < _MIN_CURVES or len(set(checkpoints)) < len(checkpoints) or checkpoints[0] < 2:
            return None
        rng = np.random.default_rng(_SEED)
        drawn = curves[np.sort(rng.choice(count, min(count, _MAX_CURVES), replace=False))].astype(np.float64)
        coefficients = []
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            for epoch in checkpoints:
                model = QuantileRegressor(quantile=quantile, alpha=_ALPHA, solver="highs")
                try:
                    model.fit(_describe(drawn[:, :epoch]), drawn[:, -1] - drawn[:, epoch - 1])
                except ConvergenceWarning as warning:
                    _log.warning("No trial will be stopped by its learning curve: %s", str(warning).split("\n")[0])
                    return None
                coefficients.append([model.intercept_, *model.coef_])
        return cls(epochs, checkpoints, np.array(coefficients))

    def bound(self, curves: NDArray[np.floating[Any]]) -> Array:
        """Return what trainings reach at best, `(N,)`, at the quantile.

        Args:
            curves: `(N, e)` learning curves up to one of the checkpoints.
        """
        intercept, *weights = self.coefficients[self.checkpoints.index(curves.shape[1])]
        bounds: Array = curves[:, -1] + intercept + _describe(curves) @ np.array(weights)
        return bounds

    def judge(self, trials: Sequence[Trial]) -> "BeatenBy | None":
        """Return what stops trainings that will not reach the best of these trials; None while there are too few.

        Args:
            trials: Trials whose performance is in the unit of learning curves (balanced accuracy, R2 floored at 0).
        """
        finished = [t.performance for t in trials if t.status == "ok" and t.fidelity == self.epochs]
        return BeatenBy(self, max(finished)) if len(finished) >= MIN_TRIALS else None

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "epochs": self.epochs,
            "checkpoints": list(self.checkpoints),
            "coefficients": self.coefficients.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StoppingRule":
        """Read back what `to_json` returned."""
        epochs, checkpoints = int(values["epochs"]), tuple(map(int, values["checkpoints"]))
        coefficients = np.array(values["coefficients"], np.float64)
        if not np.isfinite(coefficients).all() or coefficients.ndim != 2 or len(coefficients) != len(checkpoints):
            raise ValueError(f"finite coefficients for each of {checkpoints} were expected; found {coefficients}")
        return cls(epochs, checkpoints, coefficients)


@dataclass(frozen=True)
class BeatenBy:
    """A judge (see `learners.stages.Judge`) that stops what will not reach the best trial so far.

    Attributes:
        rule: Bounds what is reached.
        best: Performance of the best trial so far, in the unit of learning curves.
    """

    rule: StoppingRule
    best: float

    @property
    def checkpoints(self) -> Sequence[int]:
        """Epochs after which it wants to be asked."""
        return self.rule.checkpoints

    def __call__(self, curve: NDArray[np.floating[Any]]) -> str:
        """Return why a training is stopped, or nothing."""
        bound = float(self.rule.bound(curve[None, :])[0])
        if bound >= self.best:
            return ""
        return f"stopped: after epoch {len(curve)} expected to reach {bound:.3f} at best; another has {self.best:.3f}"


def _describe(curves: NDArray[np.floating[Any]]) -> Array:
    """Return features of curves `(N, e)`: how far from 1, how far below their best, gain of the second half, slope."""
    now, epochs = curves[:, -1], curves.shape[1]
    half, before = curves[:, max(epochs // 2 - 1, 0)], curves[:, max(epochs - 2, 0)]
    return np.column_stack([1 - now, curves.max(axis=1) - now, now - half, now - before])
