"""Tasks: a data set, its target, its metric and its fixed row splits.

The one thing to know: rows of a `TaskData` are in the order of a hash of their content, so that test rows, folds and
mini-batches do not depend on the order in which a file happened to list them.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.written_numbers import NumberStyle

Kind = Literal["binary", "multiclass", "regression"]
Metric = Literal["balanced_accuracy", "accuracy", "log_loss", "r2", "rmse"]

METRICS: dict[Kind, tuple[Metric, ...]] = {
    "binary": ("balanced_accuracy", "accuracy", "log_loss"),
    "multiclass": ("balanced_accuracy", "accuracy", "log_loss"),
    "regression": ("r2", "rmse"),
}
"""Metrics a kind of task may use; the first is the default."""

_TASK_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class Task:
    """What is known of a task without its rows: one line of the catalogue.

    Attributes:
        task_id: Lower-case name, safe as a file name.
        family: Group of near-duplicates and relatives that are always held out together.
        kind: `binary`, `multiclass` or `regression`.
        metric: The score that is optimised.
        target: Name of the column to predict.
        licence: Licence of the data.
        source: Where the data came from, e.g. `scikit-learn/iris` or `inbox/my.csv`.
        sha256: Digest of the prepared content (independent of row order).
        rows: Number of rows, test rows included.
        columns: Number of feature columns.
        classes: Number of classes; 0 for regression.
        test_rows: Number of test rows.
        simulated: True where the data are generated; such tasks stay out of headline figures.
        notes: What was changed on the way in ("dropped 2 constant columns"), one sentence each.
    """

    task_id: str
    family: str
    kind: Kind
    metric: Metric
    target: str
    licence: str
    source: str
    sha256: str
    rows: int
    columns: int
    classes: int
    test_rows: int
    simulated: bool = False
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not _TASK_ID.fullmatch(self.task_id):
            raise InvalidTaskError(
                f"task_id must match {_TASK_ID.pattern}; got {self.task_id!r}. Rename the file or the task."
            )
        if self.kind not in get_args(Kind):
            raise InvalidTaskError(f"kind must be one of {', '.join(get_args(Kind))}; got {self.kind!r}.")
        if self.metric not in METRICS[self.kind]:
            raise InvalidTaskError(
                f"metric of a {self.kind} task must be one of {METRICS[self.kind]}; got {self.metric!r}."
            )
        for name in ("family", "target", "licence", "source"):
            if not getattr(self, name):
                raise InvalidTaskError(f"The task {self.task_id!r} has no {name}.")
        if not 0 < self.test_rows < self.rows or self.columns < 1:
            raise InvalidTaskError(f"{self.task_id}: impossible sizes, {self.rows} rows, {self.columns} columns.")

    @property
    def is_regression(self) -> bool:
        """True where the target is a number."""
        return self.kind == "regression"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; `from_dict` inverts it."""
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        """Build a task from what `to_dict` returned."""
        return cls(**{**values, "notes": tuple(values.get("notes", ()))})


@dataclass(frozen=True)
class TaskData:
    """A task with its rows.

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
    styles: Mapping[str, NumberStyle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.task.rows
        if not len(self.features) == len(self.target) == len(self.is_test) == rows:
            raise InvalidTaskError(
                f"{self.task.task_id}: {rows} rows announced; found {len(self.features)} of features, "
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
