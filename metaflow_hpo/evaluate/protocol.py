"""The leave-family-out protocol: every recommender orders the shared core for tasks of families it never saw.

The one thing to know: each family is judged twice. As meta-validation (by the network that used it for early stopping),
to choose `trust` and to decide the gate; as meta-test (by the network that never saw it), to report. What is chosen for
a fold's meta-test families is chosen without any outcome of these families.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from metaflow_hpo.errors import DegenerateTaskError
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.recommend.baselines import (
    DefaultRecommender,
    NearestTaskRecommender,
    PortfolioRecommender,
    RandomRecommender,
    Ranker,
    find_default,
)
from metaflow_hpo.recommend.new_task import DESCRIBED
from metaflow_hpo.recommend.portfolio import task_regret
from metaflow_hpo.recommend.recommender import Recommender
from metaflow_hpo.surrogate.predict import Surrogate
from metaflow_hpo.surrogate.splits import FamilySplit, split_families

KS = (1, 3, 5, 10)
RANDOM_REPETITIONS = 50
TRUSTS: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Weights of the surrogate's prediction that are tried on meta-validation families."""
DEFAULT_TRUST = 0.5
MIN_TASKS_FOR_TRUST = 3
Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Recommended:
    """The recommender, whether a task is like past ones or not.

    Attributes:
        recommender: Who answers.
        name: Name in tables and plots.
        per_time: Whether seconds of training are counted instead of trials.
    """

    recommender: Recommender
    name: str = "recommended"
    per_time: bool = False

    @classmethod
    def on(
        cls,
        history: History,
        past: IntArray | Sequence[int] | None,
        surrogate: Surrogate,
        trust: float,
        networks: Sequence[int] | None = None,
    ) -> "Recommended":
        """Combine a surrogate, of which some `networks` may be asked, with the past tasks that may be leant on."""
        asked = None if networks is None else tuple(networks)
        return cls(Recommender(history.past_tasks(past), DESCRIBED, surrogate, asked, trust))

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return positions in the pool, best first."""
        return self.recommender.order(meta_features, count, per_time=self.per_time)


@dataclass(frozen=True)
class Evaluation:
    """What the protocol found.

    Attributes:
        per_task: One line a (part, task, recommender, k): `part, task_id, family, recommender, k, regret`.
        orders: The surrogate's selection for each meta-test task, positions in the shared core, best first.
        trusts: `(J,)` the trust used for the meta-test families of each fold.
        trust: The trust chosen over all meta-validation families: what is served.
        degenerate: Tasks left out since every configuration performs the same on them.
    """

    per_task: pd.DataFrame
    orders: dict[str, list[int]]
    trusts: tuple[float, ...]
    trust: float
    degenerate: tuple[str, ...]


def incumbent_regret(regret: Array, order: Sequence[int], ks: Sequence[int]) -> list[float]:
    """Return the regret of the best of the first k configurations of an order, for each k.

    Args:
        regret: `(C,)` normalised regret of the task; NaN (never tried) counts as 1.
        order: Positions, first to try first; shorter orders stay at their last incumbent.
        ks: Numbers of trials.
    """
    path = np.minimum.accumulate(np.nan_to_num(regret[np.asarray(order)], nan=1.0))
    return [float(path[min(k, len(path)) - 1]) for k in ks]


def evaluate_leave_family_out(
    meta: History, surrogate: Surrogate, ks: Sequence[int] = KS, on_fold: Callable[[int], None] = lambda _: None
) -> Evaluation:
    """Run the protocol with the surrogate and every baseline.

    Args:
        meta: Tasks on the shared core (every configuration tried on every task).
        surrogate: A surrogate cross-fitted on these families.
        ks: Numbers of trials at which regret is reported.
        on_fold: Called with the fold's number when it is done.

    Raises:
        DegenerateTaskError: If no task is left on which configurations differ.
    """
    regret = task_regret(meta.performance)
    degenerate = _degenerate(meta)
    if len(degenerate) == len(meta.task_ids):
        raise DegenerateTaskError("On every task all configurations perform the same; there is nothing to compare.")
    splits = _split(meta, surrogate)
    validation = _trust_regret(meta, surrogate, splits, regret, ks)
    # Only network j's own validation tasks: the other networks were trained on the families that fold j reports.
    trusts = tuple(_choose_trust(validation.loc[validation["task"].isin(split.validation)]) for split in splits)
    served_trust = _choose_trust(validation)
    lines: list[pd.DataFrame] = []
    orders: dict[str, list[int]] = {}
    for j, split in enumerate(splits):
        train = np.concatenate([split.train, split.validation])
        for part, tasks, past in (("validation", split.validation, split.train), ("test", split.test, train)):
            # The gate compares what would be served; what is reported was chosen without the reported families.
            recommenders = make_recommenders(meta, surrogate, past, trusts[j] if part == "test" else served_trust, j)
            lines.append(_regret_table(meta, regret, recommenders, tasks, ks).assign(part=part))
            if part == "test":
                orders.update({meta.task_ids[t]: recommenders[0].select(meta.meta_features[t], max(ks)) for t in tasks})
        on_fold(j)
    return Evaluation(
        per_task=pd.concat(lines, ignore_index=True),
        orders=orders,
        trusts=trusts,
        trust=served_trust,
        degenerate=tuple(meta.task_ids[t] for t in degenerate),
    )


@dataclass(frozen=True)
class HeldOutFold:
    """What is reported on together, and what its recommenders may know.

    Attributes:
        network: The network that never saw these families.
        tasks: `(T3,)` meta-test tasks.
        past: `(T1 + T2,)` tasks of other families.
        trust: Chosen without any outcome of these families.
    """

    network: int
    tasks: IntArray
    past: IntArray
    trust: float


def held_out_folds(meta: History, surrogate: Surrogate, trusts: Sequence[float]) -> list[HeldOutFold]:
    """Return the meta-test parts of the protocol, tasks that tell nothing left out; `trusts` is `Evaluation.trusts`."""
    splits = _split(meta, surrogate)
    return [
        HeldOutFold(j, split.test, np.concatenate([split.train, split.validation]), trust)
        for j, (split, trust) in enumerate(zip(splits, trusts, strict=True))
    ]


def summarise(per_task: pd.DataFrame, part: Part = "test") -> pd.DataFrame:
    """Return the mean regret over tasks with a 95 % interval, and the mean rank, one line a (recommender, k)."""
    rows = per_task.loc[per_task["part"] == part].copy()
    rows["rank"] = rows.groupby(["task_id", "k"])["regret"].rank(method="average")
    lines = []
    for (recommender, k), group in rows.groupby(["recommender", "k"], sort=False):
        interval = bootstrap_mean(group["regret"].to_numpy(dtype=np.float64))
        lines.append(
            {
                "recommender": recommender,
                "k": k,
                **asdict(interval),
                "rank": float(group["rank"].mean()),
                "tasks": len(group),
            }
        )
    return pd.DataFrame(lines)


def regret_of(
    meta: History, recommender: Ranker, tasks: Sequence[int] | IntArray, ks: Sequence[int] = KS
) -> pd.DataFrame:
    """Return the regret of one recommender on some tasks, one line a (task, k)."""
    return _regret_table(meta, task_regret(meta.performance), [recommender], tasks, ks)


def _degenerate(meta: History) -> IntArray:
    return np.flatnonzero(meta.best <= meta.worst)


def _split(meta: History, surrogate: Surrogate) -> list[FamilySplit]:
    """Return the surrogate's splits without degenerate tasks: they teach no order and would dilute every mean."""
    degenerate = _degenerate(meta)
    return [
        FamilySplit(*(np.setdiff1d(part, degenerate) for part in (split.train, split.validation, split.test)))
        for split in split_families(meta.families, surrogate.fold_of_family)
    ]


def _trust_regret(
    meta: History, surrogate: Surrogate, splits: Sequence[FamilySplit], regret: Array, ks: Sequence[int]
) -> pd.DataFrame:
    """Regret of each candidate trust on meta-validation tasks, averaged over k: one line a (task, trust)."""
    lines = []
    for j, split in enumerate(splits):
        fitted = Recommended.on(meta, split.train, surrogate, DEFAULT_TRUST, [j]).recommender
        forest = fitted.fitted_forest
        for trust in TRUSTS:
            recommender = Recommended(replace(fitted, trust=trust, forest=forest))
            for t in split.validation:
                path = incumbent_regret(regret[t], recommender.select(meta.meta_features[t], max(ks)), ks)
                lines.append({"task": int(t), "trust": trust, "regret": float(np.mean(path))})
    return pd.DataFrame(lines)


def _choose_trust(validation: pd.DataFrame) -> float:
    """Return the trust of least regret, if that is clear: by a standard error over tasks against the middle one."""
    regret = validation.pivot_table(index="task", columns="trust", values="regret")
    if len(regret) < MIN_TASKS_FOR_TRUST:
        return DEFAULT_TRUST
    means = regret[list(TRUSTS)].to_numpy(dtype=np.float64).mean(axis=0)
    best = TRUSTS[int(means.argmin())]
    gain = (regret[DEFAULT_TRUST] - regret[best]).to_numpy(dtype=np.float64)
    is_clear = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    return best if is_clear else DEFAULT_TRUST


def make_recommenders(
    meta: History,
    surrogate: Surrogate,
    past_tasks: IntArray,
    trust: float,
    network: int,
    repetitions: int = RANDOM_REPETITIONS,
) -> list[Ranker]:
    """Return the recommender, first, and every baseline, all of them knowing the past tasks only."""
    past = meta.subset(past_tasks)
    return [
        Recommended.on(meta, past_tasks, surrogate, trust, [network]),
        PortfolioRecommender.fit(past),
        NearestTaskRecommender.fit(past),
        DefaultRecommender(find_default(meta)),
        *(RandomRecommender(len(meta.configurations), seed) for seed in range(repetitions)),
    ]


def _regret_table(
    meta: History,
    regret: Array,
    recommenders: Sequence[Ranker],
    tasks: Sequence[int] | IntArray,
    ks: Sequence[int],
) -> pd.DataFrame:
    lines = []
    for recommender in recommenders:
        for t in tasks:
            path = incumbent_regret(regret[t], recommender.select(meta.meta_features[t], max(ks)), ks)
            for k, value in zip(ks, path, strict=True):
                lines.append((meta.task_ids[t], meta.families[t], recommender.name, k, value))
    table = pd.DataFrame(lines, columns=["task_id", "family", "recommender", "k", "regret"])
    table = table.astype({"k": np.int64, "regret": np.float64})  # a fold without tasks has no lines to tell its types
    # Random search is repeated: its regret is the mean over the repetitions.
    return table.groupby(["task_id", "family", "recommender", "k"], sort=False)["regret"].mean().reset_index()
