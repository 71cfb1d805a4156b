"""The evaluation report: one self-contained HTML file that says what a surrogate is worth, and where it is not.

The one thing to know: everything in it is from meta-test families, but for the gate, which is decided on
meta-validation families.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.registry import RECOMMENDED
from metaflow_hpo.evaluate import evaluation_plots, plots
from metaflow_hpo.evaluate.comparison import compare_with_recommended, list_tasks
from metaflow_hpo.evaluate.early_stopping import summarise_stopping
from metaflow_hpo.evaluate.prediction_error import summarise_prediction_error
from metaflow_hpo.evaluate.realised import RIVALS, Realised
from metaflow_hpo.evaluate.report.page import Picture, format_number, render_page
from metaflow_hpo.evaluate.significance import compare
from metaflow_hpo.evaluate.tuning_evidence import summarise_forecasts

SHOWN_KS = (1, 5)
"""Numbers of trials of the critical-difference diagrams and of the table of tasks."""


@dataclass(frozen=True)
class Evaluated:
    """What the report is made of.

    Attributes:
        per_task: Regret on meta-test tasks: `task_id, family, recommender, k, regret`.
        summary: From `summarise`.
        effort: From `summarise_effort`; empty where durations are not known.
        ablation: From `summarise_ablation`.
        noise_floor: From `measure_noise_floor`; empty where no task has a second seed.
        stopping: From `measure_stopping`; empty where there are no learning curves.
        realised: What came of really training.
        tuning: From `measure_forecasts`.
        covered: Share of outcomes inside their 80 % interval, by task.
        prediction_error: From `measure_prediction_error`.
        reliability: Share of outcomes inside their interval, by nominal coverage.
        gate: The gate's comparisons, one line a rival.
        promoted: Whether the gate lets the candidate pass.
        reason: Why.
        learning_curve: From `summarise_learning_curve`; None where not measured.
        provenance: What was evaluated: name and value, such as md5s.
    """

    per_task: pd.DataFrame
    summary: pd.DataFrame
    effort: pd.DataFrame
    ablation: pd.DataFrame
    noise_floor: pd.DataFrame
    stopping: pd.DataFrame
    realised: Realised
    tuning: pd.DataFrame
    covered: Mapping[str, float]
    prediction_error: pd.DataFrame
    reliability: Mapping[float, float]
    gate: pd.DataFrame
    promoted: bool
    reason: str
    learning_curve: pd.DataFrame | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)


def render_evaluation(found: Evaluated) -> str:
    """Return the report as HTML."""
    comparisons = compare_with_recommended(found.per_task)
    names = list(dict.fromkeys(found.per_task["recommender"]))
    ks = [k for k in SHOWN_KS if k in set(found.per_task["k"])]
    return render_page(
        "evaluation_report.html",
        facts=_count(found),
        headline=_say_headline(found, comparisons),
        regret=tabulate_regret(found.summary),
        floor=tabulate_noise_floor(found.noise_floor),
        stopping=summarise_stopping(found.stopping),
        stopped_tasks=len(found.stopping),
        prediction_error=summarise_prediction_error(found.prediction_error),
        comparisons=comparisons.to_dict("records"),
        tasks=list_tasks(found.per_task, tuple(ks)).to_dict("records"),
        names=names,
        ks=ks,
        ablation=found.ablation.to_dict("records"),
        gains=found.realised.gains.to_dict("records"),
        realised_note=found.realised.note,
        tuning=summarise_forecasts(found.tuning),
        gate=found.gate.to_dict("records"),
        promoted=found.promoted,
        reason=found.reason,
        pictures=_draw(found, ks),
        provenance=found.provenance,
    )


def render_benchmark(
    per_task: pd.DataFrame,
    summary: pd.DataFrame,
    facts: Mapping[str, str],
    seconds: Mapping[str, float],
    verdict: Sequence[str] = (),
    notes: Sequence[str] = (),
    tuning: pd.DataFrame | None = None,
    realised: Realised | None = None,
) -> str:
    """Return the report of a benchmark on somebody's table of trials as HTML.

    Args:
        per_task: Regret on held-out tasks: `task_id, family, recommender, k, regret`.
        summary: Mean regret with interval and rank, one line a (recommender, k).
        facts: What the table is: name and value.
        seconds: Processor seconds of each recommender.
        verdict: From `say_verdict`.
        notes: What is odd about the table, sentences.
        tuning: From `measure_forecasts`, where that was measured.
        realised: What came of really training, where that was tried.
    """
    names, all_ks = list(dict.fromkeys(per_task["recommender"])), sorted(set(per_task["k"]))
    ks = [k for k in SHOWN_KS if k in all_ks] or all_ks[:1]
    is_compared = RECOMMENDED in names and len(names) > 1
    pictures = {"regret": Picture.of(plots.plot_regret(summary), _SAY_REGRET)}
    if len(names) > 1:
        pictures |= _draw_ranks(per_task, all_ks)
    return render_page(
        "benchmark_report.html",
        facts=facts,
        verdict=verdict,
        notes=notes,
        regret=tabulate_regret(summary),
        comparisons=compare_with_recommended(per_task).to_dict("records") if is_compared else [],
        tasks=list_tasks(per_task, tuple(ks)).to_dict("records"),
        names=names,
        ks=ks,
        all_ks=all_ks,
        seconds=seconds,
        tuning=[] if tuning is None else summarise_forecasts(tuning),
        trained=[] if realised is None else _say_gains(realised.gains),
        gains=[] if realised is None else realised.gains.to_dict("records"),
        realised_note="" if realised is None else realised.note,
        pictures=pictures if realised is None else pictures | _draw_realised(realised),
    )


def tabulate_regret(summary: pd.DataFrame) -> dict[str, dict[int, str]]:
    """Return "mean (low-high)" by recommender and k."""
    table: dict[str, dict[int, str]] = {}
    for row in summary.to_dict("records"):
        text = f"{row['mean']:.3f} ({row['low']:.3f}–{row['high']:.3f})"
        table.setdefault(str(row["recommender"]), {})[int(row["k"])] = text
    return table


def tabulate_noise_floor(floor: pd.DataFrame) -> list[dict[str, float]]:
    """Return `k, floor, recommended, tasks`: the regret that luck leaves, and the recommender's on the same seeds."""
    lines = []
    for k in dict.fromkeys(floor["k"].tolist()):
        rows = floor.loc[floor["k"] == k]
        means = {"floor": float(rows["regret"].mean()), "recommended": float(rows["recommended"].mean())}
        lines.append({"k": k, **means, "tasks": len(rows)})
    return lines


_SAY_REGRET = (
    "Regret is the distance from the best known configuration of the task, as a share of the distance between its best "
    "and its worst: 0 is the best, 1 the worst. Bands are 95 % intervals of the mean over tasks."
)


def _count(found: Evaluated) -> dict[str, str]:
    rows, equal = found.per_task, found.realised.numbers.get("gain/first_random_trials_test")
    return {
        "held-out tasks": str(rows["task_id"].nunique()),
        "families": str(rows["family"].nunique()),
        "trained afresh": f"{len(found.realised.per_task)} tasks",
        "coverage of 80 % intervals": f"{np.mean(list(found.covered.values())):.1%}",
        "first recommendation equals": "not known" if equal is None else f"{equal:.0f} random trials (median)",
        "gate": "passed" if found.promoted else "refused",
    }


def _say_headline(found: Evaluated, comparisons: pd.DataFrame) -> list[str]:
    """Say in sentences what the tables show, the bad news too."""
    said = []
    for verdict, text in (("better", "Clearly better than"), ("worse", "Clearly worse than")):
        rows = comparisons.loc[comparisons["verdict"] == verdict]
        rivals = [f"{name} at k = {_list(group['k'])}" for name, group in rows.groupby("rival", sort=False)]
        if rivals:
            said.append(f"{text} {'; '.join(rivals).replace('_', ' ')}.")
    open_pairs = comparisons.loc[comparisons["verdict"] == "not told apart"]
    rivals = [f"{name} at k = {_list(group['k'])}" for name, group in open_pairs.groupby("rival", sort=False)]
    if rivals:
        said.append(f"Not told apart from {'; '.join(rivals).replace('_', ' ')} (Wilcoxon, Holm, 5 %).")
    return said + _say_gains(found.realised.gains)


def _say_gains(gains: pd.DataFrame) -> list[str]:
    return [
        f"Really trained, the first recommendation is {abs(row['mean_gain']):.3f} "
        f"{'above' if row['mean_gain'] >= 0 else 'below'} {RIVALS[row['rival']]} on test rows "
        f"({row['low']:+.3f} to {row['high']:+.3f}; {row['wins']} wins, {row['losses']} losses)."
        for row in gains.to_dict("records")
        if row["way"] == "first"
    ]


def _list(ks: "pd.Series[int]") -> str:
    return ", ".join(str(k) for k in ks)


def _draw(found: Evaluated, ks: list[int]) -> dict[str, Picture]:
    mean = float(np.mean(list(found.covered.values())))
    pictures = {
        "regret": Picture.of(plots.plot_regret(found.summary), _SAY_REGRET),
        "ablation": Picture.of(evaluation_plots.plot_ablation(found.ablation), _SAY_ABLATION),
        "calibration": Picture.of(
            plots.plot_calibration(dict(found.covered), 0.8),
            f"On the average task {mean:.0%} of the outcomes of recommended configurations lie in their 80 % interval.",
        ),
        "reliability": Picture.of(
            evaluation_plots.plot_reliability(dict(found.reliability)),
            "Below the dashed line intervals are too narrow, above it too wide. "
            + "; ".join(f"nominal {n:.0%}: {format_number(100 * m, 0)} %" for n, m in found.reliability.items())
            + ".",
        ),
        "predictions": Picture.of(evaluation_plots.plot_predictions(found.prediction_error), _SAY_PREDICTIONS),
        **_draw_realised(found.realised),
        **_draw_ranks(found.per_task, ks),
    }
    if not found.effort.empty:
        pictures["effort"] = Picture.of(evaluation_plots.plot_effort(found.effort), _SAY_EFFORT)
    if found.learning_curve is not None:
        figure = evaluation_plots.plot_learning_curve(found.learning_curve)
        pictures["learning_curve"] = Picture.of(figure, _SAY_LEARNING_CURVE)
    return pictures


def _draw_realised(realised: Realised) -> dict[str, Picture]:
    if not len(realised.gains):
        return {}
    return {"realised": Picture.of(plots.plot_realised(realised.per_task), _SAY_REALISED)}


def _draw_ranks(per_task: pd.DataFrame, ks: list[int]) -> dict[str, Picture]:
    pictures = {}
    for k in ks:
        wide = per_task.loc[per_task["k"] == k].pivot_table(index="task_id", columns="recommender", values="regret")
        figure = plots.plot_critical_difference(compare(wide), "first trial" if k == 1 else f"best of {k}")
        pictures[f"ranks_{k}"] = Picture.of(figure, "")
    return pictures


_SAY_ABLATION = (
    "Regret without a part minus regret with everything, paired over tasks, with 95 % intervals: to the right of the "
    "line the part helps, to the left it harms."
)
_SAY_REALISED = (
    "Every held-out task trained with a fresh seed and scored on its test rows, which nothing was chosen by. Random "
    "search is the expectation over draws from the recorded trials."
)
_SAY_PREDICTIONS = (
    "Cross-validated performance that was expected of the first recommendation on each held-out task, before anything "
    "was trained there, and what it reached."
)
_SAY_EFFORT = (
    "Configurations trained one after the other on one processor; time is counted in the task's median trial, and "
    "before the first training ends the regret is 1."
)
_SAY_LEARNING_CURVE = (
    "Surrogates fitted afresh on growing numbers of past tasks and judged on the same quarter of the families, which "
    "none of them saw."
)
