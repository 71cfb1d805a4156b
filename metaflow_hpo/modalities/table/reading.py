"""A person's table as a task."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.table.columns import clean_column
from metaflow_hpo.modalities.table.files.file_names import sidecar_of
from metaflow_hpo.modalities.table.files.marks import say_lost_rows
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.files.totals import without_total
from metaflow_hpo.modalities.table.free_text import is_free_text
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.modalities.table.task_files import check_columns
from metaflow_hpo.text_columns import is_text

USUAL_TARGETS = ("target", "class", "label", "y")
USUAL_SPELLINGS = tuple(spelling for name in USUAL_TARGETS for spelling in (name, name.capitalize(), name.upper()))


def read_task_table(path: Path, hints: Hints) -> TableData:
    """Read and prepare a person's table, see `read_table`.

    Args:
        path: The file.
        hints: What was said of it; a column called target, class, label or y is the target where that is not.

    Raises:
        InvalidTaskError: The file or the table cannot be used; the message says what to do.
    """
    target = hints.target
    names = [target.strip()] if target else []
    frame = read_table(path, names=names, as_written=names or USUAL_SPELLINGS, reads_commas=False)
    notes = list(frame.attrs.pop("notes", []))
    if target is None:
        target = _usual_target(path, [str(name).strip() for name in frame.columns])
        notes.append(f"Took the column {target!r} as target, for its name.")
    frame, said = without_total(frame)
    notes += said
    notes += say_lost_rows(frame.attrs["lost"].get(target.strip(), {}), target)
    notes += _say_free_text(frame, {target.strip(), *hints.drop})
    data = prepare_task(
        frame,
        **hints.describe(path),
        target=target,
        kind=hints.kind,
        metric=hints.metric,
        drop=hints.drop,
        test_rows=hints.test_rows,
        notes=notes,
        decimal_comma=frame.attrs.get("decimal_comma", False),
    )
    check_columns(data)
    return data


def _say_free_text(frame: pd.DataFrame, taken: Collection[str]) -> list[str]:
    columns = {str(name).strip(): frame.iloc[:, position] for position, name in enumerate(frame.columns)}
    texts = [
        name
        for name, column in columns.items()
        if name not in taken and is_free_text(column) and is_text(clean_column(column).column)  # no dates in words
    ]
    if not texts:
        return []
    return [
        f"Column {texts[0]!r} looks like sentences, of which a table makes little: to learn from these alone, "
        "read it with --modality text, or write `modality: text` into the sidecar."
    ]


def _usual_target(path: Path, names: list[str]) -> str:
    usual = [name for name in names if name.lower() in USUAL_TARGETS]
    if len(usual) == 1:
        return usual[0]
    raise InvalidTaskError(
        f"Expected to be told which column of {path.name} to predict; it has {listed(names, 30)}. "
        f"Give --target, or write `target: <column>` into {sidecar_of(path).name}."
    )
