"""Tasks: data, their target, their metric and their fixed row splits, whatever the inputs are."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, Protocol

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import Metric

TABLE = "table"
"""The modality of tasks that were written before there were others."""

IMAGE, AUDIO, TEXT, SERIES = "image", "audio", "text", "series"
"""Modalities of tasks that are items with a class each."""

OPAQUE = "opaque"
"""The modality of tasks whose data only the learner can open."""

_TASK_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")
_TEXTS = ("task_id", "family", "modality", "licence", "source", "sha256", "kind", "target")
_APART = 71
"""Characters of an id that are kept where a part of the content's digest follows."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is known of a task without its rows: one line of the catalogue.

    Attributes:
        task_id: Lower-case name, safe as a file name.
        family: Group of near-duplicates and relatives that are always held out together.
        modality: What its inputs are: `table`, `image`, ..., or `opaque` where only the learner can open them.
        metric: The score that is optimised.
        licence: Licence of the data.
        source: Where the data came from, e.g. `scikit-learn/iris` or `inbox/my.csv`.
        sha256: Digest of the prepared content (independent of row order).
        rows: Number of rows (items), test rows included; 0 where only the learner can count them.
        test_rows: Number of test rows; 0 where only the learner knows them.
        kind: `binary`, `multiclass` or `regression`; empty where the modality does not tell.
        target: Name of the column to predict; empty where the target has none.
        columns: Number of feature columns; 0 where there are none.
        classes: Number of classes; 0 where there are none.
        simulated: True where the data are generated; such tasks stay out of headline figures.
        notes: What was changed on the way in ("dropped 2 constant columns"), one sentence each.
    """

    task_id: str
    family: str
    modality: str
    metric: Metric
    licence: str
    source: str
    sha256: str
    rows: int = 0
    test_rows: int = 0
    kind: str = ""
    target: str = ""
    columns: int = 0
    classes: int = 0
    simulated: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = [getattr(self, name) for name in _TEXTS]
        if not all(isinstance(text, str) for text in texts):
            raise InvalidTaskError(f"Expected texts as {', '.join(_TEXTS)} of a task; got {texts}.")
        sizes = self.rows, self.test_rows, self.columns, self.classes
        if not all(isinstance(size, Integral) for size in sizes):
            raise InvalidTaskError(f"{self.task_id}: expected whole numbers as sizes; got {sizes}.")
        if not _TASK_ID.fullmatch(self.task_id):
            raise InvalidTaskError(
                f"task_id must match {_TASK_ID.pattern}; got {self.task_id!r}. Rename the file or the task."
            )
        for name in ("family", "modality", "licence", "source"):
            if not getattr(self, name):
                raise InvalidTaskError(f"The task {self.task_id!r} has no {name}.")
        if not isinstance(self.metric, Metric):
            raise InvalidTaskError(f"{self.task_id}: expected a Metric; got {self.metric!r}. Use Metric.read.")
        if not 0 <= self.test_rows <= self.rows or min(self.columns, self.classes) < 0:
            raise InvalidTaskError(
                f"{self.task_id}: impossible sizes, {self.rows} rows, {self.test_rows} test rows, {self.columns} "
                f"columns, {self.classes} classes."
            )

    @property
    def is_regression(self) -> bool:
        """True where the target is a number."""
        return self.kind == "regression"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; `from_dict` inverts it."""
        return {**asdict(self), "metric": self.metric.to_json(), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """Build a task from what `to_dict` returned; one without a modality is a table."""
        fields = {"modality": TABLE, **values}
        return cls(**{**fields, "metric": Metric.read(fields["metric"]), "notes": tuple(fields.get("notes", ()))})


def name_apart(task: Task) -> str:
    """Return an id by its content as well for a task whose name another one has."""
    return f"{task.task_id[:_APART]}-{task.sha256[:8]}"


def is_name_apart(task_id: str, own: str) -> bool:
    """Tell whether an id is what `name_apart` makes of the id `own`, whatever the content."""
    return re.fullmatch(re.escape(own[:_APART]) + "-[0-9a-f]{8}", task_id) is not None


class TaskData(Protocol):
    """A task with its data, as its modality read them."""

    @property
    def task(self) -> Task:
        """The description."""
