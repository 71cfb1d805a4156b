"""Which configurations of a history may be recommended."""

import numpy as np

from metaflow_hpo.history import History, IntArray

MAX_POOL = 2_000
"""Configurations that may be recommended; of more than that those that did best on some task, then others evenly."""


def choose_pool(history: History) -> IntArray:
    """Return at most `MAX_POOL` rows of the configurations: each task's best in turn, then others, evenly spread."""
    count = len(history.configurations)
    if count <= MAX_POOL:
        return np.arange(count)
    chosen: dict[int, None] = {}
    orders = [task.positions[np.argsort(-task.performance, kind="stable")].tolist() for task in history.tasks]
    for rank in range(max(map(len, orders))):
        for order in orders:
            if rank < len(order) and len(chosen) < MAX_POOL // 2:
                chosen[order[rank]] = None
    others = np.setdiff1d(np.arange(count), list(chosen))
    spread = others[np.linspace(0, len(others) - 1, MAX_POOL - len(chosen)).round().astype(np.int64)]
    return np.sort(np.concatenate([np.array(list(chosen), dtype=np.int64), spread]))
