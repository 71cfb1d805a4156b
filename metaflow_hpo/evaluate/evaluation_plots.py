"""Plots of the evaluation report beyond those of `plots`: over time, over past tasks, ablation, reliability."""

from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.evaluate.ablation import FULL
from metaflow_hpo.evaluate.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_effort(summary: pd.DataFrame) -> "Figure":
    """Plot mean regret over time; `summary` is from `summarise_effort`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    _draw_lines(axes, summary, "time")
    times = sorted(summary["time"].unique())
    axes.set_xticks(times, [f"{time:g}" for time in times])
    axes.set_xlabel("time, in median trials of the task")
    axes.set_ylabel("normalised regret (lower is better)")
    axes.legend(frameon=False)
    return figure


def plot_learning_curve(summary: pd.DataFrame) -> "Figure":
    """Plot mean regret over the number of past tasks, one panel a k; from `summarise_learning_curve`."""
    from matplotlib.figure import Figure

    ks = sorted(summary["k"].unique())
    figure = Figure(figsize=(2.6 * len(ks), 3.2), layout="constrained")
    panels = figure.subplots(1, len(ks), squeeze=False)[0]
    for axes, k in zip(panels, ks, strict=True):
        _draw_lines(axes, summary.loc[summary["k"] == k], "past_tasks")
        counts = sorted(summary["past_tasks"].unique())
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("past tasks")
        axes.set_title(f"best of {k}" if k > 1 else "first trial", fontsize=10)
    panels[0].set_ylabel("normalised regret")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _draw_lines(axes: "Axes", summary: pd.DataFrame, x: str) -> None:
    for name, group in summary.groupby("recommender", sort=False):
        rows = group.sort_values(x)
        colour = COLOURS.get(str(name), "black")
        axes.plot(rows[x], rows["mean"], marker="o", label=str(name).replace("_", " "), color=colour)
        axes.fill_between(rows[x], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)


def plot_ablation(summary: pd.DataFrame) -> "Figure":
    """Plot what removing each part costs, one panel a k; `summary` is from `summarise_ablation`."""
    from matplotlib.figure import Figure

    rows = summary.loc[summary["recommender"] != FULL]
    ks, names = sorted(rows["k"].unique()), list(dict.fromkeys(rows["recommender"]))[::-1]
    figure = Figure(figsize=(2.0 + 1.9 * len(ks), 1.0 + 0.3 * len(names)), layout="constrained")
    for axes, k in zip(figure.subplots(1, len(ks), squeeze=False, sharey=True)[0], ks, strict=True):
        group = rows.loc[rows["k"] == k].set_index("recommender").loc[names]
        spread = [group["cost"] - group["low"], group["high"] - group["cost"]]
        axes.errorbar(group["cost"], range(len(names)), xerr=spread, fmt="o", color="#d62728", capsize=2)
        axes.axvline(0.0, color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_title(f"k = {k}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_reliability(coverage: dict[float, float]) -> "Figure":
    """Plot the share of outcomes inside their interval over the nominal coverage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#7f7f7f", linestyle="--", label="ideal")
    axes.plot(list(coverage), list(coverage.values()), marker="o", color="#d62728", label="measured")
    axes.set_xlabel("nominal coverage")
    axes.set_ylabel("outcomes inside the interval")
    axes.set_aspect("equal")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
