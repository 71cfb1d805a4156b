"""How regret falls with the number of past tasks: surrogates fitted afresh on fewer of them.

The families that are judged are held out of every fit, whatever its size, and their number
stays the same; only what may be learned from grows.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.evaluation import KS, WithNetworks, evaluate_leave_family_out, recall
from metaflow_hpo.evaluate.replay import Contestant
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import History, IntArray
from metaflow_hpo.surrogate.fit import FitSettings, fit_surrogate

SIZES: tuple[int, ...] = (10, 20, 40, 80, 160)
HELD_OUT = 0.25
_MIN_FAMILIES = 5


def measure_learning_curve(
    meta: History,
    trials: History,
    learner: str,
    settings: FitSettings,
    *,
    sizes: Sequence[int] = SIZES,
    seed: int = 0,
    ks: Sequence[int] = KS,
    on_fit: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Fit on growing numbers of past tasks and judge on families held out of all of them.

    Args:
        meta: Tasks on the shared core.
        trials: The same tasks with every trial: what the networks learn from.
        learner: Name of the learner.
        settings: How to train the networks.
        sizes: Numbers of past tasks; larger ones than there are become all there are.
        seed: Which quarter of the families is held out, and the order in which the others come.
        ks: Numbers of trials.
        on_fit: Called with the number of finished and of all fits.

    Returns:
        `past_tasks, task_id, family, recommender, k, regret`.

    Raises:
        InvalidTableError: If there are too few families to hold some out and learn from five others.
    """
    held_out, order = _deal(meta, seed)
    counts = sorted({min(size, len(order)) for size in sizes if _families(meta, order[:size]) >= _MIN_FAMILIES})
    if not counts:
        raise InvalidTableError(
            f"A learning curve needs {_MIN_FAMILIES} families to learn from beside those held out; found "
            f"{len(set(meta.families))} families in all. Collect more tasks."
        )
    parts = []
    for done, count in enumerate(counts, start=1):
        past = np.sort(order[:count])
        with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
            surrogate, _ = fit_surrogate(trials.subset(past), learner, settings, Path(folder))
        known = meta.subset(past)
        trust = evaluate_leave_family_out(known, surrogate, ks).trust
        served = WithNetworks(surrogate, None, trust).contestant()
        for contestant in (served, Contestant.called("portfolio"), Contestant.called("nearest_task")):
            parts.append(recall(meta, past).judge(contestant, held_out, ks).assign(past_tasks=count))
        on_fit(done, len(counts))
    return pd.concat(parts, ignore_index=True).drop(columns=["performance", "test_performance"])


def _deal(meta: History, seed: int) -> tuple[IntArray, IntArray]:
    """Return the held-out tasks, and the others in the order in which they come, whole families at a time."""
    families = sorted(set(meta.families))
    shuffled = np.random.default_rng(seed).permutation(len(families))
    count = max(1, round(HELD_OUT * len(families)))
    of_family = {family: [t for t, f in enumerate(meta.families) if f == family] for family in families}
    tasks = [[t for i in part for t in of_family[families[i]]] for part in (shuffled[:count], shuffled[count:])]
    return np.array(tasks[0], dtype=np.int64), np.array(tasks[1], dtype=np.int64)


def _families(meta: History, tasks: IntArray) -> int:
    return len({meta.families[t] for t in tasks})


def summarise_learning_curve(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean regret over held-out tasks with a 95 % interval, one line a (past_tasks, recommender, k)."""
    lines = []
    for (count, recommender, k), group in table.groupby(["past_tasks", "recommender", "k"], sort=False):
        interval = bootstrap_mean(group.groupby("task_id")["regret"].mean().to_numpy(dtype=np.float64))
        lines.append({"past_tasks": count, "recommender": recommender, "k": k, **asdict(interval)})
    return pd.DataFrame(lines)
