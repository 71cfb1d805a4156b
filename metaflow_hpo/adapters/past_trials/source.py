"""What a source of past trials is: it turns an address into trials, and says what the tool knows of their space."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import pandas as pd

from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.hyperparameter import Hyperparameter
from metaflow_hpo.metric import Direction

Status = Literal["ok", "failed", "stopped"]
__all__ = ["FROM_NAME", "Direction", "FileSource", "Found", "PastTrial", "Source", "Status", "TableSource", "Wanted"]

FROM_NAME = "name"
"""Label by which a person says that all trials are of one task: `--task name:iris`."""


@dataclass(frozen=True)
class Wanted:
    """What a person wants to have read, where the tool leaves a choice.

    Attributes:
        metric: Name of the metric; may be left out where there is only one.
        mode: Whether its higher or lower values are better; may be left out where the tool knows.
        task: Label that tells tasks apart (`experiment`, `tag:data_set`, `name:iris`); the source's own unless given.
        only: Glob of the studies, experiments, projects or folders to read.
        at: Which value of a metric with a history counts: `last`, `best`, or a step; the source's own unless given.
        features: Labels whose numbers describe the task: they become its meta-features.
        assume: Value of a hyperparameter where a trial is older than the hyperparameter.
        leave_out: Names that are no hyperparameters.
    """

    metric: str | None = None
    mode: Direction | None = None
    task: str | None = None
    only: str | None = None
    at: str | None = None
    features: Sequence[str] = ()
    assume: Mapping[str, Any] = field(default_factory=dict)
    leave_out: Sequence[str] = ()


@dataclass(frozen=True)
class PastTrial:
    """One trial as another tool recorded it.

    Attributes:
        configuration: Values by name; nested ones are flattened to `a/b`. What was inactive is absent.
        value: Final value of the metric in its own units; None where there is none.
        status: `ok`, `failed` or `stopped` (its value is not what it would have reached).
        reason: Why it failed or was stopped.
        curve: Value of the metric after each step, `(E,)`; points that are not numbers are left out.
        test_value: Value on test data in the metric's units.
        duration_s: Seconds.
        fidelity: Training effort, where the tool trains one configuration with several.
        labels: What may name the task or describe it: `{"experiment": "iris", "tag:rows": "150"}`.
    """

    configuration: Mapping[str, Any]
    value: float | None
    status: Status = "ok"
    reason: str = ""
    curve: tuple[float, ...] = ()
    test_value: float | None = None
    duration_s: float | None = None
    fidelity: float | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What a source read.

    Attributes:
        trials: The trials, in the tool's order.
        metric: Name of the metric.
        direction: Whether higher or lower is better.
        task_label: Label that names the task unless a person says otherwise.
        known: Hyperparameters with the ranges that the tool knows, of each study; conditions may be missing.
        knows_conditions: Whether `known` holds the conditions too; else they are told from the trials.
        dropped: Trials that were not read, by reason.
        left_out: Names that are no hyperparameters, with the reason.
        notes: What a person should know, sentences.
        fidelity_unit: What `fidelity` counts.
        features: Labels that describe the task without being asked for.
    """

    trials: Sequence[PastTrial]
    metric: str
    direction: Direction
    task_label: str
    known: Sequence[Sequence[Hyperparameter]] = ()
    knows_conditions: bool = False
    dropped: Mapping[str, int] = field(default_factory=Counter)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    fidelity_unit: str = "steps"
    features: Sequence[str] = ()


class Source(Protocol):
    """A tool whose trials can be read."""

    name: str

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read the trials at an address.

        Args:
            address: File, folder or URL; a table or an object of the tool where the source says so.
            wanted: What a person asks for.

        Raises:
            InvalidTableError: If there are no such trials, or something must be asked; the message says how.
        """
        ...


@runtime_checkable
class TableSource(Protocol):
    """A source whose trials also come as a table with columns of its own."""

    name: str

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell whether a table with these columns is this tool's."""
        ...

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read the trials off such a table."""
        ...


@runtime_checkable
class FileSource(Protocol):
    """A source whose files can be told from those of others by a glance."""

    name: str

    def knows_file(self, path: Path) -> bool:
        """Tell whether this is a file or folder of the tool."""
        ...


class UnansweredError(InvalidTableError):
    """Something about the trials cannot be known and must be said.

    Attributes:
        asked: What, by `metric`, `mode` or `task`: a sentence's part that says what may be given.
        metric: A metric that there is, to go on asking with.
    """

    OPTIONS: ClassVar[Mapping[str, str]] = {
        "metric": "--metric NAME",
        "mode": "--mode max or --mode min",
        "task": "--task COLUMN",
    }

    def __init__(self, asked: Mapping[str, str], metric: str | None = None) -> None:
        self.asked, self.metric = asked, metric
        said = "; ".join(f"{self.OPTIONS[name]}, {what}" for name, what in asked.items())
        super().__init__(f"What cannot be known of these trials must be said: {said}.")


def choose_metric(wanted: Wanted, present: Sequence[str], direction: Direction | None = None) -> tuple[str, Direction]:
    """Return the metric and its direction, or ask for what cannot be known in one message.

    Args:
        wanted: What a person asks for.
        present: Names of the metrics that the trials have.
        direction: Where the tool knows it.

    Raises:
        UnansweredError: If a name or direction is needed.
        InvalidTableError: If no trial has the metric.
    """
    if not present:
        raise InvalidTableError("Expected trials with a metric; found none. Check the address, or --only.")
    if wanted.metric is not None and wanted.metric not in present:
        raise InvalidTableError(
            f"No trial has the metric {wanted.metric!r}; found {listed(list(present), 12)}. Give one with --metric."
        )
    name = wanted.metric or (present[0] if len(present) == 1 else None)
    direction = wanted.mode or direction
    asked = {}
    if name is None:
        asked["metric"] = f"its name, one of {listed(list(present), 12)}"
    if direction is None:
        asked["mode"] = "whether higher or lower values are better"
    if name is None or direction is None:
        raise UnansweredError(asked, metric=name or present[0])
    return name, direction


def ask_once(read: Callable[[Wanted], Found], wanted: Wanted) -> Found:
    """Read trials, and where something must be asked, ask for all of it in one message.

    Args:
        read: Reads with what a person has said so far.
        wanted: That.

    Raises:
        UnansweredError: If something cannot be known.
    """
    try:
        return read(wanted)
    except UnansweredError as first:
        try:
            read(replace(wanted, metric=wanted.metric or first.metric, mode=wanted.mode or "max"))
        except UnansweredError as second:
            raise UnansweredError({**first.asked, **second.asked}, first.metric) from second
        raise


def missing_package(tool: str, package: str) -> InvalidTableError:
    """Return the error that says how to install what a source needs."""
    return InvalidTableError(f"Reading the trials of {tool} needs {package}; install it: pip install {package}.")


def existing(address: Any, what: str) -> Path:
    """Return the path of a file or folder that is there.

    Args:
        address: What a person gave.
        what: What belongs there, for the message.

    Raises:
        InvalidTableError: If there is none.
    """
    path = Path(str(address)).expanduser()
    if not path.exists():
        raise InvalidTableError(f"Expected {what}; there is no {path}. Check the address.")
    return path
