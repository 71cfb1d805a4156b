"""Predicted against realised: whether what was promised with recommendations still comes true.

The one thing to know: an interval of 80 % that holds much more often is as wrong as one that holds less often: it says
too little.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.plots import new_figure
from metaflow_hpo.metric import KNOWN_METRICS
from metaflow_hpo.recommender.interval import UNIT
from metaflow_hpo.recommender.novelty import THRESHOLD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_OUTCOMES = 20
"""With fewer outcomes the coverage is chance: its standard error at 20 is 0.09."""
COVERAGE_LIMITS = (0.72, 0.88)
WINDOW = 200
"""Only the latest outcomes count, or a drift would drown in a long past."""


@dataclass(frozen=True)
class Monitoring:
    """What the latest outcomes say.

    Attributes:
        outcomes: How many there are, at most `WINDOW`.
        tasks: Of how many tasks.
        coverage: Share of outcomes inside their interval; NaN without outcomes. A failed training is outside.
        mean_error: Mean of realised minus predicted performance, failed trainings apart.
        mean_absolute_error: The same without signs.
        drifted: Whether there are enough outcomes and the coverage is beyond its limits.
        reason: A sentence for people.
    """

    outcomes: int
    tasks: int
    coverage: float
    mean_error: float
    mean_absolute_error: float
    drifted: bool
    reason: str


def is_covered(outcomes: pd.DataFrame) -> "pd.Series[bool]":
    """Tell for each outcome whether it lies in its interval."""
    realised = _realised(outcomes)
    return (realised >= outcomes["low"]) & (realised <= outcomes["high"])


def _realised(outcomes: pd.DataFrame) -> "pd.Series[float]":
    """Return what came out; of what is predicted in [0, 1], in [0, 1] too: an R2 of -5 is one of 0."""
    realised = outcomes["realised"].astype("float64")
    is_unit = outcomes["metric"].isin([name for name, metric in KNOWN_METRICS.items() if metric.bounds == UNIT])
    return realised.where(~is_unit, realised.clip(0.0, 1.0))


def _with_interval(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return those with an interval, which no metric without bounds has."""
    found = outcomes.astype(dict.fromkeys(("mean", "low", "high"), "float64"))
    return found.loc[found["low"].notna() & found["high"].notna()]


def monitor_outcomes(outcomes: pd.DataFrame) -> Monitoring:
    """Compare predictions with what came true.

    Args:
        outcomes: One line an outcome of one learner, oldest first: `task_sha256, metric, mean, low, high, realised`
            (NaN: it failed). Those without an interval do not count.
    """
    recent = _with_interval(outcomes).tail(WINDOW)
    if recent.empty:
        return Monitoring(0, 0, float("nan"), float("nan"), float("nan"), False, "No outcome has been recorded yet.")
    errors = _realised(recent) - recent["mean"]
    coverage = float(is_covered(recent).mean())
    low, high = COVERAGE_LIMITS
    drifted = len(recent) >= MIN_OUTCOMES and not low <= coverage <= high
    found = f"{coverage:.0%} of the latest {len(recent)} outcomes lie in their 80 % interval"
    limits = f"expected {low:.0%} to {high:.0%}"
    if len(recent) < MIN_OUTCOMES:
        reason = f"{found}; too few to judge (at least {MIN_OUTCOMES})."
    elif drifted:
        reason = f"{found}; {limits}. Search the new tasks and retrain: metaflow-hpo add FILE, then metaflow-hpo fit."
    else:
        reason = f"{found}; {limits}."
    tasks, absolute = int(recent["task_sha256"].nunique()), errors.abs()
    return Monitoring(len(recent), tasks, coverage, float(errors.mean()), float(absolute.mean()), drifted, reason)


def plot_monitoring(outcomes: pd.DataFrame, novelty: pd.DataFrame) -> "Figure":
    """Plot predicted against realised performance, and how novel the tasks were for which people asked.

    Args:
        outcomes: As for `monitor_outcomes`.
        novelty: `time` (ISO 8601) and `percentile` of each recommendation, oldest first.
    """
    figure, [left, right] = new_figure(10, 4.2, columns=2)
    ok = _with_interval(outcomes)
    ok = ok.loc[ok["realised"].notna()].tail(WINDOW)
    if not ok.empty:
        covered = is_covered(ok).to_numpy(dtype=bool)
        for inside, colour in ((True, "#1f77b4"), (False, "#d62728")):
            rows = ok.loc[covered == inside]
            spread = np.abs(rows[["low", "high"]].to_numpy(dtype="float64").T - rows["mean"].to_numpy(dtype="float64"))
            label = f"{'in' if inside else 'out'}side the interval ({len(rows)})"
            left.errorbar(rows["realised"], rows["mean"], yerr=spread, fmt="o", ms=4, color=colour, lw=0.8, label=label)
        left.legend(frameon=False, fontsize=8)
    left.plot([0, 1], [0, 1], color="#7f7f7f", linewidth=0.8)
    left.set_xlabel("realised performance")
    left.set_ylabel("predicted, with its 80 % interval")
    right.plot(np.arange(1, len(novelty) + 1), novelty["percentile"], marker=".", color="#2ca02c")
    right.axhline(THRESHOLD, color="#d62728", linewidth=0.8, label="beyond it the portfolio is recommended")
    right.set_ylim(0, 101)
    right.set_xlabel("recommendation, in the order of time")
    right.set_ylabel("novelty of the task (percentile)")
    right.legend(frameon=False, fontsize=8)
    return figure
