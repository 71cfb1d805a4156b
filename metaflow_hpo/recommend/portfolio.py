"""Greedy portfolios: configurations that complement each other over scenarios.

A scenario is one way the new task may behave: the regret of every configuration of the pool, `(C,)`. Past tasks are
scenarios; so is what each member of the surrogate believes of the new task.
"""

import numpy as np

from metaflow_hpo.surrogate.meta_dataset import Array


def select_greedily(regret: Array, weights: Array, count: int) -> list[int]:
    """Pick configurations one by one, each minimising the weighted mean over scenarios of the best regret so far.

    Args:
        regret: `(R, C)` normalised regret of configuration c in scenario r, in [0, 1]; NaN (never tried) counts as 1.
        weights: `(R,)` non-negative.
        count: How many to pick, at most C.

    Returns:
        Positions, in the order of picking. When no further pick helps, the best mean regret decides.

    References:
        Xu, Hoos, Leyton-Brown 2010 (Hydra); Feurer et al. 2022, auto-sklearn 2.0, arXiv:2007.04074.
    """
    known = np.where(np.isfinite(regret), regret, 1.0)
    shares = weights / weights.sum()
    mean = shares @ known
    incumbent = np.ones(len(known))
    picked: list[int] = []
    free = np.ones(known.shape[1], dtype=bool)
    for _ in range(min(count, known.shape[1])):
        expected = shares @ np.minimum(incumbent[:, None], known)
        # The mean regret breaks ties, so that a saturated portfolio goes on with good configurations.
        score = np.where(free, expected + 1e-6 * mean, np.inf)
        best = int(np.argmin(score))
        picked.append(best)
        free[best] = False
        incumbent = np.minimum(incumbent, known[:, best])
    return picked


def task_regret(performance: Array) -> Array:
    """Return the normalised regret `(T, C)` of performances `(T, C)`: 0 at the task's best, 1 at its worst.

    A task on which all configurations perform the same has regret 0 everywhere; NaN stays NaN.
    """
    best, worst = np.nanmax(performance, axis=1, keepdims=True), np.nanmin(performance, axis=1, keepdims=True)
    span = best - worst
    return np.asarray(np.where(span > 0, (best - performance) / np.where(span > 0, span, 1.0), performance * 0.0))
