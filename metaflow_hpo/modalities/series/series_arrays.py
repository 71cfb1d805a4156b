"""Read series from arrays: `X` `(n, steps)` or `(n, channels, steps)`, and perhaps the length of each."""

from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.arrays import read_arrays, shapes_of
from metaflow_hpo.modalities.series.found_series import FoundSeries

ENDINGS = (".npz", ".npy")
_NAMES = ("x", "series", "data", "values", "inputs")
_LENGTHS = ("length", "lengths")


def holds_series_arrays(source: Path) -> bool:
    """Tell by shapes and types alone whether arrays are series: floats of two axes, or of a few channels and steps."""
    shapes = {name.lower(): shape for name, shape in shapes_of(source).items()}
    name = next((name for name in (*_NAMES, "x_train") if name in shapes), None)
    if name is None:
        return False
    shape, dtype = shapes[name]
    if dtype.kind != "f" or len(shape) not in {2, 3}:
        return False
    return len(shape) == 2 or any(one in shapes for one in _LENGTHS) or 2 * shape[1] < shape[2]


def read_series_arrays(source: Path, hints: Hints) -> FoundSeries:
    """Read a file of arrays, see `read_arrays`; an array `length` says where each series ends.

    Raises:
        InvalidTaskError: It is none, or arrays are missing or do not fit; the message says which.
    """
    found = read_arrays(source, hints, _NAMES)
    values = found.x
    if values.ndim not in {2, 3} or values.dtype.kind not in "fiub" or 0 in values.shape:
        raise InvalidTaskError(
            f"Expected series of {source.name} as numbers of the shape (n, steps) or (n, channels, steps); found "
            f"{values.dtype} {values.shape}. Reshape them."
        )
    with np.errstate(over="ignore"):
        numbers = (values[:, None] if values.ndim == 2 else values).astype(np.float32)
    if np.isinf(numbers).any():
        raise InvalidTaskError(f"Expected finite numbers below 3.4e38 in {source.name}; found others. Correct them.")
    steps = numbers.shape[2]
    lengths = next((array for name, array in found.arrays.items() if name.lower() in _LENGTHS), None)
    ends = np.full(len(numbers), steps) if lengths is None else lengths
    if ends.shape != (len(numbers),) or ends.dtype.kind not in "iu" or ((ends < 0) | (ends > steps)).any():
        raise InvalidTaskError(
            f"Expected a length of 0 to {steps} for each of {len(numbers)} series of {source.name}; found "
            f"{ends.dtype} {ends.shape} with others. Correct them."
        )
    return FoundSeries(
        [numbers[i, :, : ends[i]] for i in found.positions.tolist()],
        list(found.labels),
        None if found.groups is None else list(found.groups),
        None if found.held is None else found.held.tolist(),
        list(found.notes),
    )
