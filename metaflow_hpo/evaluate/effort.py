"""Regret over time: what has been reached when a recommender's configurations are trained one after the other.

Time is counted in the task's median trial, so that all tasks weigh the same; until the first
training ends nothing is known, which counts as the task's worst.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.evaluation import held_out_folds, rivals
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import Array, History
from metaflow_hpo.recommender.portfolio import task_regret
from metaflow_hpo.surrogate.predict import Surrogate

TIMES: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""In median trials of the task."""
_PICKS = 25
_REPETITIONS = 10


def reach_over_time(regret: Array, duration: Array, order: Sequence[int], times: Sequence[float]) -> list[float]:
    """Return the regret reached at each time by training an order of configurations one after the other.

    Args:
        regret: `(C,)` normalised regret; NaN (never tried or failed) counts as 1.
        duration: `(C,)` of a training, > 0, in the unit of `times`.
        order: Positions, first to train first.
        times: Times, ascending.
    """
    finished = np.cumsum(duration[np.asarray(order)])
    path = np.minimum.accumulate(np.nan_to_num(regret[np.asarray(order)], nan=1.0))
    done = np.searchsorted(finished, np.asarray(times), side="right")
    return [1.0 if n == 0 else float(path[n - 1]) for n in done]


def measure_effort(
    meta: History, surrogate: Surrogate, trusts: Sequence[float], times: Sequence[float] = TIMES
) -> pd.DataFrame:
    """Return the regret over time of every recommender on the meta-test tasks: `task_id, recommender, time, regret`.

    Tasks whose durations are not known are left out.
    """
    regret = task_regret(meta.performance)
    duration = _relative_durations(meta.duration)
    lines = []
    for fold in held_out_folds(meta, surrogate, trusts):
        hurried = replace(fold.served, per_time=True).contestant("recommended_per_time")
        for contestant in (fold.served.contestant(), hurried, *rivals(_REPETITIONS)):
            for t in fold.tasks[np.isfinite(duration[fold.tasks]).all(axis=1)]:
                for seed in range(contestant.seeds):
                    order = fold.order(t, _PICKS, contestant, seed=seed)
                    for time, value in zip(times, reach_over_time(regret[t], duration[t], order, times), strict=True):
                        lines.append((meta.task_ids[t], contestant.name, time, value))
    table = pd.DataFrame(lines, columns=["task_id", "recommender", "time", "regret"])
    return table.groupby(["task_id", "recommender", "time"], sort=False)["regret"].mean().reset_index()


def _relative_durations(duration: Array) -> Array:
    """Return `(T, C)` durations in the task's median; one that is not known is a median one, all of them stay NaN."""
    known = np.isfinite(duration) & (duration > 0)
    relative = np.full(duration.shape, np.nan)
    for t in np.flatnonzero(known.any(axis=1)):
        relative[t] = np.where(known[t], duration[t] / np.median(duration[t][known[t]]), 1.0)
    return relative


def summarise_effort(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean regret over tasks with a 95 % interval, one line a (recommender, time)."""
    lines = []
    for (recommender, time), group in table.groupby(["recommender", "time"], sort=False):
        interval = bootstrap_mean(group["regret"].to_numpy(dtype=np.float64))
        lines.append({"recommender": recommender, "time": time, **asdict(interval)})
    return pd.DataFrame(lines)
