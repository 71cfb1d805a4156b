"""Published tables replayed as Optuna studies: MetaSampler, which knows studies of other tasks, against other samplers.

    python bench_sampler.py FOLDER --tables lcbench taskset --output bench_sampler.parquet      # resumes

FOLDER is as for `bench_tables.py`. A study searches the continuous space of a table: LCBench answers by its network,
the others by the trial nearest to what was asked (in the unit cube). Past studies are those of all tasks of other
families, `PAST_TRIALS` random trials each. `--past` says what becomes of them: `true`; `differ` (half of the studies
lack two hyperparameters, all have other ranges and choices than today) and, to compare it with, `inside` (the same
space of today, which all past trials lie in); `negated` and `shuffled`, which mislead.

The one thing to know: regrets are normalised by a task's best and worst known value, in the space of today alone where
that is a narrower one; OptunaHub's sampler needs
`--registry FOLDER`, and an Optuna that it was written for (4.1; with 5.0 it fails); it is left out otherwise.
"""

import argparse
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from bench_tables import find_tables, read_history

from metaflow_hpo.alignment import is_inside
from metaflow_hpo.gaussian_process import squared_distances
from metaflow_hpo.history import History
from metaflow_hpo.hyperparameter import Categorical, Float, Hyperparameter, Integer
from metaflow_hpo.integrations.optuna import MetaSampler
from metaflow_hpo.space import Array, Configuration, SearchSpace

KS = (1, 3, 5, 10, 25)
TRIALS = KS[-1]
PAST_TRIALS = 100
MAX_TASKS = 12
SAMPLERS = ("meta", "tpe", "gp", "cmaes", "meta_learn_tpe")
PASTS = ("true", "inside", "differ", "negated", "shuffled")
NARROW = ("inside", "differ")
"""Pasts with which a study searches a narrower space than the table has."""
_RESAMPLED = 2_000


@dataclass(frozen=True)
class Table:
    """The tasks of a table as objectives over one space.

    Attributes:
        name: Of its folder.
        history: All trials.
        ask: Returns the performance of a configuration on a task, `(task, configuration) -> float`.
    """

    name: str
    history: History
    ask: Callable[[int, Configuration], float]

    @cached_property
    def space(self) -> SearchSpace:
        """The space of a study: what was inferred as optional always plays a role."""
        return SearchSpace(tuple(replace(hp, optional=False) for hp in self.history.space.hyperparameters))

    @cached_property
    def narrower(self) -> SearchSpace:
        """A space in which numbers start and end a tenth of their axis farther in, and every third choice is gone."""
        return SearchSpace(tuple(_narrow(hp) for hp in self.space.hyperparameters))

    @cached_property
    def is_inside(self) -> Array:
        """Which configurations `(C,)` lie in the narrower space."""
        return np.array([is_inside(self.narrower, configuration) for configuration in self.history.configurations])

    def others(self, task: int) -> list[int]:
        """Return the tasks of other families."""
        families = self.history.families
        return [t for t in range(len(families)) if families[t] != families[task]]


def open_table(folder: Path, file: Path) -> Table | None:
    """Return a table; None where a package is missing that reads it."""
    history = read_history(file)
    if history is None:
        return None
    if file.name == "model.onnx":
        return Table(folder.name, history, ask_network(folder, history))
    points = [history.points[task.positions] for task in history.tasks]

    def ask_nearest(t: int, configuration: Configuration) -> float:
        at = squared_distances(history.space.encode([configuration]), points[t])[0].argmin()
        return float(history.tasks[t].performance[at])

    return Table(folder.name, history, ask_nearest)


def ask_network(folder: Path, history: History) -> Callable[[int, Configuration], float]:
    """Return what asks LCBench's network."""
    import json

    from metaflow_hpo.adapters.past_trials import lcbench

    session = lcbench._open(folder / "model.onnx")
    codes = json.loads((folder / "encoding.json").read_text())[lcbench._TASK]

    def ask(t: int, configuration: Configuration) -> float:
        code = np.array([[codes[history.task_ids[t].removeprefix("openml_")]]], dtype=np.int32)
        values = [float(configuration[name]) for name in lcbench.HYPERPARAMETERS]
        numbers = np.array([[float(lcbench.EPOCH), *values]], dtype=np.float32)
        return float(session.run(None, {"x_cat": code, "x_cont": numbers})[0][0, lcbench._VALIDATION])

    return ask


def draw_past(table: Table, task: int, kind: str, seed: int) -> tuple[History, SearchSpace]:
    """Return past trials, random ones of each other task, and today's search space."""
    rng = np.random.default_rng([seed, zlib.crc32(table.history.task_ids[task].encode())])
    kept = []
    for t in table.others(task):
        trials = table.history.tasks[t]
        allowed = np.flatnonzero(table.is_inside[trials.positions] | (kind != "inside"))
        chosen = np.sort(rng.permutation(allowed)[:PAST_TRIALS])
        performance = trials.performance[chosen]
        if kind == "negated":
            performance = -performance
        if kind == "shuffled":
            performance = rng.permutation(performance)
        rows = {"test_performance": trials.test_performance[chosen], "duration_s": trials.duration_s[chosen]}
        kept.append(replace(trials, positions=trials.positions[chosen], performance=performance, **rows))
    past = replace(table.history, tasks=tuple(kept)).on(np.unique(np.concatenate([t.positions for t in kept])))
    today = table.narrower if kind in NARROW else table.space
    return (past if kind != "differ" else without_two(past, table.space.names[1:3])), today


def without_two(past: History, lacking: Sequence[str]) -> History:
    """Return the past without two hyperparameters in half of the studies."""
    frame = past.to_frame()
    half = frame["task_id"].isin(past.task_ids[::2])
    for name in lacking:
        frame[f"hp_{name}"] = frame[f"hp_{name}"].where(~half)
    space = SearchSpace(tuple(replace(hp, optional=hp.name in lacking) for hp in past.space.hyperparameters))
    return History.from_frame(frame, space=space)


def _narrow(hp: Hyperparameter) -> Hyperparameter:
    if isinstance(hp, Categorical):
        kept = tuple(c for i, c in enumerate(hp.choices) if i % 3 != 2)
        return replace(hp, choices=kept, default=kept[0], condition=None) if len(kept) > 1 else hp
    low, high = hp.from_unit(0.1), hp.from_unit(0.9)
    return replace(hp, low=low, high=high, default=hp.from_unit(0.5)) if low < high else hp


def suggest(trial: optuna.Trial, space: SearchSpace) -> Configuration:
    """Ask a trial for every hyperparameter that plays a role."""
    values: dict[str, Any] = {}
    for hp in space.hyperparameters:
        if hp.condition is not None and not hp.condition.holds(values):
            continue
        if isinstance(hp, Categorical):
            values[hp.name] = trial.suggest_categorical(hp.name, hp.choices)
        elif isinstance(hp, Integer):
            values[hp.name] = trial.suggest_int(hp.name, hp.low, hp.high, log=hp.log)
        elif isinstance(hp, Float):
            values[hp.name] = trial.suggest_float(hp.name, hp.low, hp.high, log=hp.log)
    return values


def make_sampler(name: str, past: History, features: dict[str, float], seed: int, registry: Path | None) -> Any:
    """Return a sampler; all know the same past, as far as they can use it."""
    if name == "meta":
        return MetaSampler(past, task=features, seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    import optunahub

    module = optunahub.load_local_module("samplers/meta_learn_tpe", registry_root=str(registry))
    return module.MetaLearnTPESampler(source_studies=list(as_studies(past)), seed=seed)


def as_studies(past: History) -> Iterator[optuna.Study]:
    """Yield past tasks as studies of Optuna."""
    distributions = {hp.name: _distribution(hp) for hp in past.space.hyperparameters}
    for task in past.tasks:
        study = optuna.create_study(direction="maximize", study_name=task.task_id)
        for position, value in zip(task.positions, task.performance, strict=True):
            params = dict(past.configurations[position])
            asked = {name: distributions[name] for name in params}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=asked, value=float(value)))
        yield study


def _distribution(hp: Hyperparameter) -> optuna.distributions.BaseDistribution:
    if isinstance(hp, Categorical):
        return optuna.distributions.CategoricalDistribution(hp.choices)
    kind = optuna.distributions.IntDistribution if isinstance(hp, Integer) else optuna.distributions.FloatDistribution
    return kind(hp.low, hp.high, log=hp.log)


def replay(table: Table, task: int, name: str, kind: str, seed: int, registry: Path | None) -> dict[str, Any]:
    """Run one study and return the best performance after each of `KS` trials, and its processor time."""
    past, space = draw_past(table, task, kind, seed)
    names, values = table.history.meta_feature_names, table.history.tasks[task].meta_features
    features = {n: float(v) for n, v in zip(names, values, strict=True) if np.isfinite(v)}
    # Not the same one for all tasks: they would share its luck.
    own_seed = zlib.crc32(f"{table.history.task_ids[task]}/{seed}".encode())
    sampler = make_sampler(name, past, features, own_seed, registry)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    started = time.process_time()
    study.optimize(lambda trial: table.ask(task, suggest(trial, space)), n_trials=TRIALS)
    best = np.maximum.accumulate([trial.value for trial in study.trials])
    key = {"table": table.name, "task": table.history.task_ids[task], "sampler": name, "past": kind, "seed": seed}
    return {**key, "seconds": time.process_time() - started, **{f"k{k}": float(best[k - 1]) for k in KS}}


def ends_of(table: Table, task: int, *, is_narrow: bool) -> tuple[float, float]:
    """Return the worst and best performance that is known of a task, all of it or in the narrower space."""
    trials = table.history.tasks[task]
    known = trials.performance[table.is_inside[trials.positions] | (not is_narrow)]
    return float(known.min()), float(known.max())


def normalise(found: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Return the mean regret over seeds by table, past, sampler and task, after each of `KS` trials."""
    known = found.assign(is_narrow=found["past"].isin(NARROW)).merge(ends, on=["table", "task", "is_narrow"])
    reached = known.groupby(["table", "task", "is_narrow"])[f"k{TRIALS}"].transform("max")
    best = np.maximum(known["best"], reached)  # a sampler may find better than is known
    for k in KS:
        known[f"k{k}"] = (best - known[f"k{k}"]) / (best - known["worst"])
    return known.groupby(["table", "past", "sampler", "task"])[[f"k{k}" for k in KS]].mean()


def compare(regret: pd.DataFrame) -> pd.DataFrame:
    """Return how far MetaSampler is ahead of each rival, task by task, with 95 % intervals (a bootstrap of tasks).

    Samplers that do not look at the past stand beside every kind of it; MetaSampler beside itself with the true past,
    of the same space.
    """
    lines = []
    for (table, past), part in regret.xs("meta", level="sampler").groupby(level=["table", "past"]):
        ours = part.droplevel(["table", "past"])
        same = "inside" if past in NARROW else "true"
        for kind, sampler in regret.loc[table].index.droplevel("task").unique():
            is_rival = kind == past or (kind == same and is_needless(sampler, past))
            if not is_rival and (kind, sampler) != (same, "meta"):
                continue
            its = regret.loc[table, kind, sampler]
            ahead = (its - ours).dropna()
            if ahead.empty or (kind, sampler) == (past, "meta"):
                continue
            low, high = _interval(ahead.to_numpy())
            name = f"meta, {kind} past" if sampler == "meta" else sampler
            lines += [
                (
                    table,
                    past,
                    name,
                    k,
                    its.loc[ahead.index, f"k{k}"].mean(),
                    ours.loc[ahead.index, f"k{k}"].mean(),
                    *ends,
                )
                for k, *ends in zip(KS, ahead.mean(), low, high, strict=True)
            ]
    return pd.DataFrame(lines, columns=["table", "past", "rival", "k", "its", "ours", "ahead", "low", "high"])


def _interval(differences: Array) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    means = differences[rng.integers(len(differences), size=(_RESAMPLED, len(differences)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def is_needless(sampler: str, kind: str) -> bool:
    """Tell samplers that do not look at the past from one kind of it to another."""
    return sampler in ("tpe", "gp", "cmaes") and kind not in ("true", "inside")


def choose_tasks(table: Table, most: int) -> list[int]:
    """Return the tasks on which trials differ, evenly over the table."""
    informative = table.history.informative
    return informative[
        np.unique(np.linspace(0, len(informative) - 1, min(most, len(informative))).astype(int))
    ].tolist()


def run(asked: argparse.Namespace, tables: Sequence[Table]) -> pd.DataFrame:
    """Run what is not known yet until the time is up; return all that is known."""
    path: Path = asked.output
    rows = pd.read_parquet(path).to_dict("records") if path.is_file() else []
    done = {(r["table"], r["task"], r["sampler"], r["past"], r["seed"]) for r in rows}
    started, last = time.monotonic(), time.monotonic()
    for seed in range(asked.seeds):
        for table in tables:
            for task in choose_tasks(table, asked.tasks):
                for kind in asked.past:
                    for sampler in asked.samplers:
                        key = (table.name, table.history.task_ids[task], sampler, kind, seed)
                        if key in done or is_needless(sampler, kind):
                            continue
                        if time.monotonic() - started > 60 * asked.minutes:
                            return pd.DataFrame(rows)
                        rows.append(replay(table, task, sampler, kind, seed, asked.registry))
                        if time.monotonic() - last > 10:
                            pd.DataFrame(rows).to_parquet(path)
                            last = time.monotonic()
    pd.DataFrame(rows).to_parquet(path)
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is not kept yet, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds a folder for each table")
    parser.add_argument("--tables", nargs="+", default=["lcbench", "taskset"])
    parser.add_argument("--output", type=Path, default=Path("bench_sampler.parquet"), help="what was found already")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--past", nargs="+", choices=PASTS, default=list(PASTS))
    parser.add_argument("--tasks", type=int, default=MAX_TASKS, help="tasks a table, at most")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--registry", type=Path, help="`package/` of a copy of OptunaHub's registry")
    parser.add_argument("--minutes", type=float, default=60.0, help="when to stop, to be resumed")
    asked = parser.parse_args()
    if asked.registry is None and "meta_learn_tpe" in asked.samplers:
        print("meta_learn_tpe: needs --registry FOLDER; left out.", file=sys.stderr)
        asked.samplers.remove("meta_learn_tpe")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    chosen = [(folder, file) for folder, file in find_tables(asked.folder) if folder.name in asked.tables]
    tables = [table for folder, file in chosen if (table := open_table(folder, file)) is not None]
    found = run(asked, tables)
    ends = pd.DataFrame(
        [
            (t.name, t.history.task_ids[i], is_narrow, *ends_of(t, i, is_narrow=is_narrow))
            for t in tables
            for i in range(len(t.history.tasks))
            for is_narrow in (False, True)
        ],
        columns=["table", "task", "is_narrow", "worst", "best"],
    )
    regret = normalise(found, ends)
    mean, paired = regret.groupby(level=["table", "past", "sampler"]).mean(), compare(regret)
    with pd.option_context("display.width", 200, "display.max_rows", 500, "display.float_format", "{:.4f}".format):
        print(f"Mean normalised regret\n{mean}\n\nAhead of each rival (its regret - ours), paired\n{paired}")


if __name__ == "__main__":
    main()
