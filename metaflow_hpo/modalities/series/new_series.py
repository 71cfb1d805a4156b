"""New series, as people bring them to a network that was trained on others like them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import read_hints
from metaflow_hpo.modalities.series.reading import find_series
from metaflow_hpo.modalities.series.series import Series, pack_series


def form_of(series: Series, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what new series must have in common with those of a task: channels, and how steps were averaged.

    Args:
        series: Those of the task.
        columns: Which columns of a table they were read from.
    """
    form: dict[str, Any] = {"channels": series.values.shape[1], "block": series.block}
    return {**form, "columns": dict(columns)} if columns else form


def read_new_series(source: Path, form: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return all series of a file in its order, `(n, c, t)`; classes may be wrong, and in a table missing.

    A sidecar beside the file names columns as one of a task does.

    Raises:
        InvalidTaskError: If they cannot be read, or have other channels.
    """
    found = find_series(source, read_hints(source), form.get("columns", {}))
    return _pack(found.series, form, source.name)


def take_new_series(values: Sequence[Any], form: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return series that were sent, each as a list of numbers (null where one is missing) or one such list a channel.

    Raises:
        InvalidTaskError: If they are not that, or have other channels.
    """
    try:
        parts = [np.atleast_2d(np.array(value, dtype=np.float64)) for value in values]
    except (TypeError, ValueError) as error:
        raise InvalidTaskError(f"Expected a list of numbers a channel for each series; found: {error}.") from error
    with np.errstate(over="ignore"):
        small = [one.astype(np.float32) for one in parts]
    if any(one.ndim != 2 or np.isinf(one).any() for one in small):
        raise InvalidTaskError("Expected a list of finite numbers a channel for each series; found others.")
    return _pack(small, form, "the request")


def _pack(parts: Sequence[NDArray[np.float32]], form: Mapping[str, Any], where: str) -> NDArray[np.float32]:
    others = sorted({len(one) for one in parts} - {form["channels"]})
    if others:
        raise InvalidTaskError(
            f"Expected series of {form['channels']} channels in {where}, as were trained on; found {listed(others)}."
        )
    if not parts:
        return np.empty((0, form["channels"], 1), np.float32)
    values = pack_series(parts, form["block"]).values
    if not values.shape[2]:
        raise InvalidTaskError(f"Expected values in the series of {where}; all are missing.")
    return values
