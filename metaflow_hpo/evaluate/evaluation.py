"""The evaluation of what is served: recommenders with networks, replayed on families that neither has seen.

Each family is judged twice. As meta-validation (by the network that used it for early stopping), to choose `trust` and
to decide the gate; as meta-test (by the network that never saw it), to report. What is chosen for a fold's meta-test
families is chosen without any outcome of these families.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.registry import RECOMMENDED
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import DegenerateTaskError
from metaflow_hpo.evaluate.replay import Contestant, HeldOut
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import History, IntArray
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.new_task import DESCRIBED, RecommenderSettings
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.strategies.past import past_of
from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy
from metaflow_hpo.recommender.task_forest import TaskForest
from metaflow_hpo.recommender.tuning import TuningEvidence
from metaflow_hpo.surrogate.predict import Surrogate
from metaflow_hpo.surrogate.splits import FamilySplit, split_families

KS = (1, 3, 5, 10)
RANDOM_REPETITIONS = 50
BASELINES = ("portfolio", "nearest_task", "default")
"""Beside random search, what the recommender is compared with."""
TRUSTS: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Weights of the surrogate's prediction that are tried on meta-validation families."""
DEFAULT_TRUST = 0.5
MIN_TASKS_FOR_TRUST = 3
Part = Literal["validation", "test"]


@dataclass(frozen=True, eq=False)
class WithNetworks:
    """Makes the recommender with networks on the past tasks of a replay.

    Attributes:
        surrogate: The networks.
        networks: Which of them may be asked; None for all.
        trust: Weight of their prediction.
        per_time: Whether seconds of training are counted instead of trials.
        change: Returns a variant of the recommender.
        settings: How the recommender's parts work together.
        tuning: What decides whether a recommendation comes before the default; only what past tasks tell counts.
    """

    surrogate: Surrogate
    networks: tuple[int, ...] | None
    trust: float
    per_time: bool = False
    change: Callable[[Recommender], Recommender] = lambda full: full
    settings: RecommenderSettings = DESCRIBED
    tuning: TuningEvidence | None = None

    def fit(self, past: PastTasks) -> Recommender:
        """Return the recommender on past tasks; a forest is grown once for all variants."""
        tuning = None if self.tuning is None else self.tuning.of(past.task_ids)
        full = Recommender(past, self.settings, self.surrogate, self.networks, self.trust, tuning=tuning)
        return self.change(replace(full, forest=past.learn(_Forest(self.settings))))

    def __call__(self, context: StrategyContext) -> RecommendedStrategy:
        """Make its strategy."""
        return RecommendedStrategy(past_of(context).learn(self.fit), context, per_time=self.per_time)

    def contestant(self, name: str = RECOMMENDED) -> Contestant:
        """Return it under a name."""
        return Contestant(name, self)


@dataclass(frozen=True)
class _Forest:
    """The forest on past tasks; equal settings grow it once."""

    settings: RecommenderSettings

    def __call__(self, past: PastTasks) -> TaskForest:
        return Recommender(past, self.settings).fitted_forest


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        per_task: One line a (part, task, recommender, k): `part, task_id, family, recommender, k, regret`.
        orders: What is recommended for each meta-test task, positions in the history, best first.
        trusts: `(J,)` the trust used for the meta-test families of each fold.
        trust: The trust chosen over all meta-validation families: what is served.
        degenerate: Tasks left out since every configuration performs the same on them.
    """

    per_task: pd.DataFrame
    orders: dict[str, list[int]]
    trusts: tuple[float, ...]
    trust: float
    degenerate: tuple[str, ...]


def evaluate_leave_family_out(
    history: History,
    surrogate: Surrogate,
    ks: Sequence[int] = KS,
    on_fold: Callable[[int], None] = lambda _: None,
    *,
    settings: RecommenderSettings = DESCRIBED,
    default_trust: float = DEFAULT_TRUST,
    tuning: TuningEvidence | None = None,
) -> Evaluation:
    """Evaluate the recommender with networks and every baseline, each asked for all before the first trial.

    Args:
        history: Tasks with their recorded configurations.
        surrogate: A surrogate cross-fitted on these families.
        ks: Numbers of trials at which regret is reported.
        on_fold: Called with the fold's number when it is done.
        settings: How the recommender's parts work together.
        default_trust: The trust where no other one is clearly better on meta-validation families.
        tuning: What decides whether a recommendation comes before the default, where that was learned.

    Raises:
        DegenerateTaskError: If no task is left on which configurations differ.
    """
    degenerate = _degenerate(history)
    if len(degenerate) == len(history.task_ids):
        raise DegenerateTaskError("On every task all configurations perform the same; there is nothing to compare.")
    splits = _split(history, surrogate)
    validation = _trust_regret(history, surrogate, splits, ks, settings)
    # Only network j's own validation tasks: the other networks were trained on the families that fold j reports.
    judged = [validation.loc[validation["task"].isin(split.validation)] for split in splits]
    trusts = tuple(_choose_trust(part, default_trust) for part in judged)
    served_trust = _choose_trust(validation, default_trust)
    lines: list[pd.DataFrame] = []
    orders: dict[str, list[int]] = {}
    for j, split in enumerate(splits):
        # The gate compares what would be served; what is reported was chosen without the reported families.
        served = WithNetworks(surrogate, (j,), served_trust, settings=settings, tuning=tuning)
        lines.append(judge_all(recall(history, split.train), served, split.validation, ks).assign(part="validation"))
        fold = HeldOutFold(history, surrogate, j, split, trusts[j], settings, tuning)
        lines.append(judge_all(fold.known, fold.served, split.test, ks).assign(part="test"))
        for t in split.test:
            orders[history.task_ids[t]] = fold.order(t, max(ks))
        on_fold(j)
    return Evaluation(
        per_task=pd.concat(lines, ignore_index=True),
        orders=orders,
        trusts=trusts,
        trust=served_trust,
        degenerate=tuple(history.task_ids[t] for t in degenerate),
    )


def choose_trust(
    history: History, surrogate: Surrogate, settings: RecommenderSettings, default: float, ks: Sequence[int] = KS
) -> float:
    """Return the trust that does best on meta-validation families, `default` where that is not clear."""
    return _choose_trust(_trust_regret(history, surrogate, _split(history, surrogate), ks, settings), default)


def recall(history: History, past: IntArray | None) -> HeldOut:
    """Return what may be learned from some tasks, where everyone is asked for all before the first trial."""
    return HeldOut(history, past, "at once")


def rivals(seeds: int = RANDOM_REPETITIONS) -> list[Contestant]:
    """Return what the recommender is compared with."""
    return [*(Contestant.called(name) for name in BASELINES), Contestant.called("random", seeds)]


def judge_all(known: HeldOut, served: WithNetworks, tasks: IntArray, ks: Sequence[int]) -> pd.DataFrame:
    """Return the regret of the recommender and of its rivals on some tasks."""
    parts = [known.judge(contestant, tasks, ks) for contestant in (served.contestant(), *rivals())]
    return pd.concat(parts, ignore_index=True).drop(columns=["performance", "test_performance"])


@dataclass(frozen=True)
class HeldOutFold:
    """What is reported on together, and what its recommenders may know.

    Attributes:
        history: All tasks.
        surrogate: The networks.
        network: The one that never saw these families.
        split: The tasks: `test` is reported, the others may be learned from.
        trust: Chosen without any outcome of these families.
        settings: How the recommender's parts work together.
        tuning: What decides whether a recommendation comes before the default.
    """

    history: History
    surrogate: Surrogate
    network: int
    split: FamilySplit
    trust: float
    settings: RecommenderSettings = DESCRIBED
    tuning: TuningEvidence | None = None

    @property
    def tasks(self) -> IntArray:
        """`(T3,)` meta-test tasks."""
        return self.split.test

    @property
    def past(self) -> IntArray:
        """`(T1 + T2,)` tasks of other families."""
        return np.concatenate([self.split.train, self.split.validation])

    @cached_property
    def known(self) -> HeldOut:
        """What may be learned from."""
        return recall(self.history, self.past)

    @cached_property
    def served(self) -> WithNetworks:
        """The recommender."""
        return WithNetworks(self.surrogate, (self.network,), self.trust, settings=self.settings, tuning=self.tuning)

    def order(self, t: int, count: int, contestant: Contestant | None = None, *, seed: int = 0) -> list[int]:
        """Return what the recommender, or another one, recommends for a task: positions in the history."""
        order = self.known.order(contestant or self.served.contestant(), t, count, seed=seed)
        return [int(position) for position in self.history.tasks[t].positions[order]]


def held_out_folds(history: History, surrogate: Surrogate, trusts: Sequence[float]) -> list[HeldOutFold]:
    """Return the meta-test parts, tasks that tell nothing left out; `trusts` is `Evaluation.trusts`."""
    splits = _split(history, surrogate)
    return [HeldOutFold(history, surrogate, j, *pair) for j, pair in enumerate(zip(splits, trusts, strict=True))]


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


def _degenerate(history: History) -> IntArray:
    return np.flatnonzero(history.best <= history.worst)


def _split(history: History, surrogate: Surrogate) -> list[FamilySplit]:
    """Return the surrogate's splits without degenerate tasks: they teach no order and would dilute every mean."""
    degenerate = _degenerate(history)
    return [
        FamilySplit(*(np.setdiff1d(part, degenerate) for part in (split.train, split.validation, split.test)))
        for split in split_families(history.families, surrogate.fold_of_family)
    ]


def _trust_regret(
    history: History,
    surrogate: Surrogate,
    splits: Sequence[FamilySplit],
    ks: Sequence[int],
    settings: RecommenderSettings,
) -> pd.DataFrame:
    """Regret of each candidate trust on meta-validation tasks, averaged over k: one line a (task, trust)."""
    lines = []
    for j, split in enumerate(splits):
        known = recall(history, split.train)
        for trust in TRUSTS:
            served = WithNetworks(surrogate, (j,), trust, settings=settings).contestant()
            for t in split.validation:
                regret = known.judge(served, [int(t)], ks)["regret"]
                lines.append({"task": int(t), "trust": trust, "regret": float(regret.mean())})
    return pd.DataFrame(lines)


def _choose_trust(validation: pd.DataFrame, default: float) -> float:
    """Return the trust of least regret, if that is clear: by a standard error over tasks against the default."""
    regret = validation.pivot_table(index="task", columns="trust", values="regret")
    if len(regret) < MIN_TASKS_FOR_TRUST:
        return default
    means = regret[list(TRUSTS)].to_numpy(dtype=np.float64).mean(axis=0)
    best = TRUSTS[int(means.argmin())]
    gain = (regret[default] - regret[best]).to_numpy(dtype=np.float64)
    is_clear = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    return best if is_clear else default
