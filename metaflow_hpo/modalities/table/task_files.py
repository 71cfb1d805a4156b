"""Prepared tables as files: one parquet holds features, target, split and, in its metadata, the description.

The same task gives the same bytes, so that the md5 of a file is a data version.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metaflow_hpo.array_files import taking_apart
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError
from metaflow_hpo.modalities.table.styles import style_from_json, style_to_json
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.parquet_files import check_parquet, parquet_damage, write_sealed_parquet
from metaflow_hpo.task import Task
from metaflow_hpo.text_columns import STR

if TYPE_CHECKING:
    import pyarrow as pa

TARGET_COLUMN = "__target__"
SPLIT_COLUMN = "__is_test__"
_KEY = b"metaflow_hpo.task"


def write_task(path: Path, data: TableData) -> None:
    """Write a prepared task as one parquet file.

    Args:
        path: The file, replaced if it exists.
        data: The task.

    Raises:
        InvalidTaskError: A feature is called like one of the two columns that are added.
    """
    import pyarrow as pa

    check_columns(data)
    names = [*data.features.columns, TARGET_COLUMN, SPLIT_COLUMN]
    columns = [_to_arrow(data.features[name]) for name in data.features.columns]
    table = pa.Table.from_arrays([*columns, pa.array(data.target), pa.array(data.is_test)], names=names)
    described: dict[str, Any] = {"task": data.task.to_dict(), "class_names": list(data.class_names)}
    if data.styles:
        described["styles"] = {name: style_to_json(style) for name, style in data.styles.items()}
    table = table.replace_schema_metadata({_KEY: json.dumps(described, ensure_ascii=False, sort_keys=True).encode()})
    write_sealed_parquet(path, table)


def check_columns(data: TableData) -> None:
    """Check that a task can be written.

    Raises:
        InvalidTaskError: A feature is called like one of the two columns that are added.
    """
    taken = {TARGET_COLUMN, SPLIT_COLUMN} & set(data.features.columns)
    if taken:
        raise InvalidTaskError(f"Expected features not to be called {', '.join(sorted(taken))}. Rename the column.")


def read_task(path: Path) -> TableData:
    """Read what `write_task` wrote.

    Args:
        path: The parquet file.

    Returns:
        The same task, value by value.

    Raises:
        InvalidTaskError: There is no such file, it is damaged, or it holds no prepared task.
    """
    from pyarrow import parquet

    if not path.is_file():
        raise InvalidTaskError(
            f"Expected a prepared task in {path}; there is no such file. Run the step that makes it."
        )
    try:
        check_parquet(path, "Make the task again.")
        table = parquet.read_table(path, page_checksum_verification=True, partitioning=None)
    except InvalidTableError as error:
        raise InvalidTaskError(str(error)) from error
    except parquet_damage() as error:
        raise InvalidTaskError(
            f"Expected a whole parquet file in {path}; found: {error}. Make the task again."
        ) from error
    metadata = (table.schema.metadata or {}).get(_KEY)
    if metadata is None:
        raise InvalidTaskError(
            f"Expected a prepared task in {path}; found another table. Give the raw file to prepare it."
        )
    try:
        with taking_apart(path, "Make the task again."):
            return _take_apart(table, json.loads(metadata))
    except InvalidTableError as error:
        raise InvalidTaskError(str(error)) from error


def _take_apart(table: "pa.Table", described: Mapping[str, Any]) -> TableData:
    columns = {
        name: _from_arrow(table[name]) for name in table.column_names if name not in {TARGET_COLUMN, SPLIT_COLUMN}
    }
    target = np.array(table[TARGET_COLUMN].to_numpy())
    data = TableData(
        task=Task.from_dict(described["task"]),
        features=pd.DataFrame(columns),
        target=target,
        is_test=np.array(table[SPLIT_COLUMN].to_numpy(), dtype=bool),
        class_names=tuple(described["class_names"]),
        styles={name: style_from_json(style) for name, style in described.get("styles", {}).items()},
    )
    _check(data)
    return data


def _check(data: TableData) -> None:
    """Refuse what no prepared task has.

    Raises:
        ValueError: Its sizes do not fit, or a number is none that can be learned from.
    """
    task, target = data.task, data.target
    found = int(data.is_test.sum()), data.features.shape[1], len(data.class_names)
    if found != (task.test_rows, task.columns, task.classes):
        raise ValueError(f"test rows, columns and classes as the task has them were expected; found {found}")
    if not np.isfinite(target).all():
        raise ValueError("a finite target was expected")
    if task.classes and not ((target >= 0) & (target < task.classes) & (target == target.round())).all():
        raise ValueError(f"numbers of classes below {task.classes} were expected as target")


def _to_arrow(column: pd.Series) -> Any:
    import pyarrow as pa

    if pd.api.types.is_float_dtype(column.dtype):
        return pa.array(column.to_numpy(), type=pa.float64(), from_pandas=False)
    return pa.array(column.astype(object).where(column.notna(), None).to_numpy(), type=pa.string())


def _from_arrow(column: Any) -> pd.Series:
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        return pd.Series(np.array(column.to_numpy()))
    return pd.Series(column.to_pandas(), dtype=STR)
