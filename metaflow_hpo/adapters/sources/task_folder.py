"""Tasks of a folder with an `index.csv`: one line a task, many of which may share a file with the same items.

In a file of arrays the labels of a task stand under `y_<key>`; in a table its rows have the key in the column `task`.
"""

import csv
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import AskedKind, Hints
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.task import TABLE, TaskData

INDEX = "index.csv"
_KINDS = ("binary", "multiclass", "regression", "classification")
_UNSTATED = "unstated"
_GENERATED = ("simulated", "synthetic")
"""What the note of a task says whose data are generated."""
_TASK = "task"


@dataclass(frozen=True)
class FolderSpec:
    """One line of an index.

    Attributes:
        task_id: Name of the task.
        modality: What its inputs are; a table unless said.
        file: Path below the folder; `<task_id>.parquet` unless said.
        key: Which labels of the file are the task's; empty where it holds one task.
        target: What to predict; None where the modality finds it.
        kind: What the target is; None where the modality tells.
        family: Group of relatives.
        source: Where the data are from.
        licence: Their licence.
        simulated: Whether the data are generated, said so or told by the note.
        note: A sentence worth knowing; may be empty.
    """

    task_id: str
    modality: str
    file: str
    key: str
    target: str | None
    kind: AskedKind | None
    family: str
    source: str
    licence: str
    simulated: bool
    note: str


def read_index(folder: Path, modalities: Collection[str] | None = None) -> list[FolderSpec]:
    """Return the tasks of a folder in the order of its index.

    Args:
        folder: The folder.
        modalities: Only tasks of these; all unless given.

    Raises:
        InvalidTaskError: If there is no index, a line names no task, a task stands there twice, or none is left.
    """
    path = folder / INDEX
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidTaskError(f"Expected a table of tasks in UTF-8 at {path}; found: {error}.") from error
    specs = [_make_spec(line) for line in lines]
    names = Counter(spec.task_id for spec in specs)
    if not specs or names[""]:
        found = f"{names['']} of {len(specs)} lines" if specs else "no line"
        raise InvalidTaskError(f"Expected a task_id on every line of {path}; found {found} without. Fill it in.")
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise InvalidTaskError(f"Expected each task once in {path}; found {listed(twice)} more than once. Rename them.")
    chosen = [spec for spec in specs if modalities is None or spec.modality in modalities]
    if not chosen:
        there = sorted({spec.modality for spec in specs})
        raise InvalidTaskError(
            f"Expected tasks of {listed(sorted(modalities or ()))} in {path}; it has those of {listed(there)}. Correct "
            "the setting `modalities`."
        )
    return chosen


def _make_spec(line: Mapping[str, str | None]) -> FolderSpec:
    def say(name: str, instead: str = "") -> str:
        return (line.get(name) or "").strip() or instead

    task_id, note, kind = say("task_id"), say("note"), say("kind")
    file = say("file", f"{task_id}.parquet")
    is_generated = any(word in note.lower() for word in _GENERATED)
    return FolderSpec(
        task_id=task_id,
        modality=say("modality", TABLE),
        file=file,
        key=say("key"),
        target=say("target") or None,
        kind=cast(AskedKind, kind) if kind in _KINDS else None,
        family=say("family", task_id),
        source=say("source", file),
        licence=say("licence", _UNSTATED),
        simulated=is_generated or say("simulated").lower() == "true",
        note=note,
    )


def load_folder_task(folder: Path, spec: FolderSpec) -> TaskData:
    """Read and prepare one task of a folder.

    Raises:
        InvalidTaskError: If its file is missing, lies elsewhere, or cannot become the task; the message names both.
    """
    path = folder / spec.file
    if not path.resolve().is_relative_to(folder.resolve()) or not path.exists():
        raise InvalidTaskError(
            f"{spec.task_id}: expected its file below {folder}; found none at {spec.file!r}. Correct {INDEX}."
        )
    try:
        data = _read(path, spec)
    except InvalidTaskError as error:
        raise InvalidTaskError(f"{spec.task_id} ({spec.file}): {error}") from error
    notes = (*data.task.notes, spec.note) if spec.note else data.task.notes
    task = replace(data.task, source=spec.source, notes=notes)
    return cast(TaskData, replace(cast(Any, data), task=task))


def _read(path: Path, spec: FolderSpec) -> TaskData:
    modality, options = get_modality(spec.modality), {"key": spec.key} if spec.key else {}
    hints = Hints(
        modality=spec.modality,
        target=spec.target,
        kind=spec.kind,
        family=spec.family,
        licence=spec.licence,
        task_id=spec.task_id,
        simulated=spec.simulated,
        options=options,
    )
    if spec.modality != TABLE or not spec.key:
        return modality.read(path, hints)
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as temporary:
        alone = Path(temporary) / path.name
        _select(path, spec.key).to_parquet(alone)
        return modality.read(alone, hints.model_copy(update={"options": {}}))


def _select(path: Path, key: str) -> pd.DataFrame:
    """Return the rows of one task of a table that holds several."""
    frame = read_table(path)
    if _TASK not in frame.columns or key not in set(frame[_TASK]):
        raise InvalidTaskError(
            f"Expected rows with {key!r} in the column {_TASK!r}; there are none. Correct the key in {INDEX}."
        )
    return frame.loc[frame[_TASK] == key].drop(columns=_TASK).reset_index(drop=True)
