"""How far off f(T, theta) is: predicted against recorded performance on tasks of families that f has never seen.

The one thing to know: regret asks only for the right order; this asks for the performance itself, which is what a
person is told to expect.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.statistics import summarise_columns
from metaflow_hpo.history import History
from metaflow_hpo.recommender.interval import expect_performance
from metaflow_hpo.surrogate.anchors import find_anchors
from metaflow_hpo.surrogate.predict import Surrogate

ERRORS = ("recommended", "landmark", "everything")
"""Columns of `measure_prediction_error` that are errors."""


def measure_prediction_error(meta: History, surrogate: Surrogate, orders: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Return the mean absolute error of the expected performance on every held-out task.

    Args:
        meta: Tasks on the shared core.
        surrogate: The surrogate. The network that is asked has never seen the task's family.
        orders: Recommended positions by task, best first; other tasks are left out.

    Returns:
        `task_id, recommended, landmark, everything`: of the recommended configurations by the surrogate and by the
        task's best landmark, which is known before anything is trained, and of the whole core; and of the first
        recommendation `predicted, reached`.
    """
    anchors = find_anchors(meta.meta_features, meta.meta_feature_names)
    lines = []
    for t, task_id in enumerate(meta.task_ids):
        if task_id not in orders:
            continue
        order = list(orders[task_id])
        networks = surrogate.networks_blind_to(meta.families[t])
        prediction = surrogate.predict(meta.meta_features[[t]], meta.points, networks)
        expected, reached = expect_performance(prediction.mean[0], prediction.spread[0]), meta.performance[t]
        errors = np.abs(expected - reached)
        lines.append(
            {
                "task_id": task_id,
                "recommended": float(errors[order].mean()),
                "landmark": float(np.abs(anchors[t, 1] - reached)[order].mean()),
                "everything": float(errors.mean()),
                "predicted": float(expected[order[0]]),
                "reached": float(reached[order[0]]),
            }
        )
    return pd.DataFrame(lines, columns=["task_id", *ERRORS, "predicted", "reached"])


def summarise_prediction_error(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return `name, mean, low, high, median` over tasks for each of `ERRORS`."""
    return summarise_columns(table, ERRORS)
