"""Plots of the evaluation report beyond those of `plots`: over time, over past tasks, ablation, reliability."""

from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.evaluate.ablation import FULL
from metaflow_hpo.evaluate.plots import draw_lines, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_effort(summary: pd.DataFrame) -> "Figure":
    """Plot mean regret over time; `summary` is from `summarise_effort`."""
    figure, [axes] = new_figure(7, 3.8)
    draw_lines(axes, summary, "time")
    axes.set_xlabel("time, in median trials of the task")
    axes.set_ylabel("normalised regret (lower is better)")
    axes.legend(frameon=False)
    return figure


def plot_learning_curve(summary: pd.DataFrame) -> "Figure":
    """Plot mean regret over the number of past tasks, one panel a k; from `summarise_learning_curve`."""
    ks = sorted(summary["k"].unique())
    figure, panels = new_figure(2.6 * len(ks), 3.2, columns=len(ks))
    for axes, k in zip(panels, ks, strict=True):
        draw_lines(axes, summary.loc[summary["k"] == k], "past_tasks")
        axes.set_xlabel("past tasks")
        axes.set_title(f"best of {k}" if k > 1 else "first trial", fontsize=10)
    panels[0].set_ylabel("normalised regret")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def plot_ablation(summary: pd.DataFrame) -> "Figure":
    """Plot what removing each part costs, one panel a k; `summary` is from `summarise_ablation`."""
    rows = summary.loc[summary["recommender"] != FULL]
    ks, names = sorted(rows["k"].unique()), list(dict.fromkeys(rows["recommender"]))[::-1]
    figure, panels = new_figure(2.0 + 1.9 * len(ks), 1.0 + 0.3 * len(names), columns=len(ks), sharey=True)
    for axes, k in zip(panels, ks, strict=True):
        group = rows.loc[rows["k"] == k].set_index("recommender").loc[names]
        spread = [group["cost"] - group["low"], group["high"] - group["cost"]]
        axes.errorbar(group["cost"], range(len(names)), xerr=spread, fmt="o", color="#d62728", capsize=2)
        axes.axvline(0.0, color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_title(f"k = {k}", fontsize=10)
    return figure


def plot_predictions(table: pd.DataFrame) -> "Figure":
    """Plot reached over expected performance of first recommendations; `table` is from `measure_prediction_error`."""
    figure, [axes] = new_figure(3.6, 3.6)
    axes.plot([0, 1], [0, 1], color="#7f7f7f", linestyle="--")
    axes.scatter(table["predicted"], table["reached"], s=14, alpha=0.6, color="#1f77b4", linewidth=0)
    axes.set_xlabel("expected performance")
    axes.set_ylabel("reached")
    axes.set_aspect("equal")
    return figure


def plot_reliability(coverage: dict[float, float]) -> "Figure":
    """Plot the share of outcomes inside their interval over the nominal coverage."""
    figure, [axes] = new_figure(3.6, 3.6)
    axes.plot([0, 1], [0, 1], color="#7f7f7f", linestyle="--", label="ideal")
    axes.plot(list(coverage), list(coverage.values()), marker="o", color="#d62728", label="measured")
    axes.set_xlabel("nominal coverage")
    axes.set_ylabel("outcomes inside the interval")
    axes.set_aspect("equal")
    axes.legend(frameon=False)
    return figure
