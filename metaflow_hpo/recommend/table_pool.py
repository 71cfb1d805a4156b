"""Which configurations of a trial table may be recommended, and how long they took."""

import numpy as np

from metaflow_hpo.history import Array, History, IntArray

MAX_POOL = 2_000
"""Configurations that may be recommended; of a longer table those that did best on some task, then others evenly."""


def choose_pool(table: History) -> IntArray:
    """Return at most `MAX_POOL` rows of the configurations: each task's best in turn, then others, evenly spread."""
    count = len(table.configurations)
    if count <= MAX_POOL:
        return np.arange(count)
    chosen: dict[int, None] = {}
    orders = [task.positions[np.argsort(-task.performance, kind="stable")].tolist() for task in table.tasks]
    for rank in range(max(map(len, orders))):
        for order in orders:
            if rank < len(order) and len(chosen) < MAX_POOL // 2:
                chosen[order[rank]] = None
    others = np.setdiff1d(np.arange(count), list(chosen))
    spread = others[np.linspace(0, len(others) - 1, MAX_POOL - len(chosen)).round().astype(np.int64)]
    return np.sort(np.concatenate([np.array(list(chosen), dtype=np.int64), spread]))


def median_seconds(table: History, pool: IntArray) -> Array:
    """Return the median duration over tasks `(P,)` of a pool's configurations, NaN where none is known."""
    grid = np.full((len(table.tasks), len(table.configurations)), np.nan)
    for t, task in enumerate(table.tasks):
        grid[t, task.positions] = task.duration_s
    known = np.isfinite(grid).any(axis=0)
    seconds = np.full(grid.shape[1], np.nan)
    seconds[known] = np.nanmedian(grid[:, known], axis=0)
    return np.asarray(seconds[pool])
