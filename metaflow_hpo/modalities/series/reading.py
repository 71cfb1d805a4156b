"""Read series with classes as a task, whatever file they are in."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints, task_id_of
from metaflow_hpo.modalities.items.assembling import assemble, digest_of
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.series.arff_file import read_arff
from metaflow_hpo.modalities.series.found_series import FoundSeries
from metaflow_hpo.modalities.series.parts import find_parts, part_name
from metaflow_hpo.modalities.series.random_kernels import fill_and_normalise
from metaflow_hpo.modalities.series.series import Series, find_block, find_length, pack_series
from metaflow_hpo.modalities.series.series_arrays import ENDINGS as ARRAYS
from metaflow_hpo.modalities.series.series_arrays import read_series_arrays
from metaflow_hpo.modalities.series.series_tables import read_series_table
from metaflow_hpo.modalities.series.ts_file import read_ts
from metaflow_hpo.modalities.series.ucr_file import read_ucr
from metaflow_hpo.modalities.table.files.file_names import ENDINGS as TABLES
from metaflow_hpo.modalities.table.files.file_names import ending_of
from metaflow_hpo.task import SERIES

MAX_STEPS = 512
"""Steps that a series keeps unless the option `steps` says otherwise: what is longer is averaged down."""
MIN_STEPS = 3
_MOST_STEPS = 10_000
_NEAR = 100
"""Values of normalised series are compared to a hundredth of their deviation."""
OPTIONS = ("steps", "id", "time", "values", "group", "key", "labels")

_READERS: dict[str, Callable[[Path, bytes], FoundSeries]] = {
    ".ts": read_ts,
    ".tsv": read_ucr,
    ".txt": read_ucr,
    ".arff": read_arff,
}


def read_series(source: Path, hints: Hints) -> ItemData:
    """Read a file of series, or a folder or zip with a training and a test part.

    Args:
        source: A file ending in .ts, .tsv, .txt, .arff, .npz or as tables do.
        hints: What was said of it; `options` may hold `OPTIONS`.

    Raises:
        InvalidTaskError: If it is none; the message says what to do.
    """
    unknown = sorted(set(hints.options) - set(OPTIONS))
    if unknown:
        raise InvalidTaskError(
            f"Expected only the options {', '.join(OPTIONS)} of series; found {listed(unknown)}. Correct them."
        )
    steps = _read_steps(hints)
    found = _leave_out_empty(source, find_series(source, hints))
    if not any(found.labels):
        raise InvalidTaskError(f"Expected a class for each series of {source.name}; it has none. Add them.")
    notes, longest = list(found.notes), max(map(find_length, found.series))
    if longest < MIN_STEPS:
        raise InvalidTaskError(
            f"Expected series of at least {MIN_STEPS} steps in {source.name}; the longest has {longest}. With so few "
            "it is rather a table: give --modality table."
        )
    block = find_block(longest, steps)
    if block > 1:
        notes.append(f"Averaged each {block} neighbouring steps: the longest series of {longest} had too many.")
    series = pack_series(found.series, block)
    if part := part_name(source.name):
        hints = hints.given(task_id=hints.task_id or task_id_of(Path(part[0])))
    test_rows = None if found.is_test is None else tuple(np.flatnonzero(found.is_test).tolist())
    return assemble(
        series,
        found.labels,
        [_digest(series.one(i)) for i in range(len(series))],
        hints=hints.model_copy(update={"test_rows": test_rows, "drop": () if _is_table(source, hints) else hints.drop}),
        source=source,
        modality=SERIES,
        groups=found.groups,
        notes=notes,
        columns=series.values.shape[1],
        near=_find_near(series),
        read_from=found.columns,
    )


def _read_steps(hints: Hints) -> int:
    steps = hints.options.get("steps", MAX_STEPS)
    if isinstance(steps, bool) or not isinstance(steps, int) or not MIN_STEPS <= steps <= _MOST_STEPS:
        raise InvalidTaskError(f"Expected the option steps as {MIN_STEPS} to {_MOST_STEPS}; got {steps!r}. Correct it.")
    return steps


def find_series(source: Path, hints: Hints, like: Mapping[str, Any] | None = None) -> FoundSeries:
    """Return what is there, with the test rows that a person says, or those that the source itself tells.

    Args:
        source: The file or folder.
        hints: What was said of it.
        like: Where these are new series: the columns of those that were trained on, see `read_series_table`.
    """
    if source.suffix.lower() in ARRAYS and not source.is_dir():
        return read_series_arrays(source, hints)
    found = read_series_table(source, hints, like) if _is_table(source, hints) else _read_parts(source)
    if hints.test_rows is None:
        return found
    count = len(found.series)
    if wrong := [row for row in hints.test_rows if row >= count]:
        raise InvalidTaskError(f"Expected test_rows below {count}, the series of {source.name}; found {listed(wrong)}.")
    return replace(found, is_test=np.isin(np.arange(count), hints.test_rows).tolist())


def _read_parts(source: Path) -> FoundSeries:
    found = []
    for part in find_parts(source):
        reader = _READERS.get(part.ending)
        if reader is None:
            raise InvalidTaskError(
                f"Expected series in a file ending in {', '.join(_READERS)}, {', '.join(ARRAYS)}, .csv or .parquet; "
                f"got {part.path.name}. Save them as one of these."
            )
        read = reader(part.path, part.content)
        found.append(replace(read, is_test=[part.is_test] * len(read.labels)))
    return _join(source, found)


def _is_table(source: Path, hints: Hints) -> bool:
    """Tell a table from formats of series; a .tsv or .txt is one where a target is named."""
    ending = source.suffix.lower()
    if source.is_dir() or ending in {".zip", *ARRAYS}:
        return False
    return hints.target is not None if ending in {".tsv", ".txt"} else ending_of(source) in TABLES


def _join(source: Path, parts: Sequence[FoundSeries]) -> FoundSeries:
    """Put both parts of a task one after the other."""
    channels = sorted({len(part.series[0]) for part in parts})
    if len(channels) > 1:
        raise InvalidTaskError(
            f"Expected as many channels in the training as in the test part of {source.name}; found {listed(channels)}."
            " Give parts of one task."
        )
    is_test = [test for part in parts for test in part.is_test or []]
    notes = [note for part in parts for note in part.notes]
    if any(is_test):
        notes.append(f"Took the {sum(is_test)} series of the test part as test rows.")
    return FoundSeries(
        [one for part in parts for one in part.series],
        [label for part in parts for label in part.labels],
        is_test=is_test if any(is_test) else None,
        notes=notes,
    )


def _leave_out_empty(source: Path, found: FoundSeries) -> FoundSeries:
    """Leave out series without a value."""
    kept = [i for i, one in enumerate(found.series) if find_length(one)]
    if not kept:
        raise InvalidTaskError(f"Expected values in the series of {source.name}; all are missing. Check the file.")
    if len(kept) == len(found.series):
        return found
    return FoundSeries(
        [found.series[i] for i in kept],
        [found.labels[i] for i in kept],
        None if found.groups is None else [found.groups[i] for i in kept],
        None if found.is_test is None else [found.is_test[i] for i in kept],
        [*found.notes, f"Left out {len(found.series) - len(kept)} series without a value."],
        found.columns,
    )


def _digest(one: NDArray[np.float32]) -> bytes:
    return digest_of(np.array(one.shape, "<i8").tobytes(), np.ascontiguousarray(one, "<f4").tobytes())


def _find_near(series: Series) -> NDArray[np.int64]:
    """Return a number for each series; those with the same are alike up to scale, level and a hundredth of noise."""
    rough = np.rint(fill_and_normalise(series)[0] * _NEAR).astype(np.int32)
    seen: dict[bytes, int] = {}
    digests = [hashlib.sha256(one[:, :end].tobytes()).digest() for one, end in zip(rough, series.lengths, strict=True)]
    return np.array([seen.setdefault(one, len(seen)) for one in digests], np.int64)
