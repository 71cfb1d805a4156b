"""Realised performance: the recommended configurations really trained on held-out tasks, against the alternatives.

The one thing to know: the configuration is always chosen by cross-validated performance and judged on the test rows.
The recommended ones and the default are trained afresh, with a seed that no trial of the meta-data set used. The
cross-validated performance of the best of many random trials is flattered by having been chosen; that on the test rows
is not, which is why both are counted in random trials.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.statistics import bootstrap_mean, count_wins
from metaflow_hpo.history import Array
from metaflow_hpo.trial import Trial
from metaflow_hpo.trial_rows import keep_highest_fidelity

FRESH_SEED = 1_000
RANDOM_SIZES = (10, 30, 50)
WAYS = {"first": 1, "best_of_5": 5}
"""Ways to use recommendations, and how many are trained."""
RIVALS = {"default": "the default"} | {f"random_{size}": f"the best of {size} random trials" for size in RANDOM_SIZES}
"""What they are compared with, as people call it."""
_GAINS = ("way", "rival", "mean_gain", "low", "high", "wins", "ties", "losses")
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Realised:
    """What came of really training what is recommended.

    Attributes:
        per_task: From `compare_realised`, empty where nothing was trained.
        gains: From `summarise_realised`.
        note: Why nothing was trained, or not on every task, and what the numbers are; empty where that is plain.
    """

    per_task: pd.DataFrame
    gains: pd.DataFrame
    note: str = ""

    @classmethod
    def compare(cls, trained: Mapping[str, Sequence[Trial]], random: pd.DataFrame, note: str = "") -> Self:
        """Compare fresh trials with random search, see `compare_realised`."""
        per_task = compare_realised(trained, random)
        return cls(per_task, summarise_realised(per_task), note)

    @classmethod
    def nothing(cls, note: str) -> Self:
        """Say why nothing was trained."""
        return cls(pd.DataFrame(), pd.DataFrame(columns=list(_GAINS)), note)

    @property
    def numbers(self) -> dict[str, float]:
        """Median numbers of equal random trials and mean gains by name, to be logged."""
        columns = [f"{way}_random_trials{rows}" for way in WAYS for rows in ("", "_test")]
        medians = {f"gain/{name}": self.per_task[name].median() for name in columns if name in self.per_task}
        equal = {name: float(median) for name, median in medians.items() if np.isfinite(median)}
        return equal | {
            f"gain/{r['way']}_over_{r['rival']}": float(r["mean_gain"]) for r in self.gains.to_dict("records")
        }


def spread_over_families(families: Mapping[str, str], count: int) -> list[str]:
    """Return at most `count` tasks: one of each family, then a second one of each, ..., the same in every order.

    Args:
        families: Family by task.
        count: How many.
    """
    names = sorted(families, key=lambda task_id: sha256(task_id.encode()).digest())
    seen: Counter[str] = Counter()
    turns = {}
    for task_id in names:
        turns[task_id] = seen[families[task_id]]
        seen[families[task_id]] += 1
    return sorted(names, key=lambda task_id: turns[task_id])[:count]


def find_places(
    trained: Mapping[str, Sequence[Trial]], random: pd.DataFrame, ranges: pd.DataFrame
) -> tuple[dict[str, list[Trial]], pd.DataFrame]:
    """Return what `compare_realised` takes with performances as places between a task's worst, 0, and its best, 1.

    Args:
        trained: Fresh trials by task.
        random: Trials of random search.
        ranges: `worst` and `best` known performance, indexed by task.
    """
    low, width = ranges["worst"], (ranges["best"] - ranges["worst"]).replace(0.0, 1.0)
    placed = {
        task_id: [
            replace(
                trial,
                performance=float((trial.performance - low[task_id]) / width[task_id]),
                test_performance=float((trial.test_performance - low[task_id]) / width[task_id]),
            )
            for trial in trials
        ]
        for task_id, trials in trained.items()
    }
    names = ["performance", "test_performance"]
    origin, unit = (random["task_id"].map(values) for values in (low, width))
    return placed, random.assign(**{name: (random[name] - origin) / unit for name in names})


def compare_realised(trained: Mapping[str, Sequence[Trial]], random: pd.DataFrame) -> pd.DataFrame:
    """Return one line a held-out task with performance and test performance of each way to choose.

    Args:
        trained: Fresh trials by task: the recommended configurations in their order, the default last.
        random: Trials of random search: `task_id, performance, test_performance, status`.

    Returns:
        `task_id, family`, then `<way>` (cross-validated) and `<way>_test` for `default`, `random_<size>`, `first` and,
        where more than one was trained, `best_of_5`; for the last two also `<way>_random_trials` and
        `<way>_random_trials_test`: how many random trials they equal, see `count_equal_trials`. NaN where a training
        failed, and where random trials are too few or their test performances are not known.
    """
    lines = []
    for task_id, trials in trained.items():
        *recommended, default = trials
        drawn = random.loc[random["task_id"] == task_id]
        pool = drawn.loc[drawn["status"] == "ok"]
        # A meta-data set has no column of which nothing is known.
        cv, test = pool.reindex(columns=["performance", "test_performance"]).to_numpy(dtype=np.float64).T
        line: dict[str, object] = {"task_id": task_id, "family": default.family}
        line["default"], line["default_test"] = _best([default])
        reached = {"": expect_best(cv, cv), "_test": expect_best(cv, test)}
        for size in RANDOM_SIZES:
            # One that failed was drawn, too.
            is_known = size <= len(drawn)
            line |= {f"random_{size}{r}": _take(c, size) if is_known else np.nan for r, c in reached.items()}
        for way, count in WAYS.items():
            if count > 1 and len(recommended) == 1:
                continue
            line[way], line[f"{way}_test"] = best = _best(recommended[:count])
            for (rows, curve), value in zip(reached.items(), best, strict=True):
                line[f"{way}_random_trials{rows}"] = count_equal_trials(curve, value)
        lines.append(line)
    return pd.DataFrame(lines).sort_values("task_id", ignore_index=True)


def choose_random_trials(trials: pd.DataFrame, learner: str, default_id: str) -> pd.DataFrame:
    """Return the trials that stand for random search.

    Those of the strategy `random`; where there are none, those of the shared core but for the default: a Sobol
    sequence is drawn from the same distribution, only more evenly, which makes the rival a little stronger.

    Args:
        trials: Trials of any learner, strategy and fidelity; of the fidelities the highest is kept.
        learner: Name of the learner.
        default_id: `configuration_id` of its default configuration.
    """
    own: pd.DataFrame = keep_highest_fidelity(trials.loc[trials["learner"] == learner], [])
    drawn = own.loc[own["strategy"] == "random"]
    if drawn.empty:
        drawn = own.loc[(own["strategy"] == "sobol") & (own["configuration_id"] != default_id)]
    chosen: pd.DataFrame = drawn.loc[drawn["seed"] == drawn["seed"].min()]
    return chosen


def _best(trials: Iterable[Trial]) -> tuple[float, float]:
    """Return (performance, test performance) of the best trial; NaN where all failed."""
    ok = [trial for trial in trials if trial.status == "ok"]
    if not ok:
        return float("nan"), float("nan")
    best = max(ok, key=lambda trial: trial.performance)
    return best.performance, best.test_performance


def expect_best(performance: Array, judged: Array) -> Array:
    """Return what the best of n random trials gives on average over all draws of n from the pool, for n = 1 to N.

    With the pool sorted, best first, the trial of rank j = 0, 1, ... is the best drawn in C(N - 1 - j, n - 1) of the
    C(N, n) draws.

    Args:
        performance: `(N,)` cross-validated performances of random trials: what the best is chosen by.
        judged: `(N,)` what is averaged over the draws, e.g. test performances.

    Returns:
        `(N,)`; the last one is that of the best of all.
    """
    from scipy.special import gammaln

    count = len(performance)
    ranks, sizes = np.arange(count)[None, :], np.arange(1, count + 1)[:, None]
    left = count - ranks - sizes  # trials worse than the best drawn and not drawn
    log_share = np.log(sizes) + gammaln(count - ranks) + gammaln(count - sizes + 1)
    log_share = log_share - gammaln(np.maximum(left, 0) + 1) - gammaln(count + 1)
    share = np.where(left >= 0, np.exp(log_share), 0.0)
    expected: Array = share @ judged[np.argsort(-performance, kind="stable")]
    return expected


def count_equal_trials(expected: Array, reached: float) -> float:
    """Return the largest n up to which random search of n trials is not expected to be better than what was reached.

    Args:
        expected: `(N,)` what the best of 1 to N random trials gives, see `expect_best`.
        reached: Performance, of the same kind; NaN (failed) equals no trial.

    Returns:
        0 to N; NaN where it is not known what random trials give.
    """
    if not len(expected) or np.isnan(expected).any():
        return float("nan")
    better = np.flatnonzero(~(expected <= reached + _ROUNDING))
    return float(better[0]) if len(better) else float(len(expected))


def _take(expected: Array, size: int) -> float:
    return float(expected[min(size, len(expected)) - 1]) if len(expected) else float("nan")


def summarise_realised(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean gain in test performance of the first recommendation and of the best of five over each rival.

    One line a (way, rival) with a 95 % interval over tasks and wins, ties, losses.
    """
    lines = []
    for way in (way for way in WAYS if f"{way}_test" in table):
        for rival in RIVALS:
            gain = (table[f"{way}_test"] - table[f"{rival}_test"]).dropna().to_numpy(dtype=np.float64)
            if not len(gain):
                continue  # of its trials there are too few, or they were collected without test performances
            interval = bootstrap_mean(gain)
            lines.append(
                {
                    "way": way,
                    "rival": rival,
                    "mean_gain": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    **count_wins(gain),
                }
            )
    return pd.DataFrame(lines, columns=list(_GAINS))
