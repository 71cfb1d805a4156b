"""What each part of the recommender is worth: every part removed in turn, on the meta-test families.

The one thing to know: nothing is chosen from these numbers. They are reported beside the recommender that is served.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.protocol import DEFAULT_TRUST, KS, held_out_folds, regret_of
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import Array, History
from metaflow_hpo.recommend.surrogate_recommender import SurrogateRecommender
from metaflow_hpo.recommend.task_forest import TaskForest
from metaflow_hpo.surrogate.predict import Prediction, Surrogate

FULL = "everything"


@dataclass(frozen=True)
class _WithoutSimilarity(SurrogateRecommender):
    """All past tasks weigh the same."""

    def similarity(self, meta_features: Array) -> Array:
        return np.full(len(self.past_regret), 1.0 / len(self.past_regret))


@dataclass(frozen=True)
class _WithoutComplementarity(SurrogateRecommender):
    """The k configurations of least expected regret, each for itself."""

    def select(
        self,
        meta_features: Array,
        count: int,
        duration: Array | None = None,
        prediction: Prediction | None = None,
    ) -> list[int]:
        regret, weights = self.scenarios(meta_features, prediction)
        return [int(c) for c in np.argsort(weights @ regret, kind="stable")[:count]]


@dataclass(frozen=True)
class _WithoutMetaFeatures(_WithoutSimilarity):
    """The networks are told of a task in the middle of all past ones, whichever it is."""

    def believed_regret(self, meta_features: Array, prediction: Prediction | None = None) -> Array:
        return super().believed_regret(self.distance.standardiser.center)


def _without_forest(full: SurrogateRecommender) -> SurrogateRecommender:
    """Weigh past tasks by their distance in meta-features, where nothing says which of these matter."""
    return replace(full, forest=TaskForest.without_say(len(full.past_regret)))


def _as(kind: type[SurrogateRecommender]) -> Callable[[SurrogateRecommender], SurrogateRecommender]:
    return lambda full: kind(**{field.name: getattr(full, field.name) for field in fields(full)})


VARIANTS: dict[str, Callable[[SurrogateRecommender], SurrogateRecommender]] = {
    FULL: lambda full: full,
    "without the networks": lambda full: replace(full, trust=0.0),
    "without past tasks as scenarios": lambda full: replace(full, trust=1.0),
    "without choosing the trust": lambda full: replace(full, trust=DEFAULT_TRUST),
    "without the forest": _without_forest,
    "without similarity of tasks": _as(_WithoutSimilarity),
    "without complementarity": _as(_WithoutComplementarity),
    "without meta-features": _as(_WithoutMetaFeatures),
}


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
        full = SurrogateRecommender.fit(surrogate, meta.subset(fold.past), fold.trust, networks=[fold.network])
        for name, make in VARIANTS.items():
            parts.append(regret_of(meta, replace(make(full), name=name), fold.tasks, ks))
    return pd.concat(parts, ignore_index=True)


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
