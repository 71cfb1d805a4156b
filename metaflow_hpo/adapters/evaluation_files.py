"""What an evaluation found, as files: tables, plots, the report, and the numbers that later steps read.

The one thing to know: `results.json` is written last, so one that was cut off is not taken for finished.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.files import (
    neutralise,
    read_frame,
    read_json,
    write_csv,
    write_figure,
    write_frame,
    write_json,
    write_text,
)
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.version import __version__

if TYPE_CHECKING:
    from metaflow_hpo.evaluate.evaluation import Evaluation
    from metaflow_hpo.evaluate.gate import Incumbent, Verdict
    from metaflow_hpo.evaluate.realised import Realised
    from metaflow_hpo.evaluate.report.evaluation_report import Evaluated

REPORT_FILE = "report.html"
_RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Findings:
    """What the evaluation found, before it is written.

    Attributes:
        evaluation: The protocol's tables.
        summary: Mean regret on meta-test families, one line a (recommender, k).
        realised: What came of really training.
        tuning: From `measure_forecasts`.
        coverage: Share of covered outcomes of each held-out task, by nominal coverage.
        prediction_error: From `measure_prediction_error`.
        ablation: Regret of each variant on meta-test families.
        effort: Regret over time on meta-test families.
        noise_floor: From `measure_noise_floor`.
        stopping: From `measure_stopping`.
        verdict: The gate's verdict.
        incumbent: Whom the gate compared the candidate with.
    """

    evaluation: "Evaluation"
    summary: pd.DataFrame
    realised: "Realised"
    tuning: pd.DataFrame
    coverage: dict[float, dict[str, float]]
    prediction_error: pd.DataFrame
    ablation: pd.DataFrame
    effort: pd.DataFrame
    noise_floor: pd.DataFrame
    stopping: pd.DataFrame
    verdict: "Verdict"
    incumbent: "Incumbent"

    @property
    def covered(self) -> dict[str, float]:
        """Share of outcomes inside the intervals that people are shown, by task."""
        from metaflow_hpo.evaluate.calibration import COVERAGE

        return self.coverage[COVERAGE]


def write_findings(store: DataStore, findings: Findings, candidate: dict[str, Any]) -> dict[str, Any]:
    """Write an evaluation's tables, plots, report and results, and return the results.

    Args:
        store: Where.
        findings: What was found.
        candidate: What was evaluated: `version, run_id, meta_dataset_md5`.
    """
    from metaflow_hpo.evaluate.report.evaluation_report import render_evaluation

    folder = store.evaluation_folder
    _write_tables(folder, findings)
    _write_plots(folder, findings)
    write_realised(folder, findings.realised)
    write_text(folder / REPORT_FILE, render_evaluation(_describe(folder, findings, candidate)))
    results = _make_results(
        candidate,
        findings.verdict,
        findings.incumbent,
        findings.evaluation.degenerate,
        findings.realised.note,
        _measure(findings),
    )
    write_json(folder / _RESULTS_FILE, results)
    return results


def write_results(
    store: DataStore,
    candidate: dict[str, Any],
    verdict: "Verdict",
    incumbent: "Incumbent",
    degenerate: Sequence[str],
    summary: pd.DataFrame,
    tuning: pd.DataFrame,
    realised: "Realised",
    metrics: dict[str, float],
) -> dict[str, Any]:
    """Write what later steps read of an evaluation without networks, beside its report, and return the results.

    Args:
        store: Where.
        candidate: What was evaluated: `version, run_id, meta_dataset_md5`.
        verdict: The gate's verdict.
        incumbent: Whom the gate compared the candidate with.
        degenerate: Tasks left out, as all configurations perform alike on them.
        summary: Mean regret, one line a (recommender, k).
        tuning: From `measure_forecasts`.
        realised: What came of really training.
        metrics: Numbers by name.
    """
    folder = store.evaluation_folder
    _write_each(folder, {"regret_summary": summary, "gate": verdict.comparisons, "tuning_per_task": tuning})
    write_realised(folder, realised)
    results = _make_results(candidate, verdict, incumbent, degenerate, realised.note, metrics)
    write_json(folder / _RESULTS_FILE, results)
    return results


def _make_results(
    candidate: dict[str, Any],
    verdict: "Verdict",
    incumbent: "Incumbent",
    degenerate: Sequence[str],
    realised_note: str,
    metrics: dict[str, float],
) -> dict[str, Any]:
    return {
        "version": candidate["version"],
        "run_id": candidate["run_id"],
        "meta_dataset_md5": candidate["meta_dataset_md5"],
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "incumbent": incumbent.name,
        "incumbent_note": incumbent.note,
        "degenerate_tasks": list(degenerate),
        "realised_note": realised_note,
        "metrics": metrics,
    }


def _write_tables(folder: Path, findings: Findings) -> None:
    tables = {
        "regret_per_task": findings.evaluation.per_task,
        "regret_summary": findings.summary,
        "regret_over_time": findings.effort,
        "prediction_error_per_task": findings.prediction_error,
        "ablation_per_task": findings.ablation,
        "noise_floor_per_task": findings.noise_floor,
        "stopping_per_task": findings.stopping,
        "tuning_per_task": findings.tuning,
        "gate": findings.verdict.comparisons,
    }
    _write_each(folder, tables)


def _write_each(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        write_frame(folder / f"{name}.parquet", table)
        write_csv(folder / f"{name}.csv", neutralise(table), float_format="%.6g")


def write_realised(folder: Path, realised: "Realised") -> None:
    """Write what came of really training, tables and plot; those of an evaluation before it are removed."""
    from metaflow_hpo.evaluate.plots import plot_realised

    plot = folder / "realised.png"
    for path in (*folder.glob("realised_*.*"), plot):
        path.unlink(missing_ok=True)
    if len(realised.per_task):
        _write_each(folder, {"realised_per_task": realised.per_task, "realised_summary": realised.gains})
    if len(realised.gains):
        write_figure(plot, plot_realised(realised.per_task), dpi=130)


def _write_plots(folder: Path, findings: Findings) -> None:
    from metaflow_hpo.evaluate.ablation import summarise_ablation
    from metaflow_hpo.evaluate.calibration import COVERAGE
    from metaflow_hpo.evaluate.evaluation_plots import plot_ablation, plot_predictions
    from metaflow_hpo.evaluate.plots import plot_calibration, plot_regret

    figures = {
        "regret": plot_regret(findings.summary),
        "calibration": plot_calibration(findings.covered, COVERAGE),
        "predictions": plot_predictions(findings.prediction_error),
        "ablation": plot_ablation(summarise_ablation(findings.ablation)),
    }
    for name, figure in figures.items():
        write_figure(folder / f"{name}.png", figure, dpi=130)


def _measure(findings: Findings) -> dict[str, float]:
    from metaflow_hpo.evaluate.prediction_error import ERRORS
    from metaflow_hpo.evaluate.tuning_evidence import measure_tuning

    regrets = {f"regret/{r['recommender']}_k{r['k']}": float(r["mean"]) for r in findings.summary.to_dict("records")}
    coverage = {f"coverage/{100 * nominal:.0f}": _mean(tasks) for nominal, tasks in findings.coverage.items()}
    errors = {f"prediction_error/{name}": float(findings.prediction_error[name].mean()) for name in ERRORS}
    return {**regrets, **coverage, **errors, **findings.realised.numbers, **measure_tuning(findings.tuning)}


def _mean(covered: dict[str, float]) -> float:
    return sum(covered.values()) / len(covered)


def _describe(folder: Path, findings: Findings, candidate: dict[str, Any]) -> "Evaluated":
    from metaflow_hpo.evaluate.ablation import summarise_ablation
    from metaflow_hpo.evaluate.effort import summarise_effort
    from metaflow_hpo.evaluate.learning_curve import summarise_learning_curve
    from metaflow_hpo.evaluate.report.evaluation_report import Evaluated

    per_task = findings.evaluation.per_task
    curve = _learning_curve_path(folder, candidate["meta_dataset_md5"])
    left_out = ", ".join(findings.evaluation.degenerate)
    return Evaluated(
        per_task=per_task.loc[per_task["part"] == "test"],
        summary=findings.summary,
        effort=summarise_effort(findings.effort),
        ablation=summarise_ablation(findings.ablation),
        noise_floor=findings.noise_floor,
        stopping=findings.stopping,
        realised=findings.realised,
        tuning=findings.tuning,
        covered=findings.covered,
        prediction_error=findings.prediction_error,
        reliability={nominal: _mean(tasks) for nominal, tasks in findings.coverage.items()},
        gate=findings.verdict.comparisons,
        promoted=findings.verdict.promoted,
        reason=findings.verdict.reason,
        learning_curve=summarise_learning_curve(read_frame(curve)) if curve.is_file() else None,
        provenance={
            "version of the surrogate": str(candidate["version"]),
            "md5 of the meta-data set": str(candidate["meta_dataset_md5"]),
            "MLflow run": str(candidate["run_id"]),
            **({"left out, as all configurations perform alike": left_out} if left_out else {}),
            "made with": f"metaflow-hpo {__version__}",
            "made at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        },
    )


def write_learning_curve(store: DataStore, meta_dataset_md5: str, table: pd.DataFrame) -> None:
    """Keep a learning curve in the number of past tasks with the meta-data set that it was measured on."""
    write_frame(_learning_curve_path(store.evaluation_folder, meta_dataset_md5), table)


def _learning_curve_path(folder: Path, meta_dataset_md5: str) -> Path:
    return folder / f"learning_curve-{meta_dataset_md5[:8]}.parquet"


def read_results(store: DataStore) -> dict[str, Any]:
    """Return what the last evaluation found, with its tables.

    Raises:
        MetaflowHPOError: If nothing was evaluated yet.
    """
    folder = store.evaluation_folder
    if not (folder / _RESULTS_FILE).is_file():
        raise MetaflowHPOError(f"No evaluation in {folder}; run `metaflow-hpo evaluate` first.")
    tables = {
        name: _read_table(folder / f"{table}.parquet")
        for name, table in (
            ("summary", "regret_summary"),
            ("gains", "realised_summary"),
            ("realised", "realised_per_task"),
        )
    }
    return {**read_json(folder / _RESULTS_FILE), **tables}


def read_tuning(store: DataStore) -> pd.DataFrame | None:
    """Return what the last evaluation found of forecasts of tuning; None where nothing was evaluated yet."""
    path = store.evaluation_folder / "tuning_per_task.parquet"
    return read_frame(path, remedy="Run `metaflow-hpo evaluate` again.") if path.is_file() else None


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table; an evaluation that trains nothing has none of what was trained."""
    is_trained = path.name.startswith("realised")
    if is_trained and not path.is_file():
        return pd.DataFrame()
    return read_frame(path, remedy="Run `metaflow-hpo evaluate` again.")
