"""How prepared rows become what the network sees: numbers on one scale whatever their tails, indicators as they are.

The one thing to know: it is fitted on `Fold.x_train`, whose columns are standardised numbers or indicators; a column of
zeros and ones is an indicator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import FloatArray

SCALINGS = ("robust", "quantile", "standard")
_QUANTILES = 501
_SMOOTH = 3.0
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Encoder:
    """Scales numbers; made by `fit`.

    Attributes:
        scaling: `robust` (median to 0, distance of the quartiles to 1, then squeezed smoothly into +-3), `quantile` (by
            rank to a normal distribution, +-3.1 at most), `standard` (as prepared).
        numbers: Columns that are scaled, `(numbers,)`.
        others: Indicators that vary, `(others,)`; columns in neither are constant in the training rows.
        table: `(Q, numbers)` float32: quantiles from the least to the largest for `quantile`; median and distance of
            the quartiles (half the range where that is 0) for `robust`; nothing for `standard`.
    """

    scaling: str
    numbers: NDArray[np.int64]
    others: NDArray[np.int64]
    table: FloatArray

    @classmethod
    def fit(cls, x: FloatArray, scaling: str) -> "Encoder":
        """Learn from training rows, `(n, D)`."""
        indicator = ((x == 0) | (x == 1)).all(axis=0)
        numbers, others = np.flatnonzero(~indicator), np.flatnonzero(indicator & (x.max(axis=0) > x.min(axis=0)))
        values = x[:, numbers].astype(np.float64)
        match scaling:
            case "robust":
                low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
                half = (values.max(axis=0, initial=-np.inf) - values.min(axis=0, initial=np.inf)) / 2
                wide = np.where(high - low > 1e-6, high - low, np.where(half > 0, half, 1.0))
                table = np.stack([middle, wide])
            case "quantile":
                table = np.quantile(values, np.linspace(0, 1, min(_QUANTILES, max(len(x) // 2, 10))), axis=0)
            case _:
                table = np.empty((0, len(numbers)))
        return cls(scaling, numbers, others, table.astype(np.float32))

    def encode(self, x: FloatArray) -> FloatArray:
        """Return prepared rows `(n, D)` as `(n, numbers + others)` float32, numbers first."""
        values = x[:, self.numbers].astype(np.float64)
        if self.scaling == "robust":
            middle, wide = self.table.astype(np.float64)
            values = (values - middle) / wide
            values /= np.sqrt(1 + (values / _SMOOTH) ** 2)
        elif self.scaling == "quantile":
            values = self._rank(values)
        return np.ascontiguousarray(np.concatenate([values, x[:, self.others]], axis=1), np.float32)

    def _rank(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import ndtri

        shares, ranked = np.linspace(0, 1, len(self.table)), np.empty_like(values)
        for column, known in enumerate(self.table.astype(np.float64).T):
            # Of equal quantiles the middle: `interp` takes the last from the left, and from the right the first.
            below = np.interp(values[:, column], known, shares)
            above = 1 - np.interp(-values[:, column], -known[::-1], shares)
            ranked[:, column] = ndtri(np.clip((below + above) / 2, _LEAST_SHARE, 1 - _LEAST_SHARE))
        return ranked

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what makes it again: values that JSON can hold, and arrays by name."""
        return {"scaling": self.scaling}, {"numbers": self.numbers, "others": self.others, "table": self.table}
