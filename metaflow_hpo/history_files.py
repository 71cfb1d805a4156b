"""Files of histories: one line a configuration on a task, and what the lines cannot say: the space, the direction."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.array_files import read_json_bytes, seal, taking_apart, unseal
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.parquet_files import parquet_damage, write_sealed_parquet
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.tables import CURVE, HP_PREFIX
from metaflow_hpo.written_scores import read_scores

_KEY = b"metaflow_hpo.history"
_AGAIN = "Write it again."
_SCORES = ("performance", "test_performance")
_SAID: Mapping[str, Callable[[Any], Any]] = {
    "space": lambda space: SearchSpace.from_json(space).to_json(),
    "noise": lambda noise: {str(task): float(value) for task, value in noise.items()},
    "notes": lambda notes: [str(note) for note in notes],
}
"""How is read what may be said of a table; whatever does not fit is refused."""


def write_trials(path: Path, frame: pd.DataFrame, said: Mapping[str, Any]) -> None:
    """Write a table of trials and what is said of it.

    Args:
        path: `.parquet`, which holds both; or `.csv`, with what is said in `<path>.json` beside it.
        frame: The trials.
        said: JSON-ready.

    Raises:
        InvalidTableError: If the ending is another one.
    """
    if path.suffix == ".parquet":
        write_parquet(path, frame, said)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
        _beside(path).write_text(json.dumps(seal(said), indent=1))
    else:
        raise InvalidTableError(f"Expected a name that ends in .parquet or .csv; got {path.name}. Choose another one.")


def write_parquet(path: Path, frame: pd.DataFrame, said: Mapping[str, Any]) -> None:
    """Write a table of trials and what is said of it as parquet, whatever the path ends in."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False)
    write_sealed_parquet(path, table.replace_schema_metadata({_KEY: json.dumps(said).encode()}))


def read_trials(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a table of trials, and what `write_trials` has said of it; nothing of any other.

    Raises:
        InvalidTableError: If the file is missing, damaged or no table.
    """
    is_ours = path.suffix == ".parquet" and path.is_file() and _KEY in _read_metadata(path)
    try:
        # In a file of ours what is missing is so already, and the text None is a choice.
        frame = read_table(path, settles_words=not is_ours, keeps_zeros=names_values)
    except InvalidTaskError as error:
        raise InvalidTableError(str(error)) from error
    check_cells(frame, path)
    said, notes = _read_said(path), []
    for name in _SCORES:
        if list(frame.columns).count(name) == 1:
            frame[name], note = read_scores(frame[name])
            notes += [note] if note else []
    return frame, {**said, "notes": [*said.get("notes", ()), *notes]} if notes else said


def check_cells(frame: pd.DataFrame, path: Path) -> None:
    """Refuse bytes and lists as cells of a table of trials, but for learning curves.

    Raises:
        InvalidTableError: There are some.
    """
    for name, column in frame.items():
        if column.dtype != object or name == CURVE:
            continue
        odd = [value for value in column if isinstance(value, bytes | list | tuple | dict | np.ndarray)]
        if odd:
            raise InvalidTableError(
                f"Expected numbers, texts or truth values in the column {name!r} of {path.name}; found {odd[0]!r} and "
                f"{len(odd) - 1} more such. Write them as text, or drop the column."
            )


def names_values(column: str) -> bool:
    """Tell the columns of a table of trials in which 01 may be another name than 1."""
    return column in {"task_id", "family", "learner"} or column.startswith(HP_PREFIX)


def _read_metadata(path: Path) -> dict[bytes, bytes]:
    """Return what stands in a parquet file beside its table; nothing where it is none, which is told by its reader."""
    import pyarrow.parquet as pq

    try:
        return dict(pq.read_schema(path).metadata or {})
    except parquet_damage():
        return {}


def _read_said(path: Path) -> dict[str, Any]:
    is_parquet, beside = path.suffix == ".parquet", _beside(path)
    written = beside.read_bytes() if beside.is_file() else None
    text = _read_metadata(path).get(_KEY) if is_parquet else written
    source = path if is_parquet else beside
    said = {} if text is None else read_json_bytes(text, source, _AGAIN)
    if not isinstance(said, dict) or not said:
        return {}
    said = said if is_parquet else unseal(said, beside, _AGAIN)
    with taking_apart(source, _AGAIN):
        return {**said, **{name: read(said[name]) for name, read in _SAID.items() if name in said}}


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
