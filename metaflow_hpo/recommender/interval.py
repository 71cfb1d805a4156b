"""How wide an interval must be: conformal scales over tasks, before the first trial and after some.

A scale multiplies a predicted standard deviation: before the first trial the surrogate's, or that of past tasks, and
after it the mixture's.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from metaflow_hpo.history import Array

_NORMAL_80 = 1.2816


Bounds = tuple[float, float]
"""Lowest and highest performance."""
UNIT: Bounds = (0.0, 1.0)


def expect_performance(mean: Array, spread: Array, bounds: Bounds | None = UNIT) -> Array:
    """Return the expected performance: that of a normal distribution whose tails gather at the bounds.

    Args:
        mean: `(N,)` of the normal distribution, which knows no ends.
        spread: `(N,)` its standard deviation, >= 0.
        bounds: Of the performance; None where there are none.
    """
    if bounds is None:
        return mean
    if bounds != UNIT:
        low, width = bounds[0], bounds[1] - bounds[0]
        return np.asarray(low + width * expect_performance((mean - low) / width, spread / width))
    sd = np.maximum(spread, 1e-12)

    def exceed(z: Array) -> Array:
        """Return the mean of what exceeds 0, in standard deviations, of a normal distribution around z."""
        return np.asarray(z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi))

    return np.clip(sd * (exceed(mean / sd) - exceed((mean - 1.0) / sd)), 0.0, 1.0)


@dataclass(frozen=True)
class IntervalScale:
    """Conformal width of intervals: `mean +- scale * spread` covers `coverage` of held-out tasks' outcomes.

    Attributes:
        coverage: Nominal coverage, in (0, 1).
        scale: Multiple of the predicted standard deviation before the first trial, > 0.
        observed: `(number of observed trials, scale)`, ascending; between two numbers the scale is interpolated over
            the logarithm of the number. The spread is then that of the mixture, not of the surrogate.
    """

    coverage: float = 0.8
    scale: float = _NORMAL_80
    observed: tuple[tuple[int, float], ...] = ((1, _NORMAL_80),)

    def at(self, trials: int) -> float:
        """Return the scale after some observed trials."""
        if trials == 0:
            return self.scale
        counts, scales = zip(*self.observed, strict=True)
        return float(np.interp(np.log(trials), np.log(counts), scales))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "IntervalScale":
        """Build it from what `to_json` returned; one without `observed` was fitted before there were such scales."""
        observed = tuple((int(count), float(scale)) for count, scale in values.get("observed", ()))
        scale = float(values["scale"])
        scales = np.array([scale, *(one for _, one in observed)])
        coverage = float(values["coverage"])
        if not (0 < coverage < 1 and np.isfinite(scales).all() and (scales > 0).all()):
            raise ValueError(f"a coverage between 0 and 1 and finite scales above 0 were expected; found {values}")
        if [count for count, _ in observed] != sorted({max(count, 1) for count, _ in observed}):
            raise ValueError(f"ascending numbers of trials were expected; found {observed}")
        return cls(coverage, scale, observed or ((1, scale),))
