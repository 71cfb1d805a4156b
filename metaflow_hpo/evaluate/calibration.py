"""Conformal intervals over tasks: how wide an interval must be to cover outcomes on families never trained on.

Scores are taken on the configurations that would be *recommended*, since these are the ones whose intervals are shown,
and each task counts the same however many scores it gives.

References:
    Barber et al. 2021, arXiv:1905.02928 (CV+); Dunn, Wasserman, Ramdas 2022, arXiv:1809.07441 (groups).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.recommender.interval import IntervalScale, expect_performance
from metaflow_hpo.recommender.observed import Observed
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.surrogate.predict import Surrogate

COVERAGE = 0.8
LEVELS = (0.5, COVERAGE, 0.95)
COUNTS = (1, 3, 10, 25)
"""Numbers of observed trials for which a scale is fitted; between them it is interpolated."""
_NO_FOLD = -1
"""Stands for the fold of families that no network has seen."""
MAX_PAST = 300
"""Tasks that are learned from when intervals are fitted."""
MIN_FAMILIES = 2
MAX_REPLAYED = 60
"""Tasks that are replayed to fit these scales: enough for a quantile, and seconds on any meta-data set."""
_SHOWN = 5


def nonconformity(meta: History, surrogate: Surrogate, orders: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Return |performance - mean| / spread of the recommended configurations of each task.

    Args:
        meta: Tasks on the shared core.
        surrogate: The surrogate.
        orders: Recommended positions by task. The network that is asked has never seen the task's family.
    """
    scores: dict[str, Array] = {}
    for t, task_id in enumerate(meta.task_ids):
        if task_id not in orders:
            continue
        columns = list(orders[task_id])
        networks = surrogate.networks_blind_to(meta.families[t])
        prediction = surrogate.predict(meta.meta_features[[t]], meta.points[columns], networks)
        errors = np.abs(meta.performance[t, columns] - expect_performance(prediction.mean[0], prediction.spread[0]))
        scores[task_id] = np.asarray(errors / prediction.spread[0])
    return scores


def fit_interval(scores: Mapping[str, Array], coverage: float = COVERAGE) -> IntervalScale:
    """Return the scale whose interval covers `coverage` of the outcomes, tasks weighing the same.

    The quantile is raised by the usual finite-sample factor (T + 1) / T.
    """
    values = np.concatenate(list(scores.values()))
    weights = np.concatenate([np.full(len(v), 1.0 / len(v)) for v in scores.values()])
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    level = min(coverage * (len(scores) + 1) / len(scores), 1.0)
    index = min(int(np.searchsorted(share, level - 1e-12)), len(values) - 1)
    return IntervalScale(coverage=coverage, scale=max(float(values[order][index]), 1e-6))


def measure_coverage(
    scores: Mapping[str, Array], fold_of_task: Mapping[str, int], coverage: float = COVERAGE
) -> dict[str, float]:
    """Return the share of covered outcomes of each task, with the interval fitted on the tasks of all other folds.

    Args:
        scores: By task, from the network that never saw the task's family.
        fold_of_task: The fold of each task.
        coverage: Nominal coverage, in (0, 1).
    """
    covered: dict[str, float] = {}
    for fold in sorted(set(fold_of_task.values())):
        others = {task: values for task, values in scores.items() if fold_of_task[task] != fold}
        if not others:
            continue
        scale = fit_interval(others, coverage).scale
        own = {task: values for task, values in scores.items() if fold_of_task[task] == fold}
        covered |= {task: float(np.mean(values <= scale)) for task, values in own.items()}
    return covered


def measure_reliability(scores: Mapping[str, Array], fold_of_task: Mapping[str, int]) -> dict[float, dict[str, float]]:
    """Return `measure_coverage` for each nominal coverage of `LEVELS`."""
    return {level: measure_coverage(scores, fold_of_task, level) for level in LEVELS}


def calibrate(recommender: Recommender, *, max_tasks: int = MAX_REPLAYED) -> IntervalScale | None:
    """Fit the intervals of a recommender by replaying its tasks, each without its family.

    Args:
        recommender: The recommender.
        max_tasks: Tasks that are replayed at most, spread evenly over their names.

    Returns:
        The scales; None where there are too few configurations to leave some out. Of more than `MAX_PAST` tasks only so
        many are learned from here, for the sake of time: what is learned from all is a little better than its intervals
        say.
    """
    if len(set(recommender.past.families)) < MIN_FAMILIES:
        return None
    if len(recommender.past.task_ids) > MAX_PAST:
        recommender = recommender.keep(_spread(len(recommender.past.task_ids), MAX_PAST))
    scores = measure_replayed(recommender, max_tasks=max_tasks)
    return with_observed(fit_interval(scores[0]), scores) if scores else None


def measure_replayed(
    recommender: Recommender, *, counts: Sequence[int] = (0, *COUNTS), max_tasks: int = MAX_REPLAYED
) -> dict[int, dict[str, Array]]:
    """Replay tasks and return |performance - mean| / spread of what would be recommended after n trials.

    Args:
        recommender: The recommender, which knows the tasks that are replayed.
        counts: Numbers of observed trials n.
        max_tasks: Tasks that are replayed at most, spread evenly over their names.

    Returns:
        Scores `(5,)` by n and task. Neither past tasks nor network of who is asked know the task's family.
    """
    past = recommender.past
    scores: dict[int, dict[str, Array]] = {n: {} for n in counts if n + _SHOWN < len(past.configurations)}
    if not scores:
        return {}
    replayed, families = _spread(len(past.task_ids), max_tasks), np.array(past.families)
    shares = decide_forest_shares(recommender)
    for family in dict.fromkeys(families[replayed].tolist()):
        others = recommender.without(family)
        if family in shares:
            others = replace(others, forest=others.grow_forest(shares[family]))
        for t in replayed[families[replayed] == family]:
            row, expected = past.meta_features[t], _expect(others, past.meta_features[t])
            found = _replay(others, row, past.performance[t], expected, tuple(scores))
            for n, values in found.items():
                scores[n][past.task_ids[t]] = values
    return scores


def decide_forest_shares(recommender: Recommender) -> dict[str, float]:
    """Return the share of the forest for the families of each fold, decided on the tasks of all other folds.

    Without networks there are no folds: the share is decided for each family anew.
    """
    if recommender.surrogate is None:
        return {}
    families = np.array(recommender.past.families)
    folds = {family: recommender.surrogate.fold_of_family.get(family, _NO_FOLD) for family in families.tolist()}
    fold = np.array([folds[family] for family in families])
    shares = {int(j): recommender.keep(np.flatnonzero(fold != j)).fitted_forest.share for j in np.unique(fold)}
    return {family: shares[j] for family, j in folds.items()}


@dataclass(frozen=True)
class _Expected:
    """What is expected before the first trial: mean and spread `(P,)`, and the networks' positions where there are."""

    mean: Array
    spread: Array
    positions: Array | None


def _expect(recommender: Recommender, row: Array) -> _Expected:
    if recommender.surrogate is None:
        return _Expected(*recommender.expect(row), None)
    prediction = recommender.predict(row, recommender.past.points)
    positions = prediction.positions[:, 0, :].mean(axis=0)
    if not recommender.surrogate.knows_ends:
        return _Expected(*recommender.expect(row), positions)
    return _Expected(prediction.mean[0], prediction.spread[0], positions)


def _spread(count: int, limit: int) -> IntArray:
    """Return at most `limit` positions below `count`, evenly spread."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64)


def _replay(
    recommender: Recommender, row: Array, performance: Array, before: _Expected, counts: Sequence[int]
) -> dict[int, Array]:
    """Return scores by number of trials.

    Args:
        recommender: Who does not know the task.
        row: `(M,)` its meta-features.
        performance: `(P,)` what each configuration gives on it.
        before: What is expected before the first trial.
        counts: Numbers of trials.
    """
    found = {}
    positions = before.positions
    task = recommender.begin(row, believe=None if positions is None else lambda points: positions[: len(points)])
    observed = Observed.nothing()
    for n in range(max(counts) + 1):
        chosen = task.choose(observed, _SHOWN if n in counts else 1)
        if n in counts:
            mean, spread = (before.mean, before.spread) if n == 0 else task.predict(observed)
            expected = expect_performance(mean[chosen], spread[chosen], recommender.bounds)
            found[n] = np.asarray(np.abs(performance[chosen] - expected) / np.maximum(spread[chosen], 1e-12))
        observed = observed.with_trial(chosen[0], float(performance[chosen[0]]))
    return found


def with_observed(interval: IntervalScale, scores: Mapping[int, Mapping[str, Array]]) -> IntervalScale:
    """Return an interval with a scale for each number of observed trials above 0 (`measure_replayed`)."""
    observed = tuple((n, fit_interval(by_task).scale) for n, by_task in sorted(scores.items()) if n > 0)
    return replace(interval, observed=observed) if observed else interval


def summarise_coverage(
    fitted: Mapping[int, Mapping[str, Array]], measured: Mapping[int, Mapping[str, Array]]
) -> dict[str, dict[str, float]]:
    """Return by number of trials the `scale` fitted on some tasks and the `coverage` that others then have."""
    answer = {}
    for n, by_task in fitted.items():
        scale = fit_interval(by_task).scale
        covered = [float(np.mean(values <= scale)) for values in measured[n].values()]
        answer[str(n)] = {"scale": scale, "coverage": float(np.mean(covered)), "tasks": float(len(covered))}
    return answer
