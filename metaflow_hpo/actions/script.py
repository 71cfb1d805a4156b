"""Take a configuration home: a Python script that trains it on the person's data, without this package.

The script knows the columns of a table as this package understood them, so the table is read once more. Texts,
recordings and series come in too many formats for that: they are written beside the script, as they were read.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from pandas.api import types

from metaflow_hpo.adapters.files import write_atomically, write_text
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import InvalidTaskError, MetaflowHPOError, listed
from metaflow_hpo.learners.networks.kept import find_network_learner
from metaflow_hpo.learners.script import (
    SCRIPTED,
    ScriptPictures,
    ScriptTable,
    render_cnn,
    render_items,
    render_script,
)
from metaflow_hpo.modalities.image.pictures import SUFFIXES
from metaflow_hpo.modalities.items.item_data import ItemData, expect_items
from metaflow_hpo.modalities.items.item_files import pack_texts
from metaflow_hpo.modalities.items.modality import ItemModality
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.modalities.table.columns import as_text
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.table_data import TableData, expect_table
from metaflow_hpo.modalities.table.written_dates import ISO, DateStyle
from metaflow_hpo.modalities.table.written_numbers import NumberStyle
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import TaskData
from metaflow_hpo.text_columns import STR


def write_script(
    pipeline: Pipeline, output: Path, path: Path, data: TaskData, configuration: Configuration, *, seed: int = 0
) -> None:
    """Write a script that trains a configuration of the settings' learner on a person's data.

    Args:
        pipeline: The surroundings.
        output: The script; replaced if it is there. Texts, recordings and series are written beside it.
        path: The table, or the folder or file of items.
        data: The task that was made of it.
        configuration: A valid configuration of the learner.
        seed: Seed of the script.

    Raises:
        InvalidTaskError: If it is no table, or one that plain pandas does not read, or a column holds what a script
            cannot prepare; or if pictures are not in a folder with a folder per class.
        MetaflowHPOError: If another file than that of an earlier script is where the items are to be written.
    """
    learner = check_scripted(pipeline.learner.name)
    network = find_network_learner(pipeline.learner)
    if learner == "cnn":
        pictures = describe_pictures(path, expect_items(data))
        write_text(output, render_cnn(pictures, configuration, epochs=pipeline.epochs, seed=seed))
        return
    if network is not None:
        items = expect_items(data)
        beside = write_items(output, items)
        options = {"epochs": pipeline.epochs, "seed": seed}
        write_text(output, render_items(beside.name, items.class_names, network, configuration, **options))
        return
    table = describe_table(path, expect_table(data))
    write_text(output, render_script(table, learner, configuration, epochs=pipeline.epochs, seed=seed))


def write_items(script: Path, data: ItemData) -> Path:
    """Write the items of a task beside a script, for the script to read, and return where.

    Raises:
        MetaflowHPOError: If there is another file of that name.
    """
    path = script.with_name(f"{script.stem}_items.npz")
    if path.exists() and not _is_ours(path):
        raise MetaflowHPOError(
            f"Expected to write the items for the script to {path}, where there is another file. Rename the script."
        )
    modality = cast(ItemModality, get_modality(data.task.modality))
    items = modality.prepare_arrays(data.items, data.train_items)
    arrays: dict[str, Any] = pack_texts(items.tolist()) if items.dtype == object else {"items": items}
    write_atomically(path, partial(_write_items, labels=data.target, held_out=data.is_test, **arrays))
    return path


def _write_items(path: Path, **arrays: Any) -> None:
    with path.open("wb") as file:  # to a path, numpy would add `.npz`
        np.savez_compressed(file, **arrays)


def _is_ours(path: Path) -> bool:
    try:
        with np.load(path) as arrays:
            return {"labels", "held_out"} <= set(arrays.files)
    except (OSError, ValueError, EOFError, BadZipFile):
        return False


def check_scripted(learner: str) -> str:
    """Return the name of a learner that can be written down as a script.

    Raises:
        MetaflowHPOError: If it cannot: a person's own learner is code of theirs already.
    """
    if learner not in SCRIPTED:
        raise MetaflowHPOError(
            f"Expected a learner that ships for --script, {' or '.join(SCRIPTED)}; {learner} is none of them. "
            "Leave --script out."
        )
    return learner


def describe_pictures(path: Path, data: ItemData) -> ScriptPictures:
    """Return where the pictures of each class are, and the shape that they get.

    Raises:
        InvalidTaskError: If they are not in a folder with a folder per class.
    """
    folders = {folder.name for folder in path.iterdir() if folder.is_dir()} if path.is_dir() else set()
    missing = sorted(set(data.class_names) - folders)
    if missing:
        raise InvalidTaskError(
            f"Expected a folder with a folder per class for --script; {path} has none for {listed(missing)}. Save the "
            "pictures like that, or leave --script out."
        )
    high, wide, channels = data.items[:1].shape[1:]
    return ScriptPictures(str(path), data.class_names, (channels, high, wide), SUFFIXES)


def describe_table(path: Path, data: TableData) -> ScriptTable:
    """Return how a table is read with pandas alone, and what its columns are.

    Raises:
        InvalidTaskError: If plain pandas does not read it, or a column holds what a script cannot prepare.
    """
    target = data.task.target
    raw = read_table(path, names=[target], as_written=[target], reads_commas=False)
    if not raw.attrs["read"]:
        raise InvalidTaskError(
            f"Expected a table that pandas reads by itself; {path} holds comments among its rows, is a zip with more "
            "than one file, or one JSON object. Save it as csv, and give that."
        )
    raw = raw.set_axis([str(name).strip() for name in raw.columns], axis="columns")
    _check_classes(raw[target], data.class_names)
    numeric, dates, categorical = [], {}, []
    for name in data.features.columns:
        style = data.styles.get(name)
        if not types.is_float_dtype(data.features[name].dtype):
            categorical.append(name)
        elif isinstance(style, DateStyle):
            dates[name] = _find_order(raw[name], style)
        else:
            _check_numbers(raw[name])
            numeric.append(name)
    return ScriptTable(
        path=str(path),
        read=raw.attrs["read"],
        missing=raw.attrs["marks"],
        target=target,
        classes=data.class_names,
        styles={name: style for name, style in data.styles.items() if isinstance(style, NumberStyle)},
        numeric=numeric,
        dates=dates,
        categorical=categorical,
    )


def _check_classes(target: pd.Series, classes: Sequence[str]) -> None:
    """Check that a script finds the classes by their names: of `1.0` and `1` in one column both became the class 1."""
    texts = {str(value).strip() if isinstance(value, bool | np.bool_) else as_text(value) for value in target.dropna()}
    numbers = pd.to_numeric(pd.Series(sorted(set(classes) | texts)), errors="coerce").dropna()
    if set(classes) - texts or numbers.duplicated().any():
        raise InvalidTaskError(
            f"Expected each of the classes {listed(sorted(classes))} to be written in one way in the column "
            f"{target.name!r}; found {listed(sorted(texts), 10)}. Write each class in one way."
        )


def _find_order(raw: pd.Series, style: DateStyle) -> str:
    """Return the order of the dates of a column, `iso` where programs wrote them.

    Raises:
        InvalidTaskError: If pandas reads other dates than this package.
    """
    if types.infer_dtype(raw, skipna=True) != "string":
        return "iso" if style == ISO else style.order
    texts = raw.dropna().astype(STR).str.strip()
    for order, form in (("iso", "ISO8601"), (style.order, "%Y%m%d" if style.order == "digits" else "mixed")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what pandas thinks of `dayfirst` is compared below
            found = pd.to_datetime(texts, utc=True, errors="coerce", format=form, dayfirst=order == "dmy")
        days = (found - pd.Timestamp("1970-01-01", tz="UTC")) / pd.Timedelta(days=1)
        if np.array_equal(days, style.read(texts), equal_nan=True):
            return order
    raise InvalidTaskError(
        f"Expected dates that a script can read; those of the column {raw.name!r} ({texts.iloc[0]!r}) it cannot. Write "
        "them as 2021-03-14."
    )


def _check_numbers(raw: pd.Series) -> None:
    """Refuse numbers that were made of what a script cannot prepare."""
    content = types.infer_dtype(raw, skipna=True)
    if types.is_timedelta64_dtype(raw.dtype) or types.is_complex_dtype(raw.dtype) or content == "period":
        raise InvalidTaskError(
            f"Expected numbers, text or dates, which a script can prepare; the column {raw.name!r} holds {content}. "
            "Turn it into numbers, or save the table as csv."
        )
