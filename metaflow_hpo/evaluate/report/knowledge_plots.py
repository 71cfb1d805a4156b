"""Plots of the meta-data for the knowledge page. Every function returns a matplotlib figure and shows nothing.

The one thing to know: figures are at most 7.5 inches wide and have no text below 7 points, so that a phone shows them.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.plots import new_figure
from metaflow_hpo.space import Array, Categorical, Float, Hyperparameter, Integer, SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY, GREEN = "#1f77b4", "#d62728", "#7f7f7f", "#2ca02c"
_BINS = (7, 5)
_CORRELATIONS = np.linspace(-0.2, 1, 25).tolist()


def _new(height: float, rows: int = 1, columns: int = 1, share: bool = False) -> "tuple[Figure, list[Axes]]":
    figure, axes = new_figure(7.5, height, rows, columns, sharex=share, sharey=share)
    for one in axes:
        one.tick_params(labelsize=8)
    return figure, axes


def plot_performances(tasks: pd.DataFrame) -> "Figure":
    """Plot the distribution of performance on each task, sorted by median; `tasks` is from `summarise_tasks`."""
    figure, axes = _new(5.6, 2, 1)
    ordered = tasks.sort_values(["median", "best"])
    for one, (title, rows) in zip(axes, _split_kinds(ordered), strict=True):
        x = np.arange(len(rows))
        wide = max(0.8, min(5.0, 220 / max(len(rows), 1)))
        one.vlines(x, rows["worst"], rows["best"], color=GREY, alpha=0.45, linewidth=wide * 0.4, label="worst to best")
        one.vlines(x, rows["q25"], rows["q75"], color=BLUE, linewidth=wide, label="middle half")
        one.scatter(x, rows["median"], color="black", s=5, zorder=3, label="median")
        one.scatter(x, rows["best"], color=RED, s=9, zorder=3, label="best")
        one.scatter(x, rows["floor"], color="black", marker="_", s=12, linewidth=0.8, label="chance")
        one.set_xticks([])
        one.set_xlabel(f"{len(rows)} tasks, sorted by median", fontsize=8)
        one.set_ylabel(title, fontsize=9)
    axes[0].legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _split_kinds(tasks: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    numeric = tasks["kind"] == "regression"
    return [("classification: performance", tasks.loc[~numeric]), ("regression: performance", tasks.loc[numeric])]


def plot_effort(tasks: pd.DataFrame, failures: pd.DataFrame) -> "Figure":
    """Plot failed fractions over tasks, failures by reason, and what a trial costs against the rows of its task."""
    figure, axes = _new(2.9, 1, 3)
    failed = tasks["failed_fraction"] * 100
    axes[0].hist(failed, bins=np.linspace(0, max(5.0, float(failed.max())), 21).tolist(), color=BLUE)
    axes[0].set_xlabel("failed trials of a task, %", fontsize=9)
    axes[0].set_ylabel("tasks", fontsize=9)
    shown = failures.head(6).iloc[::-1]
    axes[1].barh([str(name)[:24] for name in shown["reason"]], shown["trials"], color=RED, height=0.6)
    axes[1].set_ylim(-0.6, max(len(shown), 3) - 0.4)
    axes[1].set_xlabel("failed trials by reason", fontsize=9)
    axes[1].locator_params(axis="x", nbins=4)
    if shown.empty:
        axes[1].text(0.5, 0.5, "none failed", ha="center", transform=axes[1].transAxes, fontsize=9)
        axes[1].set_yticks([])
    axes[2].scatter(tasks["rows"], tasks["cost_s"] / tasks["trainings"], s=12, color=BLUE, alpha=0.7, linewidth=0)
    axes[2].set_xscale("log")
    axes[2].set_yscale("log")
    axes[2].minorticks_off()
    axes[2].set_xlabel("rows of the task", fontsize=9)
    axes[2].set_ylabel("seconds a trial (mean)", fontsize=9)
    return figure


def plot_heat_maps(
    normalised: pd.DataFrame, placed: pd.DataFrame, space: SearchSpace, names: list[str], x: str, y: str
) -> "Figure":
    """Plot mean normalised performance over two hyperparameters, one map a task.

    Zero is the worst tenth of a task: a single diverged network would leave one colour for all others.

    Args:
        normalised: `(T, C)` from `normalise`.
        placed: `(C, D)` from `place_configurations`.
        space: The search space, for the ticks.
        names: The tasks.
        x: Hyperparameter from left to right.
        y: Hyperparameter from bottom to top.
    """
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = _new(0.5 + 2.4 * rows, rows, columns, share=True)
    image = None
    for one, name in zip(axes, names, strict=False):
        values = np.asarray(normalised.loc[name], dtype=np.float64)
        low = float(np.nanquantile(values, 0.1))
        robust = ((values - low) / max(1 - low, 1e-9)).clip(0.0)
        means = _bin_means(placed[x].to_numpy(), placed[y].to_numpy(), robust)
        image = one.pcolormesh(*(np.linspace(0, 1, n + 1) for n in _BINS), means.T, vmin=0, vmax=1, cmap="viridis")
        best = int(np.nanargmax(robust))
        one.plot(placed[x].iloc[best], placed[y].iloc[best], "*", color=RED, markersize=11, markeredgecolor="white")
        one.set_title(name, fontsize=9)
    for one in axes[len(names) :]:
        one.set_visible(False)
    _label_positions(axes[0], space, x, y)
    figure.supxlabel(x.replace("_", " "), fontsize=9)
    figure.supylabel(y.replace("_", " "), fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.01)
        bar.set_label("mean performance, 0 worst tenth, 1 best", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure


def _bin_means(x: Array, y: Array, values: Array) -> Array:
    """Return means of `values` on a grid over the unit square, `_BINS`; NaN where nothing falls."""
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(values)
    edges = [np.linspace(0, 1, n + 1) for n in _BINS]
    sums = np.histogram2d(x[known], y[known], bins=edges, weights=values[known])[0]
    counts = np.histogram2d(x[known], y[known], bins=edges)[0]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _label_positions(axes: "Axes", space: SearchSpace, x: str, y: str) -> None:
    for name, setter in ((x, axes.set_xticks), (y, axes.set_yticks)):
        positions, labels = _ticks(next(hp for hp in space.hyperparameters if hp.name == name))
        setter(positions, labels)


def _ticks(hyperparameter: Hyperparameter) -> tuple[list[float], list[str]]:
    """Return positions in [0, 1] and what stands there."""
    if isinstance(hyperparameter, Float | Integer):
        values = [hyperparameter.from_unit(u) for u in (0.0, 0.5, 1.0)]
        return [hyperparameter.to_unit(value) for value in values], [_short(value) for value in values]
    return [hyperparameter.to_unit(choice) for choice in hyperparameter.choices], list(map(str, hyperparameter.choices))


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.0e}" if 0 < value < 1e-3 else f"{value:.2g}"


def plot_winners(winners: pd.DataFrame, placed: pd.DataFrame, space: SearchSpace) -> "Figure":
    """Plot where the best configurations lie, one histogram a hyperparameter, over all tasks.

    Args:
        winners: `(T * WINNERS, D)` from `find_winners`.
        placed: `(C, D)` all shared configurations: how winners would lie if the hyperparameter did not matter.
        space: The search space, for the default and the ticks.
    """
    columns = 4
    rows = -(-len(space.hyperparameters) // columns)
    figure, axes = _new(0.3 + 1.6 * rows, rows, columns)
    for one, hp in zip(axes, space.hyperparameters, strict=False):
        bins = np.linspace(0, 1, _count_values(hp) + 1).tolist()
        for values, style in (
            (winners[hp.name].dropna(), {"color": BLUE}),
            (placed[hp.name].dropna(), {"color": "black", "histtype": "step", "linewidth": 0.8}),
        ):
            one.hist(values, bins=bins, weights=np.full(len(values), 100 / max(len(values), 1)), **style)
        one.axvline(hp.to_unit(hp.default), color=RED, linewidth=1.2, linestyle="--")
        one.set_title(hp.name.replace("_", " "), fontsize=9)
        one.set_xticks(*_ticks(hp))
        one.tick_params(labelsize=7)
        one.set_xlim(0, 1)
    for one in axes[len(space.hyperparameters) :]:
        one.set_visible(False)
    figure.supylabel("% of the best configurations", fontsize=9)
    return figure


def _count_values(hyperparameter: Hyperparameter) -> int:
    """Return how many bars show a hyperparameter: one a value where there are few."""
    if isinstance(hyperparameter, Categorical):
        return len(hyperparameter.choices)
    whole = isinstance(hyperparameter, Integer) and hyperparameter.high - hyperparameter.low < 8
    return int(hyperparameter.high - hyperparameter.low) + 1 if whole else 8


def plot_likeness(alike: pd.DataFrame, families: dict[str, str]) -> "Figure":
    """Plot rank correlations between tasks `(T, T)`: all pairs, and pairs of one family."""
    figure, axes = _new(2.6)
    rows, columns = np.triu_indices(len(alike), 1)
    values = alike.to_numpy(dtype="float64")[rows, columns]
    family = np.array([families[name] for name in alike.index])
    same = family[rows] == family[columns]
    bins = np.linspace(-1, 1, 41).tolist()
    for mask, colour, label in ((~same, GREY, "different families"), (same, RED, "one family")):
        known = values[mask & np.isfinite(values)]
        if known.size:
            weights = np.full(known.size, 100 / known.size)
            said = f"{label}: {known.size} pair{'s' * (known.size > 1)}, median {np.median(known):.2f}"
            axes[0].hist(known, bins=bins, weights=weights, color=colour, alpha=0.6, label=said)
    axes[0].set_xlabel("rank correlation of two tasks over the shared configurations", fontsize=9)
    axes[0].set_ylabel("% of pairs", fontsize=9)
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def plot_importance(importance: pd.DataFrame) -> "Figure":
    """Plot the importance of each hyperparameter over tasks, `(T, D)` from `measure_importance`, sorted by median."""
    names = list(importance.median().sort_values(na_position="first").index)
    figure, axes = _new(0.8 + 0.3 * len(names))
    y = np.arange(len(names))
    low, middle, high = (importance[names].quantile(q).to_numpy(dtype="float64") for q in (0.25, 0.5, 0.75))
    axes[0].barh(y, middle, color=BLUE, alpha=0.8, height=0.7)
    axes[0].hlines(y, low, high, color="black", linewidth=1.5)
    jitter = np.random.default_rng(0).uniform(-0.28, 0.28, importance[names].shape)
    axes[0].scatter(importance[names].to_numpy(), y + jitter, s=5, color="black", alpha=0.4, linewidth=0, zorder=3)
    axes[0].set_yticks(y, [str(name).replace("_", " ") for name in names], fontsize=9)
    axes[0].set_xlabel("share of the variance of the ranks explained alone (bar: median task; line: middle half)")
    axes[0].xaxis.label.set_fontsize(8)
    axes[0].set_xlim(left=0)
    return figure


def plot_noise(noise: pd.DataFrame, agreement: "pd.Series[float]") -> "Figure":
    """Plot noise against signal.

    Args:
        noise: From `measure_noise`, one line a task with a second seed.
        agreement: Rank correlation of cross-validated and test performance, one a task.
    """
    figure, axes = _new(3.0, 1, 3)
    if noise.empty:
        axes[0].text(0.5, 0.5, "no second seed yet", ha="center", transform=axes[0].transAxes, fontsize=9)
    else:
        top = 1.1 * float(noise[["noise_sd", "spread_sd"]].to_numpy().max())
        axes[0].plot([0, top], [0, top], color=GREY, linewidth=1)
        axes[0].scatter(noise["spread_sd"], noise["noise_sd"], s=16, color=BLUE)
        for name, colour, label in (("seed_correlation", BLUE, "all"), ("top_correlation", RED, "better half")):
            axes[1].hist(noise[name].dropna().clip(-0.2), bins=_CORRELATIONS, color=colour, alpha=0.7, label=label)
        axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    axes[0].set_xlabel("sd between configurations", fontsize=9)
    axes[0].set_ylabel("sd between seeds", fontsize=9)
    axes[1].set_xlabel("rank correlation of two seeds", fontsize=9)
    axes[1].set_ylabel("tasks", fontsize=9)
    axes[2].hist(agreement.dropna().clip(-0.2), bins=_CORRELATIONS, color=GREEN)
    axes[2].set_xlabel("rank correlation CV and test", fontsize=9)
    return figure


def plot_meta_features(correlations: pd.DataFrame, shown: int = 16) -> "Figure":
    """Plot how meta-features correlate with the position of the best configurations, strongest first; `(M, D)`."""
    table = correlations.head(shown)
    figure, axes = _new(1.4 + 0.26 * len(table))
    image = axes[0].imshow(table.to_numpy(dtype="float64"), vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    axes[0].set_xticks(
        range(table.shape[1]), [str(n).replace("_", " ") for n in table.columns], rotation=45, ha="right"
    )
    axes[0].set_yticks(range(len(table)), [str(n).removeprefix("mf_").replace("_", " ") for n in table.index])
    for (i, j), value in np.ndenumerate(table.to_numpy(dtype="float64")):
        if abs(value) >= 0.3:
            colour = "white" if abs(value) > 0.6 else "black"
            axes[0].text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color=colour)
    axes[0].spines[:].set_visible(False)
    figure.colorbar(image, ax=axes[0], shrink=0.6, pad=0.01).ax.tick_params(labelsize=8)
    return figure
