"""Plots where people would rather look than read. Every function returns a matplotlib figure and shows nothing."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metaflow_hpo.space import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metaflow_hpo.evaluate.significance import Comparison

_MAX_LINES = 40

COLOURS = {
    "recommended": "#d62728",
    "recommended_per_time": "#ff9896",
    "portfolio": "#1f77b4",
    "nearest_task": "#2ca02c",
    "random": "#7f7f7f",
    "default": "#9467bd",
    "portfolio_ranks": "#17becf",
    "mean_rank": "#8c564b",
    "meta_gp": "#ff7f0e",
    "gp": "#bcbd22",
    "gp_warm": "#556b2f",
    "rgpe": "#e377c2",
    "cts": "#1b1b8f",
    "tpe": "#c49c94",
}
"""One colour a recommender, the same in every plot."""


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharex: bool = False, sharey: bool = False
) -> "tuple[Figure, list[Axes]]":
    """Return a figure of so many inches and its empty plots, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_lines(axes: "Axes", summary: pd.DataFrame, x: str) -> None:
    """Draw `mean` with the band `low` to `high` over the column `x`, on a log scale, one line a `recommender`."""
    for name, group in summary.groupby("recommender", sort=False):
        rows = group.sort_values(x)
        colour = COLOURS.get(str(name), "black")
        axes.plot(rows[x], rows["mean"], marker="o", label=str(name).replace("_", " "), color=colour)
        axes.fill_between(rows[x], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    ticks = sorted(summary[x].unique())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)


def plot_regret(summary: pd.DataFrame) -> "Figure":
    """Plot mean normalised regret over the number of trials with 95 % intervals; `summary` is from `summarise`."""
    figure, [axes] = new_figure(7, 4.2)
    draw_lines(axes, summary, "k")
    axes.set_xlabel("trials on the new task")
    axes.set_ylabel("normalised regret (lower is better)")
    axes.set_title(f"Held-out families, {int(summary['tasks'].max())} tasks; bands: 95 % over tasks", fontsize=10)
    axes.legend(frameon=False)
    return figure


def plot_realised(table: pd.DataFrame) -> "Figure":
    """Plot the test performance of the first recommendation against the default and random search, task by task.

    With many tasks each is a point, above the diagonal where the first recommendation wins, instead of a line.
    """
    if len(table) > _MAX_LINES:
        return _plot_realised_points(table)
    rows = table.sort_values("default_test")
    y = np.arange(len(rows))
    figure, [axes] = new_figure(7, 1.4 + 0.26 * len(rows))
    recommended = [("first_test", "first recommendation", "o", "#d62728")]
    if "best_of_5_test" in table:
        recommended.append(("best_of_5_test", "best of 5 recommendations", ".", "#ff9896"))
    for column, label, marker, colour in (*_find_rivals(table), *recommended):
        axes.scatter(rows[column], y, marker=marker, label=label, color=colour, s=45)
    axes.set_yticks(y, rows["task_id"], fontsize=8)
    axes.set_xlabel("test performance")
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=4)  # among the points it would hide some
    axes.grid(axis="y", alpha=0.2)
    return figure


def _find_rivals(table: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Return column, label, marker and colour of the default and of most of the random trials that are known."""
    rivals = [("default_test", "default", "|", "#9467bd")]
    known = [str(name) for name in table.columns if table[name].notna().any()]
    sizes = sorted(int(found[1]) for name in known if (found := re.fullmatch(r"random_(\d+)_test", name)))
    if sizes:
        rivals.append((f"random_{sizes[-1]}_test", f"best of {sizes[-1]} random trials", "x", "#7f7f7f"))
    return rivals


def _plot_realised_points(table: pd.DataFrame) -> "Figure":
    rivals = _find_rivals(table)
    figure, panels = new_figure(4 * len(rivals), 4, columns=len(rivals), sharey=True)
    for axes, (column, label, _, _) in zip(panels, rivals, strict=True):
        axes.plot([0, 1], [0, 1], color="#7f7f7f", linewidth=1)
        axes.scatter(table[column], table["first_test"], s=14, alpha=0.6, color="#d62728", linewidth=0)
        axes.set_xlabel(f"test performance of the {label}")
        axes.set_aspect("equal")
    panels[0].set_ylabel("of the first recommendation")
    return figure


def plot_search(performance: Array, title: str, epochs: Sequence[int] | None = None) -> "Figure":
    """Plot the performance of each trial of a search in order, and the incumbent.

    Args:
        performance: `(N,)`; NaN where a trial failed.
        title: Title of the plot.
        epochs: `(N,)` epochs of each trial, which tell the rungs apart; the incumbent is the best of the highest rung.
    """
    from matplotlib.figure import Figure

    # Drawn once a task: fixed margins, as a layout that is found draws everything twice.
    figure = Figure(figsize=(6, 3.2))
    axes = figure.add_axes((0.12, 0.15, 0.85, 0.75))
    trial = np.arange(1, len(performance) + 1)
    fidelity = np.ones(len(trial), dtype=np.int64) if epochs is None else np.asarray(epochs, dtype=np.int64)
    rungs = np.unique(fidelity)
    for number, rung in enumerate(rungs):
        label = "trial" if len(rungs) == 1 else f"{rung} epochs"
        grey = f"{0.8 - 0.5 * (number + 1) / len(rungs):.2f}"  # the longer the darker
        axes.scatter(trial[fidelity == rung], performance[fidelity == rung], s=12, color=grey, label=label)
    highest = fidelity == fidelity[np.isfinite(performance)].max(initial=0)
    known = np.where(np.isfinite(performance) & highest, performance, -np.inf)
    incumbent = np.maximum.accumulate(known)
    axes.plot(trial, np.where(np.isfinite(incumbent), incumbent, np.nan), color="#d62728", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("cross-validated performance")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_learning_curves(curves: Sequence[Sequence[float]], title: str) -> "Figure":
    """Plot the learning curve `(E,)` of each trial, one colour a number of epochs; trials without one are left out."""
    figure, [axes] = new_figure(6, 3.2)
    drawn = sorted((curve for curve in curves if len(curve)), key=len)
    rungs = sorted({len(curve) for curve in drawn})
    for curve in drawn:
        rung = rungs.index(len(curve))
        is_first = f"{len(curve)} epochs" not in axes.get_legend_handles_labels()[1]
        axes.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=f"C{rung}",
            alpha=0.6,
            linewidth=0.8,
            marker="." if len(curve) == 1 else None,
            label=f"{len(curve)} epochs" if is_first else None,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("balanced accuracy or R2")
    axes.set_title(title, fontsize=10)
    if rungs:
        axes.legend(frameon=False)
    return figure


def plot_calibration(covered: dict[str, float], coverage: float) -> "Figure":
    """Plot the share of covered outcomes of each held-out task against the nominal coverage."""
    figure, [axes] = new_figure(6, 3.2)
    values = np.sort(np.array(list(covered.values())))
    axes.bar(np.arange(len(values)), values, color="#1f77b4")
    axes.axhline(coverage, color="#d62728", linestyle="--", label=f"nominal {coverage:.0%}")
    axes.axhline(float(values.mean()), color="black", label=f"mean {values.mean():.0%}")
    axes.set_xlabel("held-out tasks, sorted")
    axes.set_ylabel("outcomes inside the interval")
    axes.legend(frameon=False)
    return figure


def plot_critical_difference(comparison: "Comparison", title: str) -> "Figure":
    """Plot mean ranks on a line; a bar joins recommenders that Wilcoxon-Holm tests cannot tell apart."""
    count = len(comparison.names)
    half = (count + 1) // 2
    cliques = comparison.cliques
    figure, [axes] = new_figure(8, 1.5 + 0.26 * half + 0.12 * len(cliques))
    axes.set_xlim(count + 0.5, 0.5)  # the best at the right, as in Demsar's diagrams
    foot = -1.0 - 0.5 * len(cliques)
    for position, (name, rank) in enumerate(zip(comparison.names, comparison.ranks, strict=True)):
        on_right = position < half
        level = foot - (position if on_right else count - 1 - position)
        edge = 0.5 if on_right else count + 0.5
        colour = COLOURS.get(name, "black")
        axes.plot([rank, rank, edge], [0.0, level, level], color=colour, linewidth=1)
        label = f"{name.replace('_', ' ')} {rank:.2f}"
        axes.text(edge, level, f" {label} ", ha="left" if on_right else "right", va="center", fontsize=8, color=colour)
    for height, (first, last) in enumerate(cliques):
        level = -0.45 - 0.5 * height
        ends = comparison.ranks[first] - 0.04, comparison.ranks[last] + 0.04
        axes.plot(ends, [level, level], color="black", linewidth=3, solid_capstyle="butt")
    axes.axhline(0.0, color="black", linewidth=1)
    axes.xaxis.tick_top()
    axes.set_xticks(range(1, count + 1))
    axes.set_yticks([])
    axes.set_ylim(foot - half, 0.0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{title}: mean rank over {comparison.tasks} tasks", fontsize=10)
    return figure
