"""Tables that list items by their paths: which column is what, and which files there are."""

import codecs
import csv
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.listed import MAX_BROKEN, ItemFile, Listed
from metaflow_hpo.modalities.items.side_names import TEST, TRAIN, side_of
from metaflow_hpo.modalities.table.columns import as_text
from metaflow_hpo.modalities.table.files.file_names import ending_of
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.reading import USUAL_TARGETS

TABLES = (".csv", ".tsv", ".parquet", ".pq", ".xlsx")
USUAL_GROUPS = ("group", "speaker", "speaker_id", "subject", "subject_id", "patient", "patient_id", "document")
USUAL_SPLITS = ("split", "subset", "set", "fold")
_LOOKED_AT = 50
_HEAD_BYTES = 64 * 1024
_Find = Callable[[str], ItemFile | None]


def read_listing(source: Path | ItemFile, hints: Hints) -> pd.DataFrame:
    """Return a table with classes and groups as they are written: 007 stays 007."""
    spelled = [name for usual in (*USUAL_TARGETS, *USUAL_GROUPS) for name in (usual, usual.capitalize(), usual.upper())]
    named = [str(one) for one in (hints.target, hints.options.get("group")) if one]
    if isinstance(source, Path):
        return read_table(source, as_written=(*named, *spelled))
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        path = Path(folder) / PurePosixPath(source.name).name
        path.write_bytes(source.read())
        return read_table(path, as_written=(*named, *spelled))


def list_table(name: str, frame: pd.DataFrame, hints: Hints, suffixes: Sequence[str], find: _Find) -> Listed:
    """Return the items that a table lists.

    Args:
        name: Of the table, for messages.
        frame: The table.
        hints: Which columns are what, where that was said.
        suffixes: Endings of items.
        find: Returns the file at a path; None where there is none.

    Raises:
        InvalidTaskError: If a column is not there or cannot be told, or files are missing.
    """
    columns = {str(column).strip(): column for column in frame.columns}
    path = _named(name, columns, hints.options.get("path"), "path") or _find_path(name, frame, suffixes)
    target = _named(name, columns, hints.target, "target") or _find_target(name, list(columns), path)
    group = _named(name, columns, hints.options.get("group"), "group") or _usual(columns, USUAL_GROUPS, target)
    split = _named(name, columns, hints.options.get("split"), "split") or find_split(frame, columns, target)
    told = {"paths": path, "classes": target} | ({"groups": group} if group else {})
    notes = ["Took " + ", ".join(f"the column {column!r} as {what}" for what, column in told.items()) + "."]
    paths = ["" if pd.isna(one) else str(one).strip() for one in frame[columns[path]]]
    files = [find(one) if one else None for one in paths]
    there = [position for position, file in enumerate(files) if file is not None]
    notes += _say_missing(name, paths, there)
    labels = _texts(frame[columns[target]])
    groups = None if not group else tuple(_texts(frame[columns[group]])[p] for p in there)
    held = None
    if split:
        sides = [side_of(str(one)) for one in frame[columns[split]]]
        held = tuple(sides[p] == TEST for p in there)
        notes.append(f"Took the {sum(held)} items that the column {split!r} calls so as test items.")
    kept = tuple(file for file in files if file is not None)
    return Listed(kept, tuple(labels[p] for p in there), groups, held, tuple(notes), target)


def peek_paths(source: Path, suffixes: Sequence[str]) -> bool:
    """Tell from its first lines whether a table has a column of paths to files that are there."""
    try:
        rows = _first_rows(source)
    except (OSError, ValueError, csv.Error):
        return False
    for column in zip(*rows, strict=False):
        values = [value.strip() for value in column[1:] if value.strip()]
        fitting = [value for value in values if PurePosixPath(value).suffix.lower() in suffixes]
        if values and len(fitting) > len(values) / 2:
            return True
    return False


def _first_rows(source: Path) -> list[list[str]]:
    if ending_of(source) in {".csv", ".tsv"}:
        with source.open("rb") as file:
            begins = file.read(_HEAD_BYTES)
        encoding = "utf-16" if begins.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        lines = begins.decode(encoding, "replace").splitlines()[: _LOOKED_AT + 1]
        delimiter = max(",;\t|", key=lines[0].count) if lines else ","
        return list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    if ending_of(source) in {".parquet", ".pq"}:
        from pyarrow import parquet

        with parquet.ParquetFile(source) as file:
            head = next(file.iter_batches(batch_size=_LOOKED_AT), None)
        columns = {} if head is None else head.to_pydict()
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        return [["" if value is None else str(value) for value in row] for row in rows]
    return []


def _named(table: str, columns: Mapping[str, str], wanted: object, what: str) -> str:
    """Return the column that was said; empty where none was."""
    if wanted is None:
        return ""
    if str(wanted).strip() not in columns:
        raise InvalidTaskError(
            f"Expected the column {wanted!r} ({what}) in {table}; it has {listed(list(columns), 30)}."
        )
    return str(wanted).strip()


def _find_path(table: str, frame: pd.DataFrame, suffixes: Sequence[str]) -> str:
    found = []
    for column in frame.columns:
        values = [str(value) for value in frame[column].dropna().head(_LOOKED_AT)]
        fitting = sum(PurePosixPath(value.strip()).suffix.lower() in suffixes for value in values)
        if values and fitting > len(values) / 2:
            found.append(str(column).strip())
    if len(found) == 1:
        return found[0]
    raise InvalidTaskError(
        f"Expected one column of paths that end in {', '.join(suffixes)} in {table}; found {listed(found) or 'none'}. "
        "Write `options: {path: <column>}` into its sidecar."
    )


def _find_target(table: str, columns: list[str], path: str) -> str:
    others = [name for name in columns if name != path]
    usual = [name for name in others if name.lower() in USUAL_TARGETS]
    rest = [name for name in others if name.lower() not in (*USUAL_GROUPS, *USUAL_SPLITS)]
    chosen = usual or rest
    if len(chosen) == 1:
        return chosen[0]
    raise InvalidTaskError(
        f"Expected to be told which column of {table} to predict; it has {listed(columns, 30)}. Give --target, or "
        "write `target: <column>` into its sidecar."
    )


def _usual(columns: Mapping[str, str], names: Sequence[str], target: str) -> str:
    return next((name for name in columns if name.lower() in names and name != target), "")


def find_split(frame: pd.DataFrame, columns: Mapping[str, str], target: str) -> str:
    """Return the column that says which items are for training and which for the test, where its values say so."""
    for name, column in columns.items():
        if name.lower() in USUAL_SPLITS and name != target:
            sides = {side_of(str(value)) for value in frame[column].unique()}
            if sides == {TRAIN, TEST}:
                return name
    return ""


def _texts(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else as_text(value) for value in column]


def _say_missing(table: str, paths: Sequence[str], there: Sequence[int]) -> list[str]:
    present = set(there)
    missing = [path or "an empty path" for position, path in enumerate(paths) if position not in present]
    if not missing:
        return []
    if len(missing) > max(1, MAX_BROKEN * len(paths)):
        raise InvalidTaskError(
            f"Expected the files that {table} lists; {len(missing)} of {len(paths)} are not there ({listed(missing)}). "
            "Paths are below the table's folder, or below `options: {root: <folder>}` of its sidecar."
        )
    return [f"Left out {len(missing)} items whose files are not there: {listed(missing)}."]
