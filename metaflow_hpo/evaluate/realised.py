"""Realised performance: the recommended configurations really trained on held-out tasks, against the alternatives.

The one thing to know: the configuration is always chosen by cross-validated performance and judged on the test rows.
The recommended ones and the default are trained afresh, with a seed that no trial of the meta-data set used. The
cross-validated performance of the best of many random trials is flattered by having been chosen; that on the test rows
is not, which is why both are counted in random trials.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.statistics import bootstrap_mean, count_wins
from metaflow_hpo.history import Array
from metaflow_hpo.trial import Trial
from metaflow_hpo.trial_rows import keep_highest_fidelity

FRESH_SEED = 1_000
RANDOM_SIZES = (10, 50)
WAYS = {"first": 1, "best_of_5": 5}
"""Ways to use recommendations, and how many are trained."""
RIVALS = {"default": "the default"} | {f"random_{size}": f"the best of {size} random trials" for size in RANDOM_SIZES}
"""What they are compared with, as people call it."""
_ROUNDING = 1e-12


def compare_realised(trained: Mapping[str, Sequence[Trial]], random: pd.DataFrame) -> pd.DataFrame:
    """Return one line a held-out task with performance and test performance of each way to choose.

    Args:
        trained: Fresh trials by task: the recommended configurations in their order, the default last.
        random: Trials of random search: `task_id, performance, test_performance, status`.

    Returns:
        `task_id, family`, then `<way>` (cross-validated) and `<way>_test` for `first`, `best_of_5`, `default`,
        `random_10`, `random_50`, and for the first two `<way>_random_trials` and `<way>_random_trials_test`: how many
        random trials they equal, see `count_equal_trials`.
    """
    lines = []
    for task_id, trials in trained.items():
        *recommended, default = trials
        pool = random.loc[(random["task_id"] == task_id) & (random["status"] == "ok")]
        cv, test = (pool[c].to_numpy(dtype=np.float64) for c in ("performance", "test_performance"))
        line: dict[str, object] = {"task_id": task_id, "family": default.family}
        line["default"], line["default_test"] = _best([default])
        reached = {"": expect_best(cv, cv), "_test": expect_best(cv, test)}
        for size in RANDOM_SIZES:
            line |= {f"random_{size}{rows}": _take(curve, size) for rows, curve in reached.items()}
        for way, count in WAYS.items():
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


def count_equal_trials(expected: Array, reached: float) -> int:
    """Return the largest n up to which random search of n trials is not expected to be better than what was reached.

    Args:
        expected: `(N,)` what the best of 1 to N random trials gives, see `expect_best`.
        reached: Performance, of the same kind; NaN (failed) equals no trial.
    """
    better = np.flatnonzero(~(expected <= reached + _ROUNDING))
    return int(better[0]) if len(better) else len(expected)


def _take(expected: Array, size: int) -> float:
    return float(expected[min(size, len(expected)) - 1]) if len(expected) else float("nan")


def summarise_realised(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean gain in test performance of the first recommendation and of the best of five over each rival.

    One line a (way, rival) with a 95 % interval over tasks and wins, ties, losses.
    """
    lines = []
    for way in WAYS:
        for rival in RIVALS:
            gain = (table[f"{way}_test"] - table[f"{rival}_test"]).dropna().to_numpy(dtype=np.float64)
            if not len(gain):
                continue  # its trials were collected without test performances
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
    return pd.DataFrame(lines)
