"""Take a configuration home: a Python script that trains it on the person's table, without this package.

The one thing to know: the script knows the columns as this package understood them, so the table is read once more.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pandas.api import types

from metaflow_hpo.adapters.files import write_text
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.learners.script import ScriptTable, render_script
from metaflow_hpo.modalities.table.columns import as_text
from metaflow_hpo.modalities.table.files.tables import MISSING, read_table
from metaflow_hpo.modalities.table.table_data import TableData, expect_table
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import TaskData


def write_script(
    pipeline: Pipeline, output: Path, path: Path, data: TaskData, configuration: Configuration, *, seed: int = 0
) -> None:
    """Write a script that trains a configuration of the settings' learner on a person's table.

    Args:
        pipeline: The surroundings.
        output: The script; replaced if it is there.
        path: The table.
        data: The task that was made of it.
        configuration: A valid configuration of the learner.
        seed: Seed of the script.

    Raises:
        InvalidTaskError: If it is no table, or one that plain pandas does not read, or a column holds what a script
            cannot prepare.
    """
    table = describe_table(path, expect_table(data))
    learner, epochs = pipeline.settings.learner, pipeline.epochs
    write_text(output, render_script(table, learner, configuration, epochs=epochs, seed=seed))


def describe_table(path: Path, data: TableData) -> ScriptTable:
    """Return how a table is read with pandas alone, and what its columns are.

    Raises:
        InvalidTaskError: If plain pandas does not read it, or a column holds what a script cannot prepare.
    """
    raw = read_table(path, reads_commas=False)
    read = raw.attrs["read"]
    if not read:
        raise InvalidTaskError(
            f"Expected a zip with one file, which pandas reads; {path} holds more. Unpack it, and give what it holds."
        )
    raw = raw.set_axis([str(name).strip() for name in raw.columns], axis="columns")
    _check_classes(raw[data.task.target], data.class_names)
    kinds = {
        name: "numeric" if name in data.styles else _find_kind(raw[name], data.features[name])
        for name in data.features.columns
    }
    return ScriptTable(
        path=str(path),
        read=read,
        missing=MISSING if "MISSING" in read else (),
        target=data.task.target,
        classes=data.class_names,
        styles=data.styles,
        **{kind: [name for name in kinds if kinds[name] == kind] for kind in ("numeric", "dates", "categorical")},
    )


def _check_classes(target: pd.Series, classes: Sequence[str]) -> None:
    """Check that a script finds the classes by their names: `1.0` in the text of a parquet file became the class 1."""
    lost = sorted(set(classes) - set(target.dropna().map(as_text)))
    if lost:
        raise InvalidTaskError(
            f"Expected the classes {listed(lost)} in the column {target.name!r} as they are called; it writes them in "
            "another way. Save the table as csv, or the classes as text."
        )


def _find_kind(raw: pd.Series, cleaned: pd.Series) -> str:
    """Return what became of a column: the name of a field of `ScriptTable`."""
    if not types.is_float_dtype(cleaned.dtype):
        return "categorical"
    dtype, content = raw.dtype, types.infer_dtype(raw, skipna=True)
    if types.is_datetime64_any_dtype(dtype) or content in {"date", "datetime", "datetime64"}:
        return "dates"
    if types.is_timedelta64_dtype(dtype) or types.is_complex_dtype(dtype) or content == "period":
        raise InvalidTaskError(
            f"Expected numbers, text or dates, which a script can prepare; the column {raw.name!r} holds {content}. "
            "Turn it into numbers, or save the table as csv."
        )
    if content != "string":
        return "numeric"
    # Text became numbers where nearly all of it is written so, else days.
    return "numeric" if pd.to_numeric(raw, errors="coerce").count() > raw.count() / 2 else "dates"
