"""Conformal intervals over tasks: how wide an interval must be to cover outcomes on families never trained on.

The one thing to know: scores are taken on the configurations that would be *recommended*, since these are the ones
whose intervals are shown, and each task counts the same however many scores it gives.

References:
    Barber et al. 2021, arXiv:1905.02928 (CV+); Dunn, Wasserman, Ramdas 2022, arXiv:1809.07441 (groups).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from metaflow_hpo.recommend.recommendation import IntervalScale
from metaflow_hpo.surrogate.meta_dataset import Array, MetaDataset
from metaflow_hpo.surrogate.predict import Surrogate

COVERAGE = 0.8


def nonconformity(
    meta: MetaDataset, surrogate: Surrogate, orders: Mapping[str, Sequence[int]], *, validation: bool
) -> dict[str, Array]:
    """Return |performance - mean| / spread of the recommended configurations of each task.

    Args:
        meta: Tasks on the shared core.
        surrogate: The surrogate.
        orders: Recommended positions by task.
        validation: Ask the network that used the family for early stopping, rather than the one that never saw it.
    """
    scores: dict[str, Array] = {}
    for t, task_id in enumerate(meta.task_ids):
        if task_id not in orders:
            continue
        columns = list(orders[task_id])
        networks = surrogate.networks_blind_to(meta.families[t], validation=validation)
        prediction = surrogate.predict(meta.meta_features[[t]], meta.encoded[columns], networks)
        # As it is shown: outcomes lie in [0, 1].
        errors = np.abs(meta.performance[t, columns] - np.clip(prediction.mean[0], 0.0, 1.0))
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
    test_scores: Mapping[str, Array], validation_scores: Mapping[str, Array], fold_of_task: Mapping[str, int]
) -> dict[str, float]:
    """Return the share of covered outcomes of each meta-test task, with intervals fitted by its own network."""
    covered: dict[str, float] = {}
    count = max(fold_of_task.values()) + 1
    for fold in sorted(set(fold_of_task.values())):
        # The network of this fold validates on the next one; other networks were trained on this fold's families.
        own = {task: s for task, s in validation_scores.items() if fold_of_task[task] == (fold + 1) % count != fold}
        if not own:
            continue
        interval = fit_interval(own)
        for task, scores in test_scores.items():
            if fold_of_task[task] == fold:
                covered[task] = float(np.mean(scores <= interval.scale))
    return covered
