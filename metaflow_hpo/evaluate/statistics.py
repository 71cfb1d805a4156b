"""Intervals over tasks. The unit that is resampled is the task, never the trial."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import pandas as pd

from metaflow_hpo.history import Array

RESAMPLES = 4_000
TIE = 1e-9
"""Differences up to this are rounding."""
_EXACT = 11
"""Up to so many differences all their signs are tried, 2,048 of them."""


@dataclass(frozen=True)
class Interval:
    """A mean with a percentile-bootstrap interval."""

    mean: float
    low: float
    high: float


def count_wins(gain: Array) -> dict[str, int]:
    """Return `wins, ties, losses`: tasks with a gain `(T,)` above 0, of 0 and below 0."""
    return {
        "wins": int((gain > TIE).sum()),
        "ties": int((np.abs(gain) <= TIE).sum()),
        "losses": int((gain < -TIE).sum()),
    }


def bootstrap_mean(values: Array, *, coverage: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean over tasks and its percentile-bootstrap interval.

    Args:
        values: `(T,)` one finite number a task, at least one.
        coverage: Nominal coverage, in (0, 1).
        seed: Seed of the resampling: the same values give the same interval.

    References:
        Efron 1979, Bootstrap methods: another look at the jackknife.
    """
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def summarise_columns(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, object]]:
    """Return `name, mean, low, high, median` over tasks for each of some columns; nothing where there is no task."""
    return [
        {"name": name, **asdict(bootstrap_mean(values)), "median": float(np.median(values))}
        for name in names
        if len(values := table[name].to_numpy(dtype=np.float64))
    ]


def probability_of_harm(differences: Array, *, seed: int = 0) -> float:
    """Return how sure it is that the mean paired difference over tasks is above 0: 1 minus the p of a sign-flip test.

    Tasks without a difference tell nothing: two of six that differ, both for the worse, are .88, where a bootstrap over
    the six claims .96. Ties count half.

    References:
        Pitman 1937, Significance tests which may be applied to samples from any populations.
    """
    told = differences[np.abs(differences) > 1e-12]
    if not len(told):
        return 0.5
    rng = np.random.default_rng(seed)
    signs = np.array(list(product((-1, 1), repeat=len(told)))) if len(told) <= _EXACT else None
    if signs is None:
        signs = rng.choice((-1, 1), size=(RESAMPLES, len(told)))
    excess = signs @ told - told.sum()
    tolerance = 1e-9 * float(np.abs(told).sum())
    return float((excess < -tolerance).mean() + 0.5 * (np.abs(excess) <= tolerance).mean())
