"""Items with a class each as data of a task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.task import Task, TaskData

DIGEST_BYTES = 32


class Items(Protocol):
    """What a modality holds of its items; an array with a line an item is that."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Any, /) -> Any:
        """Return the items at positions `(m,)`, of the same type."""


@dataclass(frozen=True)
class ItemData:
    """A task with its items, in the order of their digests: neither names nor the order of files matter.

    Attributes:
        task: The description.
        items: `n` of them, as the modality holds them.
        target: `(n,)` class numbers.
        is_test: `(n,)` True on the fixed test items.
        class_names: Names of the classes by number.
        digests: `(n, 32)` uint8, of the content of each item; no two are equal.
        groups: `(n,)` numbers from 0: items of a group (a speaker, a document, pictures nearly alike) stay on one side
            of a split. None where every item stands alone.
        columns: Which columns of a table the items were read from, by role, so that new rows are read alike; empty
            where they were read from something else.
    """

    task: Task
    items: Items
    target: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    class_names: tuple[str, ...]
    digests: NDArray[np.uint8]
    groups: NDArray[np.int64] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task, count = self.task, self.task.rows
        groups = count if self.groups is None else len(self.groups)
        found = (len(self.items), len(self.target), len(self.is_test), len(self.digests), groups)
        if set(found) != {count}:
            raise InvalidTaskError(
                f"{task.task_id}: {count} items announced; found {found[0]} of items, {found[1]} of target, {found[2]} "
                f"of split, {found[3]} of digests and {found[4]} of groups."
            )
        if not 0 < task.test_rows < count or task.classes < 2 or len(self.class_names) != task.classes:
            raise InvalidTaskError(
                f"{task.task_id}: impossible sizes, {count} items, {task.test_rows} test items, {task.classes} classes "
                f"with {len(self.class_names)} names."
            )

    @property
    def train_items(self) -> Any:
        """The training items."""
        return self.items[np.flatnonzero(~self.is_test)]

    @property
    def train_target(self) -> NDArray[np.int64]:
        """Class numbers of the training items."""
        return self.target[~self.is_test]

    @property
    def test_items(self) -> Any:
        """The test items."""
        return self.items[np.flatnonzero(self.is_test)]

    @property
    def test_target(self) -> NDArray[np.int64]:
        """Class numbers of the test items."""
        return self.target[self.is_test]


def expect_items(data: TaskData) -> ItemData:
    """Return a task as items.

    Raises:
        InvalidTaskError: If it has none.
    """
    if not isinstance(data, ItemData):
        raise InvalidTaskError(
            f"Expected items with a class each; the task {data.task.task_id!r} is of the modality {data.task.modality}."
        )
    return data
