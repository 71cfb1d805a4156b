"""Tables as data of a task: prepared rows with their target and split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.metrics import check_metric
from metaflow_hpo.modalities.table.styles import Style
from metaflow_hpo.task import Task, TaskData


@dataclass(frozen=True)
class TableData:
    """A task with its rows.

    Rows are in the order of a hash of their content, so that test rows, folds and mini-batches do not depend on the
    order in which a file happened to list them.

    Attributes:
        task: The description.
        features: `(rows, columns)`; numeric columns are float64 (NaN = missing), all others are text (NaN = missing).
        target: `(rows,)`; class numbers 0..classes-1 (int64), or float64 for regression.
        is_test: `(rows,)` booleans, True on the fixed test rows.
        class_names: Names of the classes by number; empty for regression.
        styles: How the numbers of a column, or of the target, were written, where that was for people.
    """

    task: Task
    features: pd.DataFrame
    target: NDArray[Any]
    is_test: NDArray[np.bool_]
    class_names: tuple[str, ...] = ()
    styles: Mapping[str, Style] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task, rows = self.task, self.task.rows
        check_metric(task.kind, task.metric)
        if not task.target:
            raise InvalidTaskError(f"The task {task.task_id!r} has no target.")
        if not 0 < task.test_rows < rows or task.columns < 1:
            raise InvalidTaskError(
                f"{task.task_id}: impossible sizes of a table, {rows} rows, {task.test_rows} test rows, "
                f"{task.columns} columns."
            )
        if not len(self.features) == len(self.target) == len(self.is_test) == rows:
            raise InvalidTaskError(
                f"{task.task_id}: {rows} rows announced; found {len(self.features)} of features, "
                f"{len(self.target)} of target and {len(self.is_test)} of split."
            )

    @property
    def train_features(self) -> pd.DataFrame:
        """Features of the training rows."""
        return self.features.loc[~self.is_test].reset_index(drop=True)

    @property
    def train_target(self) -> NDArray[Any]:
        """Target of the training rows."""
        return self.target[~self.is_test]

    @property
    def test_features(self) -> pd.DataFrame:
        """Features of the test rows."""
        return self.features.loc[self.is_test].reset_index(drop=True)

    @property
    def test_target(self) -> NDArray[Any]:
        """Target of the test rows."""
        return self.target[self.is_test]


def expect_table(data: TaskData) -> TableData:
    """Return a task as a table.

    Raises:
        InvalidTaskError: If it is none.
    """
    if not isinstance(data, TableData):
        raise InvalidTaskError(
            f"Expected a table; the task {data.task.task_id!r} is of the modality {data.task.modality}."
        )
    return data
