"""What a learner is: a search space, a fidelity, and `train`, which turns configurations into outcomes on a task."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.space import Configuration, SearchSpace

_T = TypeVar("_T")

Isolation = Literal["thread", "process"]

ERROR = "error: "
"""What the reason of a failure begins with that was raised by a person's own code, and may be a mistake in it."""


@dataclass(frozen=True)
class Fidelity:
    """How much effort a training may be given.

    Attributes:
        unit: What is counted (`epochs`, `steps`, ...); part of the name of a column.
        maximum: Full fidelity; 1 for learners that train in one go.
    """

    unit: str = "epochs"
    maximum: int = 1

    def __post_init__(self) -> None:
        if not str(self.unit).isidentifier() or not isinstance(self.maximum, Integral) or self.maximum < 1:
            raise SearchSpaceMismatchError(
                f"A fidelity needs a unit that is a name and a maximum of 1 or more; got {self.unit!r}, {self.maximum}."
            )

    def check(self, fidelity: int) -> int:
        """Return the fidelity.

        Raises:
            SearchSpaceMismatchError: If it is not in 1..`maximum`.
        """
        if not 1 <= fidelity <= self.maximum:
            raise SearchSpaceMismatchError(
                f"fidelity_{self.unit} must be in 1..{self.maximum}; got {fidelity}. "
                "Leave it out for the full fidelity."
            )
        return fidelity


@dataclass(frozen=True)
class Outcome:
    """What training one configuration on a task gave; a failure is data, not an exception.

    Attributes:
        performance: Validation score, oriented so that higher is better; None where the training failed or was stopped.
        test_performance: The same on the test rows, never selected on; None where it was not measured.
        scores: Every metric by name (`accuracy`, `test_accuracy`, ...) in its own orientation.
        learning_curve: `(E,)` validation score after each unit of fidelity, higher is better; up to where it ended.
        duration_s: Seconds of training.
        reason: Why it failed (`diverged: ...`, `time: ...`, `memory: ...`, `crashed: ...`) or was stopped; else empty.
        stopped: A judge gave it up for its learning curve.
    """

    performance: float | None = None
    test_performance: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    learning_curve: Sequence[float] = ()
    duration_s: float = 0.0
    reason: str = ""
    stopped: bool = False


class Judge(Protocol):
    """Decides from learning curves which trainings are not worth going on with."""

    @property
    def checkpoints(self) -> Sequence[int]:
        """Units of fidelity after which it wants to be asked, ascending."""

    def __call__(self, curve: NDArray[Any]) -> str:
        """Return why a configuration is to be stopped, or nothing to let it go on.

        Args:
            curve: `(e,)` the learning curve so far, as in `Outcome.learning_curve`.
        """


@runtime_checkable
class Learner(Protocol):
    """A model family that can be tuned."""

    @property
    def name(self) -> str:
        """Short name, as in `--learner`."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Kinds of inputs it trains on; empty for any."""

    @property
    def space(self) -> SearchSpace:
        """The search space; its `default` is what a person gets who tunes nothing."""

    @property
    def fidelity(self) -> Fidelity:
        """Unit and maximum of the training effort."""

    def train(
        self,
        data: Any,
        configurations: Sequence[Configuration],
        *,
        fidelity: int,
        seed: int,
        judge: Judge | None = None,
        refit: bool = False,
    ) -> Iterator[tuple[int, Outcome]]:
        """Train every configuration on a task.

        Args:
            data: The task with its rows, of one of `modalities`.
            configurations: Configurations of `space`; checked before anything is trained.
            fidelity: Training effort, 1 to `fidelity.maximum`.
            seed: Seed of everything drawn; the same seed gives the same outcome whatever else is trained beside it.
            judge: Stops what is not worth going on with, where the learner can.
            refit: Measure the test performance as well, where that takes a training of its own.

        Yields:
            `(position in configurations, outcome)`, in the order in which configurations are finished. Closing the
            iterator ends all trainings.

        Raises:
            SearchSpaceMismatchError: If a configuration or the fidelity is out of range.
        """


@runtime_checkable
class Refitting(Protocol):
    """A learner whose test performance takes a training of its own, on all training rows."""

    def refit(self, data: Any, configuration: Configuration, *, fidelity: int, seed: int) -> Outcome:
        """Return the outcome of that training alone: test performance and scores, or why it failed."""


@runtime_checkable
class Limited(Protocol):
    """A learner that keeps to limits, isolates its trainings, and runs several at once."""

    def within(self, limits: Limits, *, isolation: Isolation = "thread", workers: int | None = None) -> "Learner":
        """Return the same learner with limits of its trials.

        Args:
            limits: What one trial may cost.
            isolation: `thread`, the fast path, or `process`: a training that crashes its process costs one trial.
            workers: Trainings at once; None for what suits this machine.
        """


@runtime_checkable
class Anchored(Protocol):
    """A learner that names configurations which did well elsewhere: collecting tries them on every task."""

    @property
    def anchors(self) -> Sequence[Configuration]:
        """Configurations of its space, beside the default."""


def anchors_of(learner: Learner) -> Sequence[Configuration]:
    """Return the anchors of a learner, none unless it names some."""
    return learner.anchors if isinstance(learner, Anchored) else ()


@contextmanager
def ending(trained: Iterator[_T]) -> Iterator[Iterator[_T]]:
    """Close an iterator of trainings on every way out: those nobody waits for would go on in the background."""
    try:
        yield trained
    finally:
        if isinstance(trained, Generator):
            trained.close()


def check_request(
    space: SearchSpace, fidelity: Fidelity, configurations: Sequence[Configuration], effort: int
) -> list[Configuration]:
    """Return the configurations in canonical form.

    Raises:
        SearchSpaceMismatchError: If a configuration does not belong to `space`, or `effort` is out of range.
    """
    fidelity.check(effort)
    return [space.validate(configuration) for configuration in configurations]
