"""Read series from arrays: `X` `(n, t)` or `(n, channels, t)`, labels, and perhaps lengths and groups."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.series.found_series import FoundSeries
from metaflow_hpo.modalities.table.files.unpacking import MAX_UNPACKED_BYTES

ARRAYS = (".npz",)
_VALUES = ("x", "data", "series", "values")
_LABELS = ("y", "label", "labels", "target", "targets", "class")
_LENGTHS = ("length", "lengths")
_GROUPS = ("group", "groups")
_DAMAGE = (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError, NotImplementedError)

Shape = tuple[tuple[int, ...], np.dtype[Any]]


def holds_series_arrays(source: Path) -> bool:
    """Tell by shapes and types alone whether arrays are series: floats of two axes, or of a few channels and steps."""
    try:
        shapes = {name.lower(): shape for name, shape in _read_shapes(source).items()}
    except _DAMAGE:
        return False
    name = next((name for name in (*_VALUES, "x_train") if name in shapes), None)
    if name is None:
        return False
    shape, dtype = shapes[name]
    if dtype.kind != "f" or len(shape) not in {2, 3}:
        return False
    return len(shape) == 2 or any(one in shapes for one in _LENGTHS) or 2 * shape[1] < shape[2]


def read_series_arrays(source: Path, hints: Hints) -> FoundSeries:
    """Read a file of arrays.

    Args:
        source: An `.npz` file with `X` and `y`, or with `X_train`, `y_train`, `X_test` and `y_test`. There may be
            `length`, the steps of each series, `group`, and `names`, texts by class number.
        hints: The option `key` chooses `y_<key>` and `names_<key>`, where labels of -1 are of other tasks.

    Raises:
        InvalidTaskError: It is none, or arrays are missing or do not fit; the message says which.
    """
    arrays = _load(source)
    if "x_train" in arrays and "x_test" in arrays:
        train, test = (_take(source, _only(arrays, part), hints) for part in ("train", "test"))
        return FoundSeries(
            [*train.series, *test.series],
            [*train.labels, *test.labels],
            is_test=[False] * len(train.labels) + [True] * len(test.labels),
        )
    return _take(source, arrays, hints)


def _only(arrays: Mapping[str, NDArray[Any]], part: str) -> dict[str, NDArray[Any]]:
    return {name.removesuffix(f"_{part}"): array for name, array in arrays.items() if name.endswith(f"_{part}")}


def _read_shapes(source: Path) -> dict[str, Shape]:
    """Return the shape and type of each array, without reading it."""
    found: dict[str, Shape] = {}
    with zipfile.ZipFile(source) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            found[member.removesuffix(".npy")] = (shape, dtype)
    return found


def _load(source: Path) -> dict[str, NDArray[Any]]:
    try:
        shapes = _read_shapes(source)
        announced = sum(int(np.prod(shape, dtype=np.float64)) * dtype.itemsize for shape, dtype in shapes.values())
        if announced > MAX_UNPACKED_BYTES:
            raise InvalidTaskError(
                f"Expected at most {MAX_UNPACKED_BYTES} bytes of arrays; {source.name} announces {announced}. Take a "
                "sample of the series."
            )
        objects = [name for name, (_, dtype) in shapes.items() if dtype.hasobject]
        if objects:
            raise InvalidTaskError(
                f"Expected numbers and texts in {source.name}; {listed(objects)} hold Python objects, which are never "
                "unpickled. Save them as numbers (NaN after the end of shorter series), texts with dtype str."
            )
        with np.load(source, allow_pickle=False) as file:
            return {name.lower(): file[name] for name in file.files}
    except InvalidTaskError:
        raise
    except _DAMAGE as error:
        raise InvalidTaskError(
            f"Expected arrays as numpy.savez writes them; {source} cannot be read ({error}). Save or copy it again."
        ) from error


def _take(source: Path, arrays: Mapping[str, NDArray[Any]], hints: Hints) -> FoundSeries:
    values = _find(source, arrays, _VALUES, "values")
    if values.ndim not in {2, 3} or values.dtype.kind not in "fiub" or 0 in values.shape:
        raise InvalidTaskError(
            f"Expected series of {source.name} as numbers of the shape (n, steps) or (n, channels, steps); found "
            f"{values.dtype} {values.shape}. Reshape them."
        )
    values = values[:, None] if values.ndim == 2 else values
    labels, kept = _read_labels(source, arrays, hints.options.get("key"))
    lengths, groups = (_pick(arrays, names) for names in (_LENGTHS, _GROUPS))
    for what, array in {"labels": labels, "lengths": lengths, "groups": groups}.items():
        if array is not None and array.shape != (len(values),):
            raise InvalidTaskError(
                f"Expected {len(values)} {what} in {source.name}, one for each series; found {array.shape}. Correct them."
            )
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if np.isinf(numbers).any():
        raise InvalidTaskError(f"Expected finite numbers below 3.4e38 in {source.name}; found others. Correct them.")
    ends = np.full(len(numbers), numbers.shape[2]) if lengths is None else lengths.astype(np.int64)
    if ((ends < 0) | (ends > numbers.shape[2])).any():
        raise InvalidTaskError(f"Expected lengths of 0 to {numbers.shape[2]} in {source.name}; found others.")
    return FoundSeries(
        [numbers[i, :, : ends[i]] for i in kept],
        [str(labels[i]) for i in kept],
        None if groups is None else [str(groups[i]) for i in kept],
    )


def _read_labels(
    source: Path, arrays: Mapping[str, NDArray[Any]], key: object
) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """Return the class of each series, and which of them have one."""
    keyed = sorted(name.removeprefix("y_") for name in arrays if name.startswith("y_"))
    if key is None and len(keyed) == 1:
        key = keyed[0]
    if key is not None or (keyed and _pick(arrays, _LABELS) is None):
        if str(key).lower() not in keyed:
            raise InvalidTaskError(
                f"Expected the option key as one of {listed(keyed, 20)} of {source.name}, the tasks that share its "
                f"series; got {key!r}. Write `options: {{key: ...}}` into the sidecar."
            )
        codes, names = arrays[f"y_{str(key).lower()}"], arrays.get(f"names_{str(key).lower()}")
    else:
        codes = _find(source, arrays, _LABELS, "labels")
        names = _pick(arrays, ("names", "class_names", "classes"))
    if names is None or codes.dtype.kind not in "iu":
        return codes.astype(str), np.arange(len(codes))
    if codes.size and not -1 <= int(codes.min()) <= int(codes.max()) < len(names):
        raise InvalidTaskError(
            f"Expected labels of {source.name} from -1 (of no class) to {len(names) - 1}, places among its names; "
            f"found {int(codes.min())} to {int(codes.max())}. Correct them."
        )
    return np.append(names.astype(str), "")[codes], np.flatnonzero(codes >= 0)


def _pick(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _find(source: Path, arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...], what: str) -> NDArray[Any]:
    found = _pick(arrays, names)
    if found is None:
        raise InvalidTaskError(
            f"Expected {what} in {source.name}, called {' or '.join(names)}; it has {listed(sorted(arrays), 20)}. "
            "Save them under such a name."
        )
    return found
