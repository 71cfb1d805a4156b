"""The learner `realmlp`: networks for tables with what is known to pay there, trained by a compiled engine."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.anchored import read_anchors
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.isolation import ThreadedLearner
from metaflow_hpo.learners.learner import Fidelity, Judge, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits
from metaflow_hpo.learners.realmlp.recipe import SPACE, SUMS, WAVES
from metaflow_hpo.learners.stages import train_in_stages
from metaflow_hpo.learners.threads import train_in_threads
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration, SearchSpace

if TYPE_CHECKING:
    from metaflow_hpo.learners.realmlp.engine import Training


@dataclass(frozen=True)
class RealMLP(ThreadedLearner):
    """Networks for classification and regression after RealMLP and TabM, on the CPU.

    Attributes:
        workers: Threads; None for one a processor.
        limits: What one trial may cost.
    """

    workers: int | None = None
    limits: Limits = NO_LIMITS
    name: ClassVar[str] = "realmlp"
    modalities: ClassVar[tuple[str, ...]] = ("table",)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity("epochs", 50)

    @property
    def anchors(self) -> tuple[Configuration, ...]:
        """What did well on other tables; see `Anchored`."""
        return read_anchors(self.name, self.space)

    def train_folds(
        self,
        folds: Sequence[Fold],
        configurations: Sequence[Configuration],
        *,
        seed: int,
        epochs: int,
        judge: Judge | None = None,
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        """Train every configuration on every fold; see `ArrayLearner.train_folds`.

        Raises:
            SearchSpaceMismatchError: If a configuration or `epochs` is outside the search space.
        """
        from metaflow_hpo.learners.realmlp import engine

        chosen = check_request(self.space, self.fidelity, configurations, epochs)
        costs = self.measure_costs(folds, chosen, epochs)
        engine.warm_up()

        def begin(index: int, number: int) -> "Training":
            return engine.Training(folds[number], chosen[index], seed=seed, epochs=epochs, limits=self.limits)

        def train_member(index: int, number: int, stop: Flag) -> FoldOutcome:
            return begin(index, number).advance(epochs, stop) or FoldOutcome.failed("stopped", 0.0)

        if judge is None:
            return train_in_threads(train_member, costs, self.workers, self.limits)
        return train_in_stages(begin, costs, epochs, judge, self.workers, self.limits)

    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`."""
        costs = [[_cost(configuration, fold) for fold in folds] for configuration in configurations]
        return np.array(costs, np.float64).reshape(len(configurations), len(folds))


def _cost(configuration: Configuration, fold: Fold) -> float:
    """Return about how many multiplications an epoch takes, plus a share for the work around them."""
    columns, width = fold.x_train.shape[1], int(configuration["width"])
    waves = WAVES if configuration["embedding"] == "periodic" else 0
    inputs = columns * (1 + SUMS if waves else 1)
    layers = [inputs, *[width] * int(configuration["layers"]), fold.classes or 1]
    passed = sum(a * b + 60 * b for a, b in pairwise(layers)) + 10 * inputs
    steps = math.ceil(len(fold.x_train) / int(configuration["batch_size"]))
    stepped = 5 * sum(a * b for a, b in pairwise(layers)) * steps
    passed = passed * int(configuration["members"]) + 60 * columns * waves
    return float(passed * len(fold.x_train) + stepped)
