"""What stopping trials by their learning curves saves and loses: recorded curves of held-out tasks, replayed.

The rule that stops the trials of a task was learned without its family. A replay tries one
configuration after the other; what is stopped costs its epochs up to there.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.registry import CORE
from metaflow_hpo.evaluate.evaluation import held_out_folds
from metaflow_hpo.evaluate.statistics import summarise_columns
from metaflow_hpo.history import Array, History, read_curves
from metaflow_hpo.recommender.stopping import MIN_TRIALS, StoppingRule
from metaflow_hpo.surrogate.predict import Surrogate

PICKS = 25
"""Trials of a replay."""


def measure_stopping(
    trials: pd.DataFrame, meta: History, surrogate: Surrogate, trusts: Sequence[float]
) -> pd.DataFrame:
    """Return what stopping would have saved and lost on every held-out task.

    Args:
        trials: Trials with learning curves; of a configuration on a task those of the lowest seed count.
        meta: Tasks on the shared core.
        surrogate: Recommends what is tried; its learner's trials count.
        trusts: `Evaluation.trusts`.

    Returns:
        `task_id, stopped_fraction, saved_fraction, lost`: of the trials, of the time, and in performance. Failed
        trials are passed over; tasks without curves or durations are left out.
    """
    learner = surrogate.learner
    tried = trials["strategy"].isin(CORE) & (trials["status"] == "ok")
    own = trials.loc[(trials["learner"] == learner) & tried]
    epochs = int(own["fidelity_epochs"].max()) if len(own) else 0
    lines = []
    for fold in held_out_folds(meta, surrogate, trusts):
        past = own["task_id"].isin({meta.task_ids[t] for t in fold.past})
        rule = StoppingRule.fit(read_curves(own.loc[past], learner, epochs)) if epochs else None
        if rule is None:
            continue
        for t in fold.tasks:
            task_id = meta.task_ids[t]
            order = np.array(fold.order(t, PICKS))
            rows = own.loc[own["task_id"] == task_id].sort_values("seed", kind="stable")
            rows = rows.drop_duplicates("configuration_id").set_index("configuration_id")
            order = order[[meta.configuration_ids[c] in rows.index for c in order]]
            curves = read_curves(rows.loc[[meta.configuration_ids[c] for c in order]], learner, epochs)
            duration = meta.duration[t, order]
            if len(curves) == len(order) > 0 and np.isfinite(duration).all():
                lines.append({"task_id": task_id, **replay_curves(rule, curves, duration)})
    return pd.DataFrame(lines, columns=["task_id", "stopped_fraction", "saved_fraction", "lost"])


def replay_curves(rule: StoppingRule, curves: Array, duration: Array) -> dict[str, float]:
    """Return `stopped_fraction, saved_fraction, lost` of one task.

    Args:
        rule: What stops.
        curves: `(N, E)` learning curves of the configurations, in the order of trial.
        duration: `(N,)` seconds of the whole trainings.
    """
    bounds = {epoch: rule.bound(curves[:, :epoch]) for epoch in rule.checkpoints}
    best, spent, stopped, finished = -np.inf, 0.0, 0, 0
    for n, (curve, seconds) in enumerate(zip(curves, duration, strict=True)):
        given_up = [epoch for epoch, bound in bounds.items() if bound[n] < best] if finished >= MIN_TRIALS else []
        if given_up:
            stopped += 1
            spent += seconds * given_up[0] / rule.epochs
        else:
            finished += 1
            spent += seconds
            best = max(best, float(curve[-1]))
    return {
        "stopped_fraction": stopped / len(curves),
        "saved_fraction": 1 - spent / float(duration.sum()),
        "lost": float(curves[:, -1].max()) - best,
    }


def summarise_stopping(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return `name, mean, low, high, median` over tasks for each column of `measure_stopping`."""
    return summarise_columns(table, ("stopped_fraction", "saved_fraction", "lost"))
