"""Tables of trials that are given as a tool exports them, where a table of trials is expected."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.files import read_column_names
from metaflow_hpo.adapters.past_trials.build import Imported, build
from metaflow_hpo.adapters.past_trials.registry import find_file_source, find_table_source
from metaflow_hpo.adapters.past_trials.source import (
    FROM_NAME,
    Direction,
    Found,
    TableSource,
    UnansweredError,
    Wanted,
    ask_once,
)
from metaflow_hpo.adapters.past_trials.tables import read_texts
from metaflow_hpo.adapters.past_trials.values import flatten
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError, listed
from metaflow_hpo.modalities.table.files.file_names import PARQUET, TEXT
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.tables import HP_PREFIX


def read_history_table(
    path: Path, *, task_column: str | None = None, lower_is_better: bool | None = None
) -> Imported | None:
    """Read a table of several tasks as a tool exports it.

    Args:
        path: The table.
        task_column: Column that names the task, where the tool's own does not.
        lower_is_better: Whether the metric is a loss; a tool's table does not say.

    Returns:
        The trials; None where the table is one of trials already (`performance`, `hp_*`).

    Raises:
        InvalidTableError: If something must be asked, or the file is another one of the tool, with the command that
            converts it.
    """
    found = _recognise(path)
    if found is None:
        return None
    table, source = found
    mode: Direction | None = None if lower_is_better is None else "min" if lower_is_better else "max"
    wanted = Wanted(task=task_column, mode=mode)
    try:
        return build(ask_once(lambda said: source.read_table(table, said), wanted), wanted)
    except UnansweredError as error:
        raise InvalidTableError(_ask(path, source, error)) from error


def read_observed_table(path: Path, space: SearchSpace) -> pd.DataFrame | None:
    """Read a table of one task as a tool exports it: `performance`, `status`, `learning_curve` and `hp_*`.

    Args:
        path: The table.
        space: Search space of the learner; other columns are left out.

    Returns:
        One line a trial; None where the table is one of trials already.

    Raises:
        InvalidTableError: If something must be asked, or the file is another one of the tool.
    """
    found = _recognise(path)
    if found is None:
        return None
    table, source = found
    try:
        trials = source.read_table(table, Wanted(task=f"{FROM_NAME}:observed", mode="max"))
    except UnansweredError as error:
        raise InvalidTableError(_ask(path, source, error)) from error
    return _to_frame(trials, space)


def _recognise(path: Path) -> tuple[pd.DataFrame, TableSource] | None:
    file_source = find_file_source(path) if path.exists() else None
    if file_source is not None:
        raise InvalidTableError(
            f"{path} holds trials of {file_source.name}, and is no table. Convert it, and give what is written: "
            f"metaflow-hpo import-trials {file_source.name} {path} --output trials.parquet"
        )
    if path.suffix.lower() in PARQUET and path.is_file() and _is_of_trials(read_column_names(path)):
        return None  # without reading it twice
    try:
        table = read_table(path, settles_words=False)  # `None` may be a choice
    except InvalidTaskError as error:
        raise InvalidTableError(str(error)) from error
    columns = [str(column) for column in table.columns]
    if _is_of_trials(columns):
        return None
    source = find_table_source(table)
    if source is None and ("performance" in columns or any(c.startswith(HP_PREFIX) for c in columns)):
        return None
    if source is None:
        raise InvalidTableError(
            f"Expected one line a trial with task_id, performance and {HP_PREFIX}<name> in {path.name}; found "
            f"{listed(columns, 12)}. Rename the columns, or say what they are: metaflow-hpo import-trials csv {path} "
            "--metric COLUMN --mode max --task COLUMN --output trials.parquet"
        )
    return (read_texts(path) if path.suffix.lower() in TEXT else table), source


def _is_of_trials(columns: Sequence[str]) -> bool:
    return "performance" in columns and any(c.startswith(HP_PREFIX) for c in columns)


def _ask(path: Path, source: TableSource, error: UnansweredError) -> str:
    """Return what must be said, by the options of the command that was given the table, or that converts it."""
    options: Mapping[str, str] = {
        "mode": "--lower-is-better or --higher-is-better",
        "task": "--task-column COLUMN",
        "metric": "the metric",
    }
    said = "; ".join(f"{options[name]}, {what}" for name, what in error.asked.items())
    given = " ".join(error.OPTIONS[name].replace(" or --mode min", "") for name in error.asked)
    command = f"metaflow-hpo import-trials {source.name} {path} {given} --output trials.parquet"
    alone = (
        f" One task alone teaches nothing of others; for its trials there is: metaflow-hpo recommend --recommender "
        f"FOLDER --trials {path}"
        if "task" in error.asked
        else ""
    )
    return (
        f"{path.name} is a table of trials of {source.name}. What cannot be known of it must be said: {said}. Or "
        f"convert it: {command}.{alone}"
    )


def _to_frame(found: Found, space: SearchSpace) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for trial in found.trials:
        values = flatten(trial.configuration)
        row: dict[str, Any] = {
            "performance": trial.value if trial.status == "ok" else None,
            "status": trial.status,
            "learning_curve": trial.curve,
        }
        for hp in space.hyperparameters:
            row[HP_PREFIX + hp.name] = values.get(hp.name)
        rows.append(row)
    return pd.DataFrame(rows)
