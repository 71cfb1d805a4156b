"""Files around a benchmark: the trial table and its search space in, tables and plots out."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from metaflow_hpo.adapters.files import neutralise, write_csv, write_figure, write_json, write_text
from metaflow_hpo.adapters.past_trials.as_they_come import read_history_table
from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.evaluate.benchmark import BenchmarkResult
from metaflow_hpo.evaluate.plots import plot_critical_difference, plot_regret
from metaflow_hpo.evaluate.realised import Realised
from metaflow_hpo.evaluate.report.evaluation_report import render_benchmark
from metaflow_hpo.evaluate.significance import compare
from metaflow_hpo.history import History
from metaflow_hpo.history_files import read_trials
from metaflow_hpo.space import SearchSpace

_DPI = 150


def read_history(
    path: Path,
    *,
    space: Path | SearchSpace | None = None,
    lower_is_better: bool | None = None,
    task_column: str | None = None,
) -> History:
    """Read a table of trials of one task or more, also as other tools export it.

    Args:
        path: csv or parquet; or a folder of them, as several searches write them.
        space: The search space, or its file, see `read_space`; inferred unless given.
        lower_is_better: The performance is a loss; as the file says, or else not, unless given. Of another tool's
            table it must be said.
        task_column: Column that names the task, in another tool's table.

    Raises:
        InvalidTableError: If the file is missing, damaged or not a table of trials.
        SearchSpaceMismatchError: If the search space is broken, or a configuration lies outside it.
    """
    known = read_space(space) if isinstance(space, Path) else space
    frame, said = read_trials_of_tasks(path, lower_is_better=lower_is_better, task_column=task_column)
    return History.from_file(frame, said, space=known, lower_is_better=lower_is_better, task_column=task_column)


def read_trials_of_tasks(
    path: Path, *, lower_is_better: bool | None = None, task_column: str | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the lines of a table of trials and what it says beside them, see `read_history`."""
    if path.is_dir():
        return _read_folder(path), {}
    imported = read_history_table(path, task_column=task_column, lower_is_better=lower_is_better)
    return read_trials(path) if imported is None else (imported.frame, imported.said)


def read_trial_table(
    path: Path,
    *,
    space: Path | SearchSpace | None = None,
    lower_is_better: bool | None = None,
    task_column: str | None = None,
) -> History:
    """Read a table of trials that can be split by families; see `read_history`.

    Raises:
        InvalidTableError: If it is no table of trials, or fewer than two families have trials that differ.
        SearchSpaceMismatchError: If the search space is broken, or a configuration lies outside it.
    """
    history = read_history(path, space=space, lower_is_better=lower_is_better, task_column=task_column)
    families = sorted(set(history.families))
    if len(families) < 2:
        raise InvalidTableError(
            f"Expected tasks of at least two families whose trials differ in {path.name}; found {families} "
            f"({' '.join(history.notes) or 'nothing was left out'}) Add tasks, or name their column (--task-column). "
            f"To go on with the trials of one task: metaflow-hpo recommend --recommender FOLDER --trials {path}"
        )
    return history


def _read_folder(folder: Path) -> pd.DataFrame:
    """Return the tables of a folder as one."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".parquet"))
    if not paths:
        raise InvalidTableError(f"Expected tables of trials, .csv or .parquet, in {folder}; found none.")
    return pd.concat([read_trials(path)[0] for path in paths], ignore_index=True)


def read_space(path: Path) -> SearchSpace:
    """Read a search space from a file: YAML or JSON by name, or a JSON list of hyperparameters; see `SearchSpace.read`.

    Raises:
        SearchSpaceMismatchError: If there is no such file, or it holds no search space.
    """
    try:
        return SearchSpace.read(_parse(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SearchSpaceMismatchError(f"Expected a search space in {path}; found: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise SearchSpaceMismatchError(f"Expected YAML or JSON in {path}; found: {error}") from error
    except SearchSpaceMismatchError as error:
        raise SearchSpaceMismatchError(f"{path}: {error}") from error


def _parse(text: str) -> Any:
    """Return the values in JSON or YAML; JSON may be indented with tabs, which YAML refuses."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def write_benchmark(
    folder: Path,
    answer: dict[str, Any],
    result: BenchmarkResult,
    tuning: pd.DataFrame | None = None,
    realised: Realised | None = None,
) -> list[Path]:
    """Write `report.html`, `benchmark.json`, `per_task.csv`, `summary.csv` and the plots of the report as images.

    Args:
        folder: Where.
        answer: The contract's JSON.
        result: What was found.
        tuning: From `measure_forecasts`, for the report.
        realised: What came of really training, for the report.

    Returns:
        The files.
    """
    write_json(folder / "benchmark.json", answer)
    paths = [folder / "benchmark.json"]
    for name, frame in (("per_task", result.per_task), ("summary", result.summary)):
        paths.append(folder / f"{name}.csv")
        write_csv(paths[-1], neutralise(frame))
    paths.append(folder / "report.html")
    said = answer["verdict"], answer["table"]["notes"]
    page = render_benchmark(result.per_task, result.summary, _count(answer), result.seconds, *said, tuning, realised)
    write_text(paths[-1], page)
    paths.append(folder / "regret.png")
    write_figure(paths[-1], plot_regret(result.summary), _DPI)
    if len(result.seconds) > 1:
        for k, group in result.per_task.groupby("k"):
            regret = group.pivot_table(index="task_id", columns="recommender", values="regret")
            paths.append(folder / f"critical_difference_k{k}.png")
            write_figure(paths[-1], plot_critical_difference(compare(regret), f"k = {k}"), _DPI)
    return paths


def _count(answer: dict[str, Any]) -> dict[str, str]:
    table, protocol = answer["table"], answer["protocol"]
    configurations = f"{table['configurations']:,} {'shared' if table['shared'] else 'not shared'}"
    judged = "" if protocol["tasks"] == table["tasks"] else f", {protocol['tasks']} of them judged"
    return {
        "tasks": f"{table['tasks']} of {table['families']} families{judged}",
        "configurations": configurations,
        "trials": f"{table['trials']:,}",
        "performance": f"higher is better, from {table['worst']:.4g} to {table['best']:.4g}",
        "hyperparameters": str(len(table["space"])),
        "meta-features": str(len(table["meta_features"])),
        "folds of families": str(protocol["folds"]),
        "seeds of random recommenders": str(protocol["seeds"]),
    }
