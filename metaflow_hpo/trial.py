"""Trials: one configuration trained on one task, at one fidelity and seed, and its outcome."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.space import Configuration, configuration_id

Status = Literal["ok", "failed", "stopped"]
"""`failed`: it diverged, crashed or hit a limit, and counts as the worst of its task. `stopped`: it was given up for
its learning curve; what it would have reached is not known."""

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Trial:
    """One trained configuration.

    Attributes:
        task_id: The task.
        family: The task's family.
        learner: Name of the learner.
        configuration: The active hyperparameters.
        strategy: The search strategy that proposed it.
        seed: Seed of initialisation, mini-batch order and dropout.
        fidelity: Effort trained, in `fidelity_unit` (1 for learners that train in one go).
        performance: Validation performance, higher is better; NaN where `status` is not `ok`.
        test_performance: Performance on the test rows, for tables refitted on all training rows; NaN where it was
            not measured. Never selected on.
        duration_s: Seconds of training, over all folds and the refit.
        status: `ok`; `failed`: a diverged or crashed training, which is data; or `stopped`.
        reason: Why it failed or was stopped; empty otherwise.
        scores: Every metric by name (`accuracy`, `test_accuracy`, ...) in its own orientation.
        learning_curve: Validation performance after each unit of fidelity, `(E,)`; up to where it was stopped.
        fidelity_unit: What is counted: `epochs`, `steps`, ...
    """

    task_id: str
    family: str
    learner: str
    configuration: Configuration
    strategy: str
    seed: int
    fidelity: int
    performance: float
    test_performance: float
    duration_s: float
    status: Status = "ok"
    reason: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    learning_curve: tuple[float, ...] = ()
    fidelity_unit: str = "epochs"

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InvalidTableError(
                f"status must be one of {', '.join(STATUSES)}; got {self.status!r} on {self.task_id!r}."
            )
        if self.status == "ok" and not math.isfinite(self.performance):
            raise InvalidTableError(
                f"A trial that is ok needs a finite performance; got {self.performance} on {self.task_id!r}."
            )
        if self.status != "ok" and (not self.reason or math.isfinite(self.performance)):
            raise InvalidTableError(
                f"A trial that is {self.status} needs a reason and no performance; got {self.performance} on "
                f"{self.task_id!r}."
            )
        if self.fidelity < 1 or self.duration_s < 0:
            raise InvalidTableError(
                f"Impossible effort on {self.task_id!r}: {self.fidelity} {self.fidelity_unit}, {self.duration_s} s."
            )

    @classmethod
    def told(cls, configuration: Configuration, performance: float) -> "Trial":
        """Return a trial of which no more is known than this: what a strategy needs to hear.

        Args:
            configuration: What was tried.
            performance: What it gave, higher is better; NaN where the training failed.
        """
        is_ok = math.isfinite(performance)
        return cls(
            task_id="told",
            family="told",
            learner="told",
            configuration=configuration,
            strategy="told",
            seed=0,
            fidelity=1,
            performance=performance if is_ok else math.nan,
            test_performance=math.nan,
            duration_s=0.0,
            status="ok" if is_ok else "failed",
            reason="" if is_ok else "told without a score",
        )

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        """What tells the trials of one task apart."""
        return self.learner, self.strategy, self.seed, self.fidelity, self.configuration_id

    @property
    def configuration_id(self) -> str:
        """Name of the configuration by its content."""
        return configuration_id(self.configuration)
