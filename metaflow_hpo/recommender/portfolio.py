"""Greedy portfolios: configurations that complement each other over scenarios.

A scenario is one way the new task may behave: the regret of every configuration of the pool, `(C,)`. Past tasks are
scenarios; so is what the surrogate believes of the new task.
"""

from collections.abc import Sequence

import numpy as np

from metaflow_hpo.history import Array

_MIN_EVIDENCE = 3


def select_greedily(
    regret: Array, weights: Array, count: int, tried: Sequence[int] = (), duration: Array | None = None
) -> list[int]:
    """Pick configurations one by one, each minimising the weighted mean over scenarios of the best regret so far.

    With durations each pick maximises what that mean falls by per second of training instead.

    Args:
        regret: `(R, C)` normalised regret of configuration c in scenario r, in [0, 1]; NaN (never tried) counts as 1.
        weights: `(R,)` non-negative.
        count: How many to pick, at most C.
        tried: Positions already tried on the new task: they are not picked again, and what they reach counts.
        duration: `(C,)` expected seconds of training, > 0; None to count trials instead of time.

    Returns:
        Positions, in the order of picking. When no further pick helps, the best mean regret decides.

    References:
        Xu, Hoos, Leyton-Brown 2010 (Hydra); Feurer et al. 2022, auto-sklearn 2.0, arXiv:2007.04074; Snoek, Larochelle,
        Adams 2012, arXiv:1206.2944 (improvement per second); Streeter, Golovin 2008 (greedy per unit of time).
    """
    known = np.where(np.isfinite(regret), regret, 1.0)
    shares = weights / weights.sum()
    mean = shares @ known
    incumbent = known[:, list(tried)].min(axis=1, initial=1.0)
    picked: list[int] = []
    free = np.ones(known.shape[1], dtype=bool)
    free[list(tried)] = False
    for _ in range(min(count, int(free.sum()))):
        expected = shares @ np.minimum(incumbent[:, None], known)
        # The mean regret breaks ties, so that a saturated portfolio goes on with good configurations.
        cost = expected + 1e-6 * mean
        if duration is not None:
            cost = (cost - shares @ incumbent - 1e-6) / duration
        best = int(np.argmin(np.where(free, cost, np.inf)))
        picked.append(best)
        free[best] = False
        incumbent = np.minimum(incumbent, known[:, best])
    return picked


def with_default(order: Sequence[int], mean: Array, default: int) -> list[int]:
    """Return an order that holds the default, in the last place, where all in it are expected to do worse.

    Args:
        order: Positions, best first, one at least.
        mean: `(P,)` expected performance.
        default: Position of the default.
    """
    is_needed = len(order) > 0 and default not in order and float(mean[list(order)].max()) < mean[default]
    return [*order[:-1], default] if is_needed else list(order)


def weigh_by_distance(squared: Array, *, share: float = 0.5, width: float = 1.0) -> Array:
    """Return weights `(T,)` of past tasks that sum to 1: part uniform, part a softmax of the distance to a new task.

    Args:
        squared: `(T,)` squared distances.
        share: Part that follows the distance, in [0, 1].
        width: In root median squared distances; smaller is more selective.
    """
    near = np.exp(-(squared - squared.min()) / (2.0 * width**2 * max(float(np.median(squared)), 1e-12)))
    return np.asarray((1.0 - share) / len(squared) + share * near / near.sum())


def weigh_by_evidence(regret: Array, performance: Array) -> Array:
    """Return how well each scenario explains what was observed on the new task, as factors for its weight.

    A scenario predicts performances up to an unknown offset and a non-negative scale, which are fitted. Its factor is
    the marginal-likelihood ratio to explaining nothing, with a weak prior that keeps it between 1 and 2 ** (n / 2).

    Args:
        regret: `(R, N)` regrets of the observed configurations in each scenario.
        performance: `(N,)` observed performances; fewer than three, or all equal, tell nothing.
    """
    n = len(performance)
    y = performance - performance.mean()
    total = float(y @ y)
    if n < _MIN_EVIDENCE or total <= 0:
        return np.ones(len(regret))
    x = regret - regret.mean(axis=1, keepdims=True)
    power = (x**2).sum(axis=1)
    slope = np.maximum(-(x @ y) / np.where(power > 0, power, 1.0), 0.0)
    residual = ((y + slope[:, None] * x) ** 2).sum(axis=1)
    return np.asarray(((residual + total) / (2 * total)) ** (-n / 2))


def task_regret(performance: Array) -> Array:
    """Return the normalised regret `(T, C)` of performances `(T, C)`: 0 at the task's best, 1 at its worst.

    A task on which all configurations perform the same has regret 0 everywhere; NaN stays NaN.
    """
    best, worst = np.nanmax(performance, axis=1, keepdims=True), np.nanmin(performance, axis=1, keepdims=True)
    span = best - worst
    return np.asarray(np.where(span > 0, (best - performance) / np.where(span > 0, span, 1.0), performance * 0.0))
