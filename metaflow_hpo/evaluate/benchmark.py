"""The benchmark: does learning from past tasks help on a history, and do simpler ways do as well?"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib import import_module
from multiprocessing import get_context
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from metaflow_hpo.collect.strategies.registry import ABLATIONS, RECOMMENDED, load_factory
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.replay import Contestant, HeldOut
from metaflow_hpo.evaluate.statistics import bootstrap_mean, count_wins
from metaflow_hpo.evaluate.tuning_evidence import learn_tuning
from metaflow_hpo.evaluate.verdict import say_verdict
from metaflow_hpo.history import History, IntArray
from metaflow_hpo.recommender.pool import choose_pool
from metaflow_hpo.recommender.strategies.peers import check_installed
from metaflow_hpo.recommender.strategies.recommended import FitRecommender
from metaflow_hpo.surrogate.splits import assign_folds

BASELINES = (
    "random",
    "default",
    "mean_rank",
    "portfolio_ranks",
    "portfolio",
    "nearest_task",
    "gp",
    "gp_warm",
    "cts",
    "rgpe",
    "tpe",
    "meta_gp",
)
PEERS = ("optuna_gp", "hyperopt", "syne_tune_cts", "syne_tune_zero_shot", "flaml_zero_shot")
"""Other people's recommenders, run with their own code."""
DEFAULT_NAMES = (RECOMMENDED, *BASELINES)
SEEDLESS = {RECOMMENDED, "default", "mean_rank", "portfolio", "portfolio_ranks", "nearest_task", "gp_warm", "meta_gp"}
SEEDLESS |= {"syne_tune_zero_shot", "flaml_zero_shot", "sobol", "grid", *ABLATIONS}
"""Those for which the seed does not matter; they run once."""
KS = (1, 3, 5, 10, 25, 50)
MIN_FAMILIES = 2
MAX_JUDGED = 200
"""Tasks that are judged unless more are asked for: means over 200 tasks are exact to .01 or so."""
_SLOW = ("optuna_gp", "hyperopt", "flaml_zero_shot", "rgpe", "tpe", "gp", "cts", "syne_tune_cts")
_THREADED = {"optuna_gp": ("torch",), "syne_tune_cts": ("xgboost",)}
"""Further modules with threads of their own."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        names: Strategies.
        ks: Numbers of trials at which regret is reported, ascending.
        seeds: Repetitions of strategies that draw; the others run once.
        folds: Folds of families; leave-one-family-out where None.
        max_tasks: Tasks that are judged at most, drawn by a hash of their names; all are learned from.
        fit: What `recommended` is. Where the default is somebody's, and it does not say what decides whether a
            recommendation comes before it, that is learned as `fit` learns it.
    """

    names: tuple[str, ...] = DEFAULT_NAMES
    ks: tuple[int, ...] = KS
    seeds: int = 3
    folds: int | None = None
    max_tasks: int = MAX_JUDGED
    fit: FitRecommender = field(default_factory=FitRecommender)

    def contestant(self, name: str) -> Contestant:
        """Return a strategy; `recommended` is what `fit` would make of the past tasks."""
        if name == RECOMMENDED:
            return Contestant(name, self.fit.make)
        return Contestant.called(name, 1 if name in SEEDLESS else self.seeds)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", check_names(self.names))
        object.__setattr__(self, "ks", tuple(sorted(set(self.ks))))


@dataclass(frozen=True)
class BenchmarkResult:
    """What was found.

    Attributes:
        per_task: One line a (task, recommender, k): `task_id, family, recommender, k, regret, performance,
            test_performance`, means over seeds.
        summary: One line a (recommender, k): `recommender, k, mean, low, high, rank, wins, ties, losses, tasks`; wins
            are tasks on which it beats `recommended`.
        seconds: Processor seconds of each recommender.
    """

    per_task: pd.DataFrame
    summary: pd.DataFrame
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the contract's JSON."""
        fields = [c for c in self.summary.columns if c not in {"recommender", "k"}]
        recommenders: dict[str, dict[str, Any]] = {}
        for line in self.summary.to_dict("records"):
            recommenders.setdefault(line["recommender"], {})[str(line["k"])] = {name: line[name] for name in fields}
        return {
            "recommenders": recommenders,
            "seconds": self.seconds,
            "per_task": self.per_task.to_dict("records"),
        }


def choose_names(
    chosen: Sequence[str] | None = None, *, ablation: bool = False, peers: bool = False
) -> tuple[str, ...]:
    """Return the names of what is to be compared.

    Args:
        chosen: Names in place of `recommended` and all baselines.
        ablation: Add `recommended` without each of its parts; without `chosen`, leave the baselines out.
        peers: Add other people's recommenders.
    """
    names = list(chosen) if chosen is not None else [RECOMMENDED] if ablation else list(DEFAULT_NAMES)
    return check_names([*names, *(ABLATIONS if ablation else ()), *(PEERS if peers else ())])


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once.

    Raises:
        InvalidTableError: If there is none.
        MetaflowHPOError: If one is unknown, or needs a package that is not installed.
    """
    if not names:
        raise InvalidTableError(f"Expected strategies to compare, such as {', '.join(DEFAULT_NAMES)}; found none.")
    check_installed(names)
    for name in names:
        load_factory(name)
    return tuple(dict.fromkeys(names))


def run_benchmark(
    table: History, plan: Plan, *, workers: int = 1, on_done: Callable[[int, int], None] = lambda done, total: None
) -> BenchmarkResult:
    """Run the protocol.

    Args:
        table: The trials.
        plan: What to run.
        workers: Processes.
        on_done: Called with the number of finished and of all units of work.
    """
    if RECOMMENDED in plan.names and plan.fit.tuning is None:
        whole = plan.fit(table.past_tasks(pool=choose_pool(table)))
        plan = replace(plan, fit=replace(plan.fit, tuning=learn_tuning(whole)))
    judged = choose_judged(table, plan.max_tasks)
    folds = [fold for fold in _folds(table, plan.folds) if np.isin(fold, judged).any()]
    # The slow ones first, so that no process waits for the last.
    units = [
        (name, fold)
        for name in sorted(plan.names, key=lambda name: _SLOW.index(name) if name in _SLOW else len(_SLOW))
        for fold in folds
    ]
    lines: list[pd.DataFrame] = []
    seconds = dict.fromkeys(plan.names, 0.0)

    def collect(name: str, part: pd.DataFrame, spent: float) -> None:
        lines.append(part)
        seconds[name] += spent
        on_done(len(lines), len(units))

    if workers <= 1:
        history = table
        for name, fold in units:
            collect(name, *_run_unit(history, plan, name, fold, judged))
    else:
        context = get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_set_history, initargs=(table,)) as pool:
            running = {pool.submit(_run_in_worker, plan, name, fold, judged): name for name, fold in units}
            for future in as_completed(running):
                collect(running[future], *future.result())
    per_task = pd.concat(lines, ignore_index=True)
    position = per_task["recommender"].map({name: i for i, name in enumerate(plan.names)})
    per_task = per_task.assign(position=position).sort_values(["position", "task_id", "k"], ignore_index=True)
    per_task = per_task.drop(columns="position")
    return BenchmarkResult(per_task, summarise(per_task), seconds)


def _folds(table: History, folds: int | None) -> list[IntArray]:
    """Return the positions of the tasks that are held out together."""
    families, distinct = np.array(table.families), sorted(set(table.families))
    if len(distinct) < MIN_FAMILIES:
        raise InvalidTableError(
            f"Expected tasks of at least {MIN_FAMILIES} families, to learn from some and be judged on others; found "
            f"{distinct}. Add tasks, or correct the columns task_id and family."
        )
    if folds is None or folds >= len(distinct):
        return [np.flatnonzero(families == family) for family in distinct]
    assignment = assign_folds(list(families), folds)
    fold = np.array([assignment[family] for family in families])
    return [np.flatnonzero(fold == j) for j in range(max(assignment.values()) + 1)]


def choose_judged(table: History, count: int) -> IntArray:
    """Return the positions of at most `count` tasks, drawn by a hash of their names: the same in every order."""
    names = [sha256(task.task_id.encode()).digest() for task in table.tasks]
    return np.sort(np.argsort(np.array(names, dtype=object), kind="stable")[:count])


_HISTORY: dict[str, History] = {}


def _set_history(table: History) -> None:
    _HISTORY["of_this_process"] = table


def _run_in_worker(plan: Plan, name: str, fold: IntArray, judged: IntArray) -> tuple[pd.DataFrame, float]:
    return _run_unit(_HISTORY["of_this_process"], plan, name, fold, judged)


def _run_unit(history: History, plan: Plan, name: str, fold: IntArray, judged: IntArray) -> tuple[pd.DataFrame, float]:
    """Run one recommender on the judged tasks of one fold; return their lines and the processor seconds."""
    held_out = HeldOut(history, np.setdiff1d(np.arange(len(history.tasks)), fold))
    _load_thread_pools(name)
    with threadpool_limits(1):
        started = process_time()
        lines = held_out.judge(plan.contestant(name), fold[np.isin(fold, judged)], plan.ks)
        spent = process_time() - started
    return lines, spent


def _load_thread_pools(name: str) -> None:
    """Import what computes in threads: a limit reaches only pools that are loaded when it is set."""
    for module in ("sklearn.ensemble", *_THREADED.get(name, ())):
        import_module(module)


def note_plan(history: History, plan: Plan) -> list[str]:
    """Return what a person should know before the benchmark runs, sentences."""
    notes = list(history.notes)
    smallest = min(len(task.positions) for task in history.tasks)
    if max(plan.ks) >= smallest:
        notes.append(f"with k = {max(plan.ks)} all configurations of the smallest task ({smallest}) are tried.")
    if len(history.tasks) > plan.max_tasks:
        notes.append(f"{plan.max_tasks} of {len(history.tasks)} tasks are judged (--tasks).")
    return notes


def describe_benchmark(history: History, plan: Plan, result: BenchmarkResult) -> dict[str, Any]:
    """Return the JSON: the verdict, what was understood of the trials, the protocol, and what was found."""
    described = {
        "tasks": len(history.tasks),
        "families": len(set(history.families)),
        "configurations": len(history.configurations),
        "trials": sum(len(task.positions) for task in history.tasks),
        "shared": history.is_shared,
        "meta_features": list(history.meta_feature_names),
        "space": history.space.to_json(),
        "worst": float(history.worst.min()),
        "best": float(history.best.max()),
        "notes": list(history.notes),
    }
    protocol = {
        "folds": plan.folds or len(set(history.families)),
        "k": list(plan.ks),
        "seeds": plan.seeds,
        "tasks": result.per_task["task_id"].nunique(),
    }
    return {"verdict": say_verdict(result.per_task), "table": described, "protocol": protocol, **result.to_json()}


def summarise(per_task: pd.DataFrame) -> pd.DataFrame:
    """Return mean regret with a 95 % interval, mean rank, and wins, ties, losses against `recommended`."""
    lines = []
    names = list(dict.fromkeys(per_task["recommender"]))
    wide: dict[int, pd.DataFrame] = {}
    for k in sorted(set(per_task["k"].tolist())):
        group = per_task.loc[per_task["k"] == k]
        wide[k] = group.pivot_table(index="task_id", columns="recommender", values="regret")[names]
    for name in names:
        for k, regret in wide.items():
            interval = bootstrap_mean(regret[name].to_numpy(dtype=np.float64))
            line = {
                "recommender": name,
                "k": k,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "rank": float(regret.rank(axis=1)[name].mean()),
                "tasks": len(regret),
            }
            if RECOMMENDED in names:
                gain = (regret[RECOMMENDED] - regret[name]).to_numpy(dtype=np.float64)
                line |= count_wins(gain)
            lines.append(line)
    return pd.DataFrame(lines)
