"""Read series with classes as a task, whatever file they are in."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

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
from metaflow_hpo.modalities.series.series import Series, find_length, pack_series, shorten
from metaflow_hpo.modalities.series.series_arrays import ARRAYS, read_series_arrays
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
OPTIONS = ("steps", "id", "time", "values", "group", "key")

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
    found = _read(source, hints)
    kept, found, hints = _keep_usable(source, found, hints)
    packed = pack_series(kept)
    notes = list(found.notes)
    if packed.values.shape[2] < MIN_STEPS:
        raise InvalidTaskError(
            f"Expected series of at least {MIN_STEPS} steps in {source.name}; the longest has "
            f"{packed.values.shape[2]}. With so few it is rather a table: give --modality table."
        )
    series = shorten(packed, steps)
    if series is not packed:
        block = -(-packed.values.shape[2] // steps)
        notes.append(f"Averaged each {block} neighbouring steps: the longest of {packed.values.shape[2]} had too many.")
    if part := part_name(source.name):
        hints = hints.given(task_id=hints.task_id or task_id_of(Path(part[0])))
    return assemble(
        series,
        found.labels,
        [_digest(series.one(i)) for i in range(len(series))],
        hints=hints.model_copy(update={"drop": ()}),
        source=source,
        modality=SERIES,
        groups=found.groups,
        notes=notes,
        columns=series.values.shape[1],
        near=_find_near(series),
    )


def _read_steps(hints: Hints) -> int:
    steps = hints.options.get("steps", MAX_STEPS)
    if isinstance(steps, bool) or not isinstance(steps, int) or not MIN_STEPS <= steps <= _MOST_STEPS:
        raise InvalidTaskError(f"Expected the option steps as {MIN_STEPS} to {_MOST_STEPS}; got {steps!r}. Correct it.")
    return steps


def _read(source: Path, hints: Hints) -> FoundSeries:
    ending = source.suffix.lower()
    if ending in ARRAYS and not source.is_dir():
        return read_series_arrays(source, hints)
    if not source.is_dir() and not _is_text(source, hints):
        return read_series_table(source, hints)
    found = []
    for part in find_parts(source):
        reader = _READERS.get(part.ending)
        if reader is None:
            raise InvalidTaskError(
                f"Expected series in a file ending in {', '.join(_READERS)}, {', '.join(ARRAYS)}, .csv or .parquet; "
                f"got {part.path.name}. Save them as one of these."
            )
        read = reader(part.path, part.content)
        found.append(FoundSeries(read.series, read.labels, None, [part.is_test] * len(read.labels), read.notes))
    return _join(source, found)


def _is_text(source: Path, hints: Hints) -> bool:
    """Tell whether a file is of a format of its own rather than a table: a .tsv or .txt is, unless a target is named."""
    ending = source.suffix.lower()
    if ending in {".tsv", ".txt"}:
        return hints.target is None
    return ending in _READERS or ending == ".zip" or ending_of(source) not in TABLES


def _join(source: Path, parts: Sequence[FoundSeries]) -> FoundSeries:
    """Put both parts of a task one after the other."""
    channels = sorted({len(part.series[0]) for part in parts})
    if len(channels) > 1:
        raise InvalidTaskError(
            f"Expected as many channels in the training as in the test part of {source.name}; found {listed(channels)}. "
            "Give parts of one task."
        )
    return FoundSeries(
        [one for part in parts for one in part.series],
        [label for part in parts for label in part.labels],
        is_test=[test for part in parts for test in part.is_test or []],
        notes=[note for part in parts for note in part.notes],
    )


def _keep_usable(
    source: Path, found: FoundSeries, hints: Hints
) -> tuple[list[NDArray[np.float32]], FoundSeries, Hints]:
    """Leave out series without a value, and say which of the others are test rows."""
    lengths = np.array([find_length(one) for one in found.series])
    said = hints.test_rows
    if said is not None and (wrong := [row for row in said if row >= len(lengths)]):
        raise InvalidTaskError(
            f"Expected test_rows below {len(lengths)}, the series of {source.name}; found {listed(wrong)}. Correct them."
        )
    if said is None and found.is_test is not None and any(found.is_test):
        said = tuple(np.flatnonzero(found.is_test).tolist())
        found.notes.append(f"Took the {len(said)} series of the test part as test rows.")
    kept = np.flatnonzero(lengths > 0)
    if not len(kept):
        raise InvalidTaskError(f"Expected values in the series of {source.name}; all are missing. Check the file.")
    if len(kept) < len(lengths):
        found.notes.append(f"Left out {len(lengths) - len(kept)} series without a value.")
    if said is not None:
        hints = hints.given(test_rows=tuple(np.flatnonzero(np.isin(kept, said)).tolist()))
    groups = None if found.groups is None else [found.groups[i] for i in kept]
    usable = FoundSeries([], [found.labels[i] for i in kept], groups, None, found.notes)
    return [found.series[i] for i in kept], usable, hints


def _digest(one: NDArray[np.float32]) -> bytes:
    return digest_of(np.array(one.shape, "<i8").tobytes(), np.ascontiguousarray(one, "<f4").tobytes())


def _find_near(series: Series) -> NDArray[np.int64]:
    """Return a number for each series; those with the same are alike up to scale, level and a hundredth of noise."""
    rough = np.rint(fill_and_normalise(series)[0] * _NEAR).astype(np.int32)
    seen: dict[bytes, int] = {}
    digests = [hashlib.sha256(one[:, :end].tobytes()).digest() for one, end in zip(rough, series.lengths, strict=True)]
    return np.array([seen.setdefault(one, len(seen)) for one in digests], np.int64)
