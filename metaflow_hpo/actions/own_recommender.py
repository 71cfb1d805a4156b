"""A person's own table of trials: a recommender fitted on it, kept in a folder, and asked without data.

The one thing to know: such a folder is a file of the person's, not a version of the registered surrogate; MLflow keeps
a copy with the run that fitted it.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaflow_hpo.actions.task_features import read_task_features
from metaflow_hpo.adapters.files import replacing
from metaflow_hpo.adapters.observed_trials import read_observed_trials
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.trial_files import read_trial_table
from metaflow_hpo.errors import InvalidTableError


def fit_table(
    pipeline: Pipeline,
    table: Path,
    output: Path,
    *,
    space: Path | None = None,
    lower_is_better: bool | None = None,
    task_column: str | None = None,
) -> dict[str, Any]:
    """Fit a recommender on a table of trials of any learner and write it into a folder, replacing one that is there.

    Args:
        pipeline: The surroundings; the fit is recorded as an MLflow run of `metaflow_hpo/fit_table`.
        table: csv or parquet with the columns of `benchmark`.
        output: The folder.
        space: JSON file with the search space; inferred unless given.
        lower_is_better: The performance is a loss; must be said of another tool's table.
        task_column: Column that names the task, in another tool's table.

    Returns:
        What was understood of the table, the folder, and what names the content.

    Raises:
        InvalidTableError: If it is no table of trials, or `output` holds something else.
        SearchSpaceMismatchError: If a configuration lies outside the given space.
    """
    from metaflow_hpo.evaluate.fitting import fit_recommender

    _check_replaceable(output)
    started = time.monotonic()
    trials = read_trial_table(table, space=space, lower_is_better=lower_is_better, task_column=task_column)
    recommender = fit_recommender(trials, has_default=space is not None)
    report: dict[str, Any] = {
        "folder": str(output),
        "content_sha256": recommender.content_sha256,
        "tasks": len(trials.tasks),
        "families": len(set(trials.families)),
        "configurations": len(trials.configurations),
        "trials": sum(len(task.positions) for task in trials.tasks),
        "meta_features": list(trials.meta_feature_names),
        "space": trials.space.to_json(),
        "notes": list(trials.notes),
    }
    if not pipeline.tracking.records:
        with replacing(output) as fresh:
            recommender.save(fresh)
        return {**report, "mlflow_run_id": None}
    keys = {"step": "fit_table", "content_sha256": recommender.content_sha256}
    with pipeline.tracking.parent_run("fit_table", f"fit {table.name}", keys) as run:
        run.set_tags(pipeline.tags() | {"table": table.name})
        recommender = replace(recommender, lineage={"mlflow_run_id": run.run_id})
        with replacing(output) as fresh:
            recommender.save(fresh)
        counts = ("tasks", "families", "configurations", "trials")
        run.log_metrics({**{n: float(report[n]) for n in counts}, "seconds": time.monotonic() - started})
        run.log_folder(output, "recommender")
    return {**report, "mlflow_run_id": run.run_id}


def recommend_from_table(
    folder: Path, *, k: int, observed: Path | None = None, meta_features: Path | None = None
) -> dict[str, Any]:
    """Ask a recommender fitted by `fit_table`.

    Args:
        folder: Where it is.
        k: How many configurations.
        observed: csv or parquet with the new task's trials: `performance`, in the table's own units, and `hp_*`.
        meta_features: csv or parquet with one line: the table's `mf_*` columns for the new task.

    Raises:
        InvalidTableError: If a file is missing or wrong, or k is out of range.
        SearchSpaceMismatchError: If an observed configuration lies outside the table's search space.
    """
    from metaflow_hpo.recommender.recommender import Recommender

    recommender = Recommender.load(folder)
    trials = [] if observed is None else read_observed_trials(observed, recommender.space)
    values = None if meta_features is None else read_task_features(meta_features)
    notes = []
    if recommender.meta_feature_names and values is None:
        notes.append("The table had meta-features; none are given, so all past tasks weigh the same.")
    answer = recommender.recommend(values, k, trials)
    return {"task": {"task_id": None, "notes": notes}, **answer}


def _check_replaceable(folder: Path) -> None:
    from metaflow_hpo.recommender.recommender_files import DESCRIPTION_FILE

    is_other = folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION_FILE).is_file()
    if is_other or folder.is_file():
        raise InvalidTableError(
            f"Expected a new folder, or one with a recommender, at {folder}; it holds something else. "
            "Choose another --output."
        )
