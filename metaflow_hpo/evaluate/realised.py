"""Realised performance: the recommended configurations really trained on held-out tasks, against the alternatives.

The one thing to know: the configuration is always chosen by cross-validated performance and judged on the test rows.
The recommended ones and the default are trained afresh, with a seed that no trial of the meta-data set used.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.statistics import bootstrap_mean, count_wins
from metaflow_hpo.surrogate.meta_dataset import Array, keep_highest_fidelity
from metaflow_hpo.trial import Trial

FRESH_SEED = 1_000
RANDOM_SIZES = (10, 50)
RANDOM_DRAWS = 200


def compare_realised(trained: Mapping[str, Sequence[Trial]], random: pd.DataFrame) -> pd.DataFrame:
    """Return one line a held-out task with performance and test performance of each way to choose.

    Args:
        trained: Fresh trials by task: the recommended configurations in their order, the default last.
        random: Trials of random search: `task_id, performance, test_performance, status`.

    Returns:
        `task_id, family`, then `<way>` (cross-validated) and `<way>_test` for `first`, `best_of_5`, `default`,
        `random_10`, `random_50`, and `equivalent_random_trials`: the expected number of random trials until one is
        better, cross-validated, than the first recommendation.
    """
    lines = []
    for task_id, trials in trained.items():
        *recommended, default = trials
        pool = random.loc[(random["task_id"] == task_id) & (random["status"] == "ok")]
        cv, test = (pool[c].to_numpy(dtype=np.float64) for c in ("performance", "test_performance"))
        line: dict[str, object] = {"task_id": task_id, "family": default.family}
        for name, chosen in (("first", recommended[:1]), ("best_of_5", recommended[:5]), ("default", [default])):
            line[name], line[f"{name}_test"] = _best(chosen)
        for size in RANDOM_SIZES:
            line[f"random_{size}"], line[f"random_{size}_test"] = expected_best(cv, test, size)
        line["equivalent_random_trials"] = equivalent_random_trials(cv, _best(recommended[:1])[0])
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
    own: pd.DataFrame = keep_highest_fidelity(trials.loc[trials["learner"] == learner])
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


def expected_best(performance: Array, test_performance: Array, size: int, seed: int = 0) -> tuple[float, float]:
    """Return what the best (by `performance`) of `size` random trials gives, on average over draws from the pool.

    Args:
        performance: `(N,)` cross-validated performances of random trials.
        test_performance: `(N,)` their test performances.
        size: Trials a search; at least N means: all of them.
        seed: Seed of the draws.
    """
    if len(performance) == 0:
        return float("nan"), float("nan")
    if size >= len(performance):
        best = int(np.argmax(performance))
        return float(performance[best]), float(test_performance[best])
    rng = np.random.default_rng(seed)
    draws = np.array([rng.choice(len(performance), size, replace=False) for _ in range(RANDOM_DRAWS)])
    winners = draws[np.arange(RANDOM_DRAWS), performance[draws].argmax(axis=1)]
    return float(performance[winners].mean()), float(test_performance[winners].mean())


def equivalent_random_trials(performance: Array, reached: float) -> float:
    """Return the expected number of random trials until one is better than `reached` (drawing without replacement).

    With b of N trials better it is (N + 1) / (b + 1): N + 1 where none is.
    """
    if not np.isfinite(reached):
        return 1.0
    better = int((performance > reached).sum())
    return (len(performance) + 1) / (better + 1)


def summarise_realised(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean gain in test performance of the first recommendation and of the best of five over each rival.

    One line a (way, rival) with a 95 % interval over tasks and wins, ties, losses.
    """
    lines = []
    for way in ("first", "best_of_5"):
        for rival in ("default", *(f"random_{size}" for size in RANDOM_SIZES)):
            gain = (table[f"{way}_test"] - table[f"{rival}_test"]).dropna().to_numpy(dtype=np.float64)
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
