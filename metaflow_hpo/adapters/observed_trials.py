"""A person's own trials of one task, as files: written by a search, read back to go on from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.files import write_csv, write_frame
from metaflow_hpo.adapters.past_trials.as_they_come import read_observed_table
from metaflow_hpo.adapters.past_trials.values import UNFINISHED
from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.history_files import check_cells
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.space import Categorical, SearchSpace
from metaflow_hpo.tables import CURVE, HP_PREFIX, read_configuration
from metaflow_hpo.trial_rows import read_statuses
from metaflow_hpo.written_scores import read_scores

ENDINGS = (".csv", ".parquet")
"""How the name of a file of trials may end."""


def write_trials_file(path: Path, frame: pd.DataFrame) -> None:
    """Write a table of trials as its name says: csv, with learning curves as JSON, or parquet.

    Raises:
        InvalidTableError: If the name ends otherwise.
    """
    match path.suffix.lower():
        case ".csv":
            curves = frame[CURVE].map(lambda curve: json.dumps([float(value) for value in curve]))
            write_csv(path, frame.assign(**{CURVE: curves}))
        case ".parquet":
            write_frame(path, frame)
        case _:
            raise InvalidTableError(
                f"Expected a name that ends in .csv or .parquet; got {path.name}. Choose another one."
            )


def read_observed_trials(path: Path, space: SearchSpace, *, finished_only: bool = False) -> list[ObservedTrial]:
    """Read a person's own trials: a table with `performance` and `hp_<name>` columns, or as another tool exports it.

    Lines without a performance are left out, but for what a `status` explains: as in a search, a failed trial counts as
    the worst of the others, and a stopped one as the last value of its `learning_curve`, or else as the value that it
    was stopped at. The column of a hyperparameter that depends on another one may be missing, where no trial used it.

    Args:
        path: The table.
        space: Search space of the learner.
        finished_only: Leave failed and stopped trials out as well: they say nothing of what is reached.

    Raises:
        InvalidTableError: If a column is missing, a status is not known, or no line has a performance.
        SearchSpaceMismatchError: If a configuration does not belong to the search space.
    """
    exported = read_observed_table(path, space)
    choices = {HP_PREFIX + hp.name for hp in space.hyperparameters if isinstance(hp, Categorical)}
    frame = read_table(path, keeps_zeros=choices.__contains__) if exported is None else exported
    check_cells(frame, path)
    always = [HP_PREFIX + hp.name for hp in space.hyperparameters if hp.condition is None and not hp.optional]
    missing = [name for name in ("performance", *always) if name not in frame.columns]
    if missing:
        raise InvalidTableError(
            f"Observed trials need the columns performance and {always}; {path.name} misses {missing}."
        )
    values = pd.to_numeric(read_scores(frame["performance"])[0], errors="coerce")
    if np.isinf(values).any():
        raise InvalidTableError(
            f"Expected finite performances in {path.name}; trial {int(np.isinf(values).argmax()) + 1} has an infinite "
            "one. Empty it, if that trial failed."
        )
    if "status" in frame.columns:
        values = _judge(frame, values, finished_only=finished_only)
    rows = frame.assign(performance=values).loc[values.notna()]
    if rows.empty:
        raise InvalidTableError(
            f"No line of {path.name} has a number in `performance`; there is nothing to go on from."
        )
    found = []
    for position, row in zip(rows.index, rows.to_dict("records"), strict=True):
        try:
            configuration = read_configuration(row, space)
        except SearchSpaceMismatchError as error:
            raise SearchSpaceMismatchError(f"{path.name}, trial {int(position) + 1}: {error}") from error
        found.append(ObservedTrial(configuration, float(row["performance"])))
    return found


def _judge(frame: pd.DataFrame, performance: "pd.Series[float]", *, finished_only: bool) -> "pd.Series[float]":
    """Return what a search goes on from: NaN where a line is left out."""
    is_unfinished = frame["status"].astype(str).str.strip().str.lower().isin(UNFINISHED)
    status = read_statuses(frame["status"].mask(is_unfinished, "stopped"))
    final = performance.where(status.eq("ok"))
    if finished_only:
        return final
    curves = frame[CURVE] if CURVE in frame.columns else pd.Series(None, frame.index, dtype=object)
    last = pd.Series([_last(curve) for curve in curves], frame.index, dtype="float64").fillna(performance)
    values = final.fillna(last.where(status.eq("stopped")))
    values = values.mask(values.isna() & status.ne("ok"), final.min())
    return values.mask(is_unfinished)


def _last(curve: Any) -> float:
    """Return the last value of a learning curve, which is JSON in a csv; NaN where there is none."""
    if isinstance(curve, str):
        try:
            curve = json.loads(curve)
        except ValueError:
            return np.nan
    return float(curve[-1]) if isinstance(curve, np.ndarray | list | tuple) and len(curve) else np.nan
