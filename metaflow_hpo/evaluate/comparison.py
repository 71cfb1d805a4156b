"""`recommended` against everyone else, paired over tasks: the tables of the evaluation and of the benchmark report.

Regret tables have one line a (task, recommender, k); random search is already averaged.
"""

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.registry import RECOMMENDED
from metaflow_hpo.evaluate.significance import ALPHA, compare
from metaflow_hpo.evaluate.statistics import TIE, bootstrap_mean, count_wins


def compare_with_recommended(per_task: pd.DataFrame) -> pd.DataFrame:
    """Compare each rival with `recommended` at each k.

    Args:
        per_task: `task_id, recommender, k, regret`.

    Returns:
        `rival, k, wins, ties, losses` (tasks on which `recommended` has the smaller, the same, the greater regret),
        `gain` (regret of the rival minus `recommended`'s) with its 95 % interval `low, high`, `p_value` (Wilcoxon,
        corrected by Holm over all pairs at that k) and `verdict`: `better`, `worse` or `not told apart`.
    """
    lines = []
    for k, group in per_task.groupby("k"):
        wide = group.pivot_table(index="task_id", columns="recommender", values="regret")
        comparison = compare(wide)
        place = {name: i for i, name in enumerate(comparison.names)}
        for rival in dict.fromkeys(group["recommender"]):
            if rival == RECOMMENDED:
                continue
            gain = (wide[rival] - wide[RECOMMENDED]).to_numpy(dtype=np.float64)
            first, second = sorted((place[RECOMMENDED], place[rival]))
            p_value = comparison.p_values[first, second]
            interval = bootstrap_mean(gain)
            lines.append(
                {
                    "rival": rival,
                    "k": k,
                    **count_wins(gain),
                    "gain": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "p_value": p_value,
                    "verdict": _judge(p_value, interval.mean),
                }
            )
    return pd.DataFrame(lines)


def _judge(p_value: float, gain: float) -> str:
    if p_value >= ALPHA:
        return "not told apart"
    return "better" if gain > 0 else "worse"


def list_tasks(per_task: pd.DataFrame, ks: tuple[int, ...]) -> pd.DataFrame:
    """Return one line a task: `task_id, family`, `<recommender>_k<k>` regrets, and who has the least, `best_k<k>`.

    `best_k<k>` names every recommender of least regret, `recommended` first where it is among them. The lines where a
    baseline wins by most come first.
    """
    table = per_task[["task_id", "family"]].drop_duplicates().set_index("task_id")
    names = list(dict.fromkeys(per_task["recommender"]))
    lost = pd.Series(0.0, index=table.index)
    for k in ks:
        group = per_task.loc[per_task["k"] == k]
        wide = group.pivot_table(index="task_id", columns="recommender", values="regret").loc[table.index, names]
        least = wide.min(axis=1)
        is_best = wide.le(least + TIE, axis=0)
        table[f"best_k{k}"] = [", ".join(name for name in names if row[name]) for _, row in is_best.iterrows()]
        for name in names:
            table[f"{name}_k{k}"] = wide[name]
        if RECOMMENDED in names:
            lost += wide[RECOMMENDED] - least
    order = lost.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index()
