"""Conformal intervals over tasks: how wide an interval must be to cover outcomes on families never trained on.

The one thing to know: scores are taken on the configurations that would be *recommended*, since these are the ones
whose intervals are shown, and each task counts the same however many scores it gives.

References:
    Barber et al. 2021, arXiv:1905.02928 (CV+); Dunn, Wasserman, Ramdas 2022, arXiv:1809.07441 (groups).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.recommend.adaptive import OWN, AdaptiveRecommender, NewTask
from metaflow_hpo.recommend.interval import IntervalScale, expect_performance
from metaflow_hpo.recommend.sequential import Observed
from metaflow_hpo.recommend.surrogate_recommender import SurrogateRecommender
from metaflow_hpo.recommend.table_recommender import TableRecommender
from metaflow_hpo.surrogate.predict import Surrogate

COVERAGE = 0.8
LEVELS = (0.5, COVERAGE, 0.95)
COUNTS = (1, 3, 10, 25)
"""Numbers of observed trials for which a scale is fitted; between them it is interpolated."""
_NO_FOLD = -1
"""Stands for the fold of families that no network has seen."""
MAX_PAST = 300
"""Tasks of a table that are learned from when its intervals are fitted."""
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


def measure_adaptive(
    meta: History,
    surrogate: Surrogate,
    trust: float,
    *,
    counts: Sequence[int] = (0, *COUNTS),
    max_tasks: int = MAX_REPLAYED,
) -> dict[int, dict[str, Array]]:
    """Replay tasks and return |performance - mean| / spread of what would be recommended after n trials.

    Args:
        meta: Tasks on the shared core, every configuration tried.
        surrogate: The surrogate.
        trust: Weight of its prediction among the scenarios.
        counts: Numbers of observed trials n.
        max_tasks: Tasks that are replayed at most, spread evenly over their names.

    Returns:
        Scores `(5,)` by n and task. Neither past tasks nor network of a task's recommender know its family.
    """
    scores: dict[int, dict[str, Array]] = {n: {} for n in counts if n < len(meta.configurations)}
    families = np.array(meta.families)
    replayed = _spread(len(families), max_tasks)
    shares = _decide_forest_shares(meta, surrogate, trust)
    for family in dict.fromkeys(families[replayed].tolist()):
        past, networks = meta.subset(np.flatnonzero(families != family)), surrogate.networks_blind_to(family)
        share = shares[surrogate.fold_of_family.get(family, _NO_FOLD)]
        first = SurrogateRecommender.fit(surrogate, past, trust, forest_share=share)
        recommender = AdaptiveRecommender.fit(past.past_tasks(), OWN)
        for t in replayed[families[replayed] == family]:
            prediction = surrogate.predict(meta.meta_features[[t]], meta.points, networks)
            believe = partial(_first, prediction.positions[:, 0, :].mean(axis=0))
            weights = first.learned_similarity(meta.meta_features[t])
            task = recommender.begin(meta.meta_features[t], believe=believe, trust=trust, weights=weights)
            before = prediction.mean[0], prediction.spread[0]
            for n, values in _replay(task, meta.performance[t], before, tuple(scores), expect_performance).items():
                scores[n][meta.task_ids[t]] = values
    return scores


def _decide_forest_shares(meta: History, surrogate: Surrogate, trust: float) -> dict[int, float]:
    """Return the share of the forest for the families of each fold, decided on the tasks of all other folds."""
    fold = np.array([surrogate.fold_of_family.get(family, _NO_FOLD) for family in meta.families])
    return {
        int(j): SurrogateRecommender.fit(surrogate, meta.subset(np.flatnonzero(fold != j)), trust).forest.share
        for j in np.unique(fold)
    }


def _first(expected: Array, encoded: Array) -> Array:
    """Return what was predicted beforehand for the pool, which is all that a replay asks for."""
    return expected[: len(encoded)]


def _spread(count: int, limit: int) -> IntArray:
    """Return at most `limit` positions below `count`, evenly spread."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64)


def fit_table_interval(recommender: TableRecommender, *, max_tasks: int = MAX_REPLAYED) -> IntervalScale:
    """Fit the intervals of a table's recommender by replaying its tasks, each without its family.

    Args:
        recommender: The recommender.
        max_tasks: Tasks that are replayed at most, spread evenly over their names.

    Returns:
        The scales. Of more than `MAX_PAST` tasks only so many are learned from here, for the sake of time: what is
        learned from all is a little better than its intervals say.
    """
    size = len(recommender.past.configurations)
    if len(recommender.task_ids) > MAX_PAST:
        recommender = recommender.keep(_spread(len(recommender.task_ids), MAX_PAST))
    scores: dict[int, dict[str, Array]] = {n: {} for n in (0, *COUNTS) if n + _SHOWN < size}
    if not scores:  # too few configurations to leave some out
        return IntervalScale()
    for t in _spread(len(recommender.task_ids), max_tasks):
        others = recommender.without(recommender.families[t])
        row = recommender.past.meta_features[t]
        begun, before = others.adaptive.begin(row), others.expect(row)
        replayed = _replay(begun, recommender.performance[t], before, tuple(scores), lambda mean, _: mean)
        for n, values in replayed.items():
            scores[n][recommender.task_ids[t]] = values
    return with_observed(fit_interval(scores[0]), scores)


def _replay(
    task: NewTask,
    performance: Array,
    before: tuple[Array, Array],
    counts: Sequence[int],
    expect: Callable[[Array, Array], Array],
) -> dict[int, Array]:
    """Return scores by number of trials.

    Args:
        task: A new task.
        performance: `(C,)` what each configuration gives on it.
        before: Mean and spread `(C,)` before the first trial.
        counts: Numbers of trials.
        expect: Returns what is shown of means and spreads.
    """
    found = {}
    observed = Observed.nothing()
    for n in range(max(counts) + 1):
        chosen = task.choose(observed, _SHOWN if n in counts else 1)
        if n in counts:
            mean, spread = before if n == 0 else task.predict(observed)
            errors = np.abs(performance[chosen] - expect(mean[chosen], spread[chosen]))
            found[n] = np.asarray(errors / np.maximum(spread[chosen], 1e-12))
        observed = observed.with_trial(chosen[0], float(performance[chosen[0]]))
    return found


def with_observed(interval: IntervalScale, scores: Mapping[int, Mapping[str, Array]]) -> IntervalScale:
    """Return an interval with a scale for each number of observed trials above 0 (`measure_adaptive`)."""
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
