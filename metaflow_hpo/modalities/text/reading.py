"""A person's table of texts as a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.side_names import TEST, side_of
from metaflow_hpo.modalities.table.columns import as_text
from metaflow_hpo.modalities.table.files.file_names import TEXT, ending_of
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.reading import USUAL_SPELLINGS
from metaflow_hpo.modalities.text.assembling import assemble_texts
from metaflow_hpo.modalities.text.columns import TASK, USUAL_TEXTS, TextColumns, choose_columns, lacks_names
from metaflow_hpo.text_columns import is_text

OPTIONS = ("text", "group", "split", "key")
"""What `Hints.options` may say of texts: their column (or several, which are joined), the column of what belongs
together, that which says what is for the test, and the name in the column `task` where a table holds several tasks."""
_TEXT_SPELLINGS = tuple(spelling for name in USUAL_TEXTS for spelling in (name, name.capitalize(), name.upper()))


def read_texts(path: Path, hints: Hints) -> ItemData:
    """Read a table with a column of texts and one of classes.

    Args:
        path: The file.
        hints: What was said of it, see `OPTIONS`.

    Raises:
        InvalidTaskError: If it is none; the message says what to do.
    """
    check_options(hints.options, path)
    frame, notes = _read_frame(path, hints)
    target = hints.target.strip() if hints.target else None
    frame, hints, said = _choose_task(frame, hints, path)
    columns = choose_columns(frame, target, hints.options, hints.drop)
    hints = hints.model_copy(update={"target": columns.target, "drop": ()})
    if columns.split and hints.test_rows is None:
        held = [side_of(str(side)) == TEST for side in frame[columns.split].tolist()]
        hints = hints.model_copy(update={"test_rows": tuple(np.flatnonzero(held).tolist())})
        said += [f"Took the {sum(held)} texts that the column {columns.split!r} calls so as test items."]
    texts = _join(frame, columns.texts)
    labels = [None if pd.isna(label) else as_text(label) for label in frame[columns.target].tolist()]
    groups = frame[columns.group].tolist() if columns.group else None
    said += _say_columns(columns, chosen_text="text" not in hints.options, chosen_target=target is None)
    read_from = {"texts": list(columns.texts)}
    said = [*notes, *said]
    return assemble_texts(
        texts, labels, hints=hints, source=path, groups=groups, notes=tuple(said), read_from=read_from
    )


def read_new_texts(path: Path, target: str, columns: Sequence[str] = ()) -> list[str]:
    """Read the texts of a table without classes, from the columns that were trained on.

    Args:
        path: The file.
        target: Column of the classes in the table that was trained on, which may be there.
        columns: The columns of the texts there; where that was no table, they are those of the only column of words
            here, or the one that is called as texts are, or the one with the longest.

    Raises:
        InvalidTaskError: If it is no table, or a column is missing.
    """
    frame, _ = _read_frame(path, Hints(options={"text": list(columns)} if columns else {}))
    if columns:
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise InvalidTaskError(
                f"Expected texts in {listed(list(columns))} of {path.name}, as in the table that was trained on; it "
                f"has {listed(list(frame.columns), 20)}. Name them alike."
            )
        return _join(frame, columns)
    words = [name for name in frame.columns if name != target and is_text(frame[name])]
    if not words:
        raise InvalidTaskError(f"Expected a column of texts in {path.name}; found {listed(list(frame.columns))}.")
    usual = [name for name in words if name.lower() in USUAL_TEXTS]
    chosen = usual[0] if usual else max(words, key=lambda name: float(frame[name].str.len().mean()))
    return ["" if pd.isna(one) else as_text(one) for one in frame[chosen].tolist()]


def check_options(options: Mapping[str, Any], path: Path) -> None:
    """Check what was said of texts.

    Raises:
        InvalidTaskError: If an option is unknown or no name.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidTaskError(
            f"Expected only the options {', '.join(OPTIONS)} for the texts of {path.name}; found {listed(unknown)}. "
            "Correct the sidecar."
        )
    for name, value in options.items():
        values = value if name == "text" and isinstance(value, list | tuple) else [value]
        if not values or not all(isinstance(one, str) and one.strip() for one in values):
            raise InvalidTaskError(f"Expected a name as the option {name} of {path.name}; got {value!r}.")


def _read_frame(path: Path, hints: Hints) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with its texts as they are written: NA is a word in a sentence, and a name."""
    said = hints.options.get("text", ())
    texts = [str(name).strip() for name in ([said] if isinstance(said, str) else said)]
    names = [*texts, *([hints.target.strip()] if hints.target else [])]
    as_written = names or [*USUAL_SPELLINGS, *_TEXT_SPELLINGS]
    frame = read_table(path, names=names, as_written=as_written, reads_commas=False, settles_words=False)
    notes = list(frame.attrs.get("notes", []))
    if not names and ending_of(path).startswith(TEXT) and lacks_names(frame):
        first = [str(name) for name in frame.columns]
        numbered = [f"column {number}" for number in range(1, len(first) + 1)]
        frame = pd.concat([pd.DataFrame([first]), frame.set_axis(range(len(first)), axis="columns")], ignore_index=True)
        frame = frame.set_axis(numbered, axis="columns")
        notes.append("Took the first line as a text with its class, as it names no columns.")
    plain = [str(name).strip() for name in frame.columns]
    repeated = sorted({name for name in plain if plain.count(name) > 1})
    if repeated:
        raise InvalidTaskError(f"Expected different column names in {path.name}; found {listed(repeated)} repeated.")
    if frame.empty:
        raise InvalidTaskError(f"Expected rows in {path.name}; found names of columns only. Is the file complete?")
    return frame.set_axis(plain, axis="columns"), notes


def _choose_task(frame: pd.DataFrame, hints: Hints, path: Path) -> tuple[pd.DataFrame, Hints, list[str]]:
    """Return the rows of one task where a table holds several."""
    key = hints.options.get("key")
    if key is None:
        found = sorted(frame[TASK].dropna().astype(str).unique()) if TASK in frame and hints.target != TASK else []
        if len(found) > 1 and TASK not in hints.drop:
            raise InvalidTaskError(
                f"Expected one task in {path.name}; its column {TASK!r} names {len(found)}: {listed(found)}. Say which "
                "with the option key."
            )
        return frame, hints, []
    if TASK not in frame:
        raise InvalidTaskError(
            f"Expected a column {TASK!r} in {path.name}, as the option key was given; there is none."
        )
    rows = np.flatnonzero((frame[TASK].astype(str) == str(key)).to_numpy())
    if not len(rows):
        there = sorted(frame[TASK].dropna().astype(str).unique())
        raise InvalidTaskError(f"Expected rows of the task {key!r} in {path.name}; it has {listed(there, 20)}.")
    if hints.test_rows is not None:
        held = np.flatnonzero(np.isin(rows, hints.test_rows))
        hints = hints.model_copy(update={"test_rows": tuple(held.tolist())})
    return frame.iloc[rows].drop(columns=TASK).reset_index(drop=True), hints, [f"Took the rows of the task {key!r}."]


def _join(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the texts; what is missing is an empty one."""
    parts = [["" if pd.isna(one) else as_text(one) for one in frame[name].tolist()] for name in columns]
    return ["\n".join(filter(None, row)) for row in zip(*parts, strict=True)]


def _say_columns(columns: TextColumns, *, chosen_text: bool, chosen_target: bool) -> list[str]:
    said = [f"Took the column {columns.texts[0]!r} as the texts."] if chosen_text else []
    said += [f"Took the column {columns.target!r} as target."] if chosen_target else []
    said += [f"Took the column {columns.group!r} as what belongs together."] if columns.group else []
    return said + ([f"Left out the columns {listed(list(columns.others))}."] if columns.others else [])
