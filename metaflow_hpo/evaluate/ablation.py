"""What each part of the recommender is worth: every part removed in turn, on the meta-test families.

Nothing is chosen from these numbers; they are reported beside the recommender that is served.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.evaluate.evaluation import DEFAULT_TRUST, KS, WithNetworks, held_out_folds
from metaflow_hpo.evaluate.replay import Contestant
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import History
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.strategies.past import past_of
from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy
from metaflow_hpo.recommender.task_forest import TaskForest
from metaflow_hpo.surrogate.predict import Surrogate

FULL = "everything"


def _without_similarity(full: Recommender) -> Recommender:
    """Weigh all past tasks the same."""
    return replace(full, settings=replace(full.settings, similarity=False))


def _without_complementarity(full: Recommender) -> Recommender:
    """Take the configurations of least expected regret, each for itself."""
    return replace(full, settings=replace(full.settings, complementary=False))


def _without_forest(full: Recommender) -> Recommender:
    """Weigh past tasks by their distance in meta-features, where nothing says which of these matter."""
    return replace(full, forest=TaskForest.without_say(len(full.past.task_ids)))


VARIANTS: dict[str, Callable[[Recommender], Recommender]] = {
    FULL: lambda full: full,
    "without the networks": lambda full: replace(full, trust=0.0),
    "without past tasks as scenarios": lambda full: replace(full, trust=1.0),
    "without choosing the trust": lambda full: replace(full, trust=DEFAULT_TRUST),
    "without the forest": _without_forest,
    "without similarity of tasks": _without_similarity,
    "without complementarity": _without_complementarity,
}
BLIND = "without meta-features"


def ablate(meta: History, surrogate: Surrogate, trusts: Sequence[float], ks: Sequence[int] = KS) -> pd.DataFrame:
    """Return the regret of each variant on every meta-test task: `task_id, family, recommender, k, regret`.

    Args:
        meta: Tasks on the shared core.
        surrogate: A surrogate cross-fitted on these families.
        trusts: `Evaluation.trusts`.
        ks: Numbers of trials.
    """
    parts = []
    for fold in held_out_folds(meta, surrogate, trusts):
        for name, change in VARIANTS.items():
            variant = replace(fold.served, change=change).contestant(name)
            parts.append(fold.known.judge(variant, fold.tasks, ks))
        even = replace(fold.served, change=_without_similarity)
        parts.append(fold.known.judge(Contestant(BLIND, partial(_blindfold, even)), fold.tasks, ks))
    columns = ["task_id", "family", "recommender", "k", "regret"]
    return pd.concat(parts, ignore_index=True)[columns]


def _blindfold(even: WithNetworks, context: StrategyContext) -> RecommendedStrategy:
    """Tell of a task in the middle of all past ones, whichever it is; all past tasks weigh the same."""
    typical = past_of(context).learn(even.fit).distance.typical
    return even(replace(context, meta_features=typical))


def summarise_ablation(per_task: pd.DataFrame) -> pd.DataFrame:
    """Return what removing a part costs, one line a (variant, k).

    Returns:
        `recommender, k, mean`, then `cost` (regret of the variant minus that of everything, paired over tasks) with its
        95 % interval `low, high`: a part earns its place where the interval lies above 0.
    """
    lines = []
    wide = per_task.pivot_table(index=["task_id", "k"], columns="recommender", values="regret")
    for name in dict.fromkeys(per_task["recommender"]):
        for k, group in wide.groupby(level="k"):
            cost = bootstrap_mean((group[name] - group[FULL]).to_numpy(dtype=np.float64))
            lines.append(
                {
                    "recommender": name,
                    "k": k,
                    "mean": float(group[name].mean()),
                    "cost": cost.mean,
                    "low": cost.low,
                    "high": cost.high,
                }
            )
    return pd.DataFrame(lines)
