"""What luck leaves to win: the regret of whoever knows how each configuration did on the task under another seed.

No recommender can be expected to do better, since the seed of a training cannot be foreseen.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.evaluation import KS
from metaflow_hpo.evaluate.replay import incumbent_regret
from metaflow_hpo.history import Array, History
from metaflow_hpo.recommender.portfolio import task_regret


def measure_noise_floor(
    trials: pd.DataFrame,
    meta: History,
    learner: str,
    orders: Mapping[str, Sequence[int]],
    ks: Sequence[int] = KS,
) -> pd.DataFrame:
    """Return the regret of the order of one seed under another, on tasks whose shared core was trained with two.

    Elsewhere the performance of such a task is the mean over its seeds; here each seed is judged by itself.

    Args:
        trials: Trials of any learner, strategy and seed; of more than two seeds the two lowest count.
        meta: Tasks on the shared core; others are left out.
        learner: Name of the learner.
        orders: The recommender's positions for each task, best first: it is judged on the same seeds.
        ks: Numbers of trials.

    Returns:
        `task_id, k, regret, recommended`, each the mean over both seeds; no line where no task has a second seed.
    """
    rows = trials.loc[(trials["learner"] == learner) & trials["configuration_id"].isin(meta.configuration_ids)]
    lines: list[tuple[str, int, float, float]] = []
    for task_id, group in rows.loc[rows["task_id"].isin(meta.task_ids)].groupby("task_id", sort=True):
        table = group.pivot_table(index="configuration_id", columns="seed", values="performance", aggfunc="max")
        complete = table.reindex(list(meta.configuration_ids)).dropna(axis="columns", how="all")
        if str(task_id) not in orders or complete.shape[1] < 2 or complete.iloc[:, 1].notna().sum() < len(complete) / 2:
            continue
        regret = task_regret(complete.iloc[:, :2].to_numpy(dtype=np.float64).T)  # (2, C)
        floor = np.mean([_follow(regret[other], regret[seed], ks) for seed, other in ((0, 1), (1, 0))], axis=0)
        mine = np.mean([incumbent_regret(seed, orders[str(task_id)], ks) for seed in regret], axis=0)
        lines.extend((str(task_id), k, float(a), float(b)) for k, a, b in zip(ks, floor, mine, strict=True))
    return pd.DataFrame(lines, columns=["task_id", "k", "regret", "recommended"])


def _follow(known: Array, regret: Array, ks: Sequence[int]) -> list[float]:
    """Try configurations in the order of the regret `(C,)` that is known; NaN is the worst."""
    order = np.argsort(np.nan_to_num(known, nan=np.inf), kind="stable")
    return incumbent_regret(regret, [int(c) for c in order], ks)
