"""What a modality is: how one sort of inputs is read as a task, kept, split, prepared and described.

There is no `describe` here: groups of meta-features do that, those that come with the modality and those of others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.task import TaskData

if TYPE_CHECKING:
    from metaflow_hpo.modalities.items.new_items import NewItems


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be scored on: positions `(n,)` and `(m,)`, without a common one."""

    train: NDArray[np.intp]
    valid: NDArray[np.intp]


@dataclass(frozen=True)
class Splits:
    """How the rows of a task are used.

    Attributes:
        validation: The folds of cross-validation, or one split of large data; none holds a test row.
        test: All training rows, and the test rows.
    """

    validation: tuple[Split, ...]
    test: Split


@dataclass(frozen=True)
class Fold:
    """Prepared arrays of one split of the rows.

    Attributes:
        x_train: `(n, ...)` float32; `(n,)` of str where the learner has to encode texts itself.
        y_train: `(n,)` class numbers (int64), or standardised target (float32) for regression.
        x_valid: `(m, ...)` alike, rows that are scored but never fitted on.
        y_valid: `(m,)`, in the same coding as `y_train`.
        classes: Number of classes; 0 for regression.
        target_scale: Target units in one unit of `y_train` (the standard deviation of its training rows).
        number: Place among the splits of a task, from 0; trainings on different splits draw different numbers.
    """

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_valid: NDArray[Any]
    y_valid: NDArray[Any]
    classes: int
    target_scale: float = 1.0
    number: int = 0


@runtime_checkable
class Modality(Protocol):
    """One sort of inputs.

    The data that `read` and `load` return are a frozen dataclass with a field `task`, whatever else it holds.
    """

    @property
    def name(self) -> str:
        """One word, as in `Task.modality`."""

    @property
    def meta_features(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups that come with it."""

    def recognises(self, source: Path) -> bool:
        """Tell, without reading much of it, whether a file or folder holds such a task."""

    def read(self, source: Path, hints: Hints) -> TaskData:
        """Read a person's file or folder as a task.

        Test rows, and the task's digest, depend on the content alone: neither on the order of items nor on names.

        Raises:
            InvalidTaskError: If it cannot be one; the message says what was expected, found, and what to do.
        """

    def save(self, data: Any, path: Path) -> None:
        """Write a task as one file; the same task gives the same bytes."""

    def load(self, path: Path) -> TaskData:
        """Read what `save` wrote.

        Raises:
            InvalidTaskError: If it is not that.
        """


@runtime_checkable
class ArrayModality(Modality, Protocol):
    """A modality whose data can be made arrays, which learners share; an opaque task is none."""

    def split(self, data: Any, seed: int = 0) -> Splits:
        """Return the splits, which depend on the content alone; items that belong together are on the same side."""

    def prepare(self, data: Any, split: Split, number: int = 0) -> Fold:
        """Make arrays of the rows of a split, with everything that is learned for it from its training rows."""


@runtime_checkable
class Sampling(Protocol):
    """A modality whose large tasks can be represented by a sample."""

    def sample(self, data: Any, max_rows: int) -> TaskData:
        """Return about `max_rows` items of a task, or all where it has no more."""


@runtime_checkable
class Predicting(Protocol):
    """A modality whose new items, without classes, can be brought to the form of those that were trained on."""

    def form(self, data: Any) -> dict[str, Any]:
        """Return what says of a task how its items look, JSON-ready: their size, their rate."""

    def read_new(self, source: Path, form: Mapping[str, Any]) -> "NewItems":
        """Read new items from a file or folder.

        Raises:
            InvalidTaskError: If there are none, or one cannot be read; the message names it.
        """

    def take_new(self, values: Sequence[Any], form: Mapping[str, Any]) -> NDArray[Any]:
        """Return the items of a request, prepared, `(n, ...)`: texts, lists of numbers, or files in base64.

        Raises:
            InvalidTaskError: If one is no such item.
        """


@runtime_checkable
class Showing(Protocol):
    """A modality that can show people what its tasks look like."""

    def show(self, data: Any) -> bytes | str:
        """Return some training items by class: a PNG image, or Markdown."""


@runtime_checkable
class DescribedBySample(Sampling, Protocol):
    """A modality whose large tasks are described by a sample, to be comparable with what was learned from."""

    @property
    def described_rows(self) -> int:
        """Items above which that is so, as in `Sampling.sample`."""


@runtime_checkable
class Fingerprinting(Protocol):
    """A modality whose tasks can be told to be relatives."""

    def fingerprint(self, data: Any) -> frozenset[str]:
        """Return digests of the parts of a task; tasks with many common ones are relatives."""
