"""Tasks from OpenML, through its own client and cache (the extra `openml`).

The one thing to know: what is in the client's cache needs no network; OpenML's own splits are not used, because every
task here is split by the content of its rows.

References:
    Vanschoren, van Rijn, Bischl and Torgo, "OpenML: networked science in machine learning", 2014, arXiv:1407.7722.
"""

from typing import Any, Literal

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData

_REMEDY = "Check the number on openml.org and the network; what was read before is in the client's cache."


def load_openml_task(task_id: int) -> TableData:
    """Read and prepare one OpenML task.

    Args:
        task_id: OpenML's number of the task (not of the data set).

    Returns:
        The task `openml_<task_id>`, with the licence that OpenML states for the data set.

    Raises:
        InvalidTaskError: The client is not installed, OpenML cannot be reached, or the task is neither a
            classification nor a regression of a table.
    """
    openml = _client()
    try:
        found = openml.tasks.get_task(task_id)
        kind = _kind(openml, found)
        data_set = found.get_dataset()
        frame, *_ = data_set.get_data(include_row_id=True, include_ignore_attribute=True)
    except _failures(openml) as error:
        raise InvalidTaskError(f"Expected the OpenML task {task_id}; reading it failed ({error}). {_REMEDY}") from error
    target = found.target_name
    unused = {*_names(data_set.row_id_attribute), *_names(data_set.ignore_attribute)} - {target}
    return prepare_task(
        _densify(frame),
        task_id=f"openml_{task_id}",
        target=target,
        source=f"openml/{data_set.name} (task {task_id}, data set {data_set.dataset_id})",
        licence=str(data_set.licence or "unspecified (OpenML)"),
        kind=kind,
        drop=[name for name in map(str, frame.columns) if name in unused],
    )


def openml_suite(suite: int | str) -> list[int]:
    """Return the task numbers of an OpenML suite, sorted.

    Args:
        suite: Number or alias, e.g. 99 or `OpenML-CC18`; 271 and 269 are the AutoML benchmark.

    Raises:
        InvalidTaskError: The client is not installed, or OpenML cannot be reached or knows no such suite.
    """
    openml = _client()
    try:
        found = openml.study.get_suite(suite)
    except _failures(openml) as error:
        raise InvalidTaskError(f"Expected the OpenML suite {suite}; reading it failed ({error}). {_REMEDY}") from error
    return sorted(found.tasks or [])


def _client() -> Any:
    try:
        import openml
    except ImportError as error:
        raise InvalidTaskError(
            "Expected the openml client; it is not installed. Run: pip install 'metaflow-hpo[openml]'"
        ) from error
    return openml


def _failures(openml: Any) -> tuple[type[Exception], ...]:
    """Return what the client raises where OpenML cannot be reached, or knows no such thing."""
    return openml.exceptions.PyOpenMLError, OSError, ValueError, NotImplementedError  # requests' errors are OSErrors


def _kind(openml: Any, found: Any) -> Literal["classification", "regression"]:
    if isinstance(found, openml.tasks.OpenMLClassificationTask):
        return "classification"
    if isinstance(found, openml.tasks.OpenMLRegressionTask):
        return "regression"
    raise InvalidTaskError(
        f"Expected a supervised classification or regression; OpenML task {found.task_id} is a "
        f"{found.task_type}. Choose another task."
    )


def _names(value: str | list[str] | None) -> list[str]:
    """OpenML gives no name, one name, or several, joined by commas or in a list."""
    if value is None:
        return []
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)


def _densify(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn sparse columns (sparse ARFF) into ordinary ones."""
    sparse = {name: dtype.subtype for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.SparseDtype)}
    return frame.astype(sparse) if sparse else frame
