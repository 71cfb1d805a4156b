"""The learner `mlp`: multi-layer perceptrons, many of them trained at once by one of several engines.

The one thing to know: every engine follows the same recipes (`mlp/recipe.py`). On the CPU the compiled one trains, one
network a processor; on a GPU the stacked one; plain PyTorch is the reference that both are tested against.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.devices import Device, find_device, has_gpu
from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray, FoldOutcome
from metaflow_hpo.learners.isolation import ThreadedLearner
from metaflow_hpo.learners.learner import Fidelity, Judge, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits
from metaflow_hpo.learners.mlp.recipe import (
    SPACE,
    Recipe,
    Start,
    Trained,
    draw_start,
    make_recipe,
    to_outcome,
)
from metaflow_hpo.learners.stages import train_in_stages
from metaflow_hpo.learners.threads import train_in_threads
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration, SearchSpace

if TYPE_CHECKING:
    from metaflow_hpo.learners.mlp.numba_engine import PausedTraining

Engine = Literal["auto", "numba", "stacked", "torch"]


@dataclass(frozen=True)
class MLP(ThreadedLearner):
    """Multi-layer perceptrons for classification and regression.

    Attributes:
        engine: `numba` (compiled, one configuration a processor), `stacked` (PyTorch, many networks in one product; for
            a GPU), `torch` (plain PyTorch, the reference), or `auto`: stacked on a GPU, numba without.
        device: Where the PyTorch engines run; `auto` takes a GPU if there is one. Numba knows the CPU only.
        workers: Threads of the numba engine; None for one a processor.
        limits: What one trial may cost.
    """

    engine: Engine = "auto"
    device: Device = "auto"
    workers: int | None = None
    limits: Limits = NO_LIMITS
    name: ClassVar[str] = "mlp"
    modalities: ClassVar[tuple[str, ...]] = ("table",)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity("epochs", 50)

    def __post_init__(self) -> None:
        if self.engine == "numba" and self.device == "cuda":
            raise MetaflowHPOError(
                "The numba engine runs on the CPU, got device 'cuda': use engine='stacked' or 'auto'."
            )

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

        The PyTorch engines do not ask the judge.

        Raises:
            SearchSpaceMismatchError: If a configuration or `epochs` is outside the search space.
            MetaflowHPOError: If `device` is `cuda` and there is none.
        """
        if judge is not None and self._find_engine() == "numba":
            return self._train_judged(folds, configurations, seed, epochs, judge)
        recipes, costs, draw = self._prepare(folds, configurations, seed, epochs)
        if self._find_engine() == "stacked":
            from metaflow_hpo.learners.mlp import stacked_engine

            device = find_device(self.device)
            return stacked_engine.train_population(folds, recipes, draw, costs, self.limits, device)
        train_network, measure_mb, workers = self._start_engine()
        needed_mb = [max(map(measure_mb, folds, row), default=0.0) for row in recipes]

        def train_member(index: int, number: int, stop: Flag) -> FoldOutcome:
            began, recipe, fold = time.perf_counter(), recipes[index][number], folds[number]
            if reason := self.limits.describe_memory(needed_mb[index]):
                return FoldOutcome.failed(reason, 0.0)
            trained = train_network(fold, recipe, draw(index, number), stop)
            return to_outcome(trained, recipe, time.perf_counter() - began, self.limits)

        return train_in_threads(train_member, costs, workers, self.limits)

    def _train_judged(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], seed: int, epochs: int, judge: Judge
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        from metaflow_hpo.learners.mlp import numba_engine

        numba_engine.warm_up()
        recipes, costs, draw = self._prepare(folds, configurations, seed, epochs)
        needed_mb = [max(map(numba_engine.measure_mb, folds, row), default=0.0) for row in recipes]
        too_large = [self.limits.describe_memory(needed) for needed in needed_mb]
        fitting = [index for index, reason in enumerate(too_large) if not reason]

        def begin(position: int, number: int) -> _Stages:
            index = fitting[position]
            recipe, start = recipes[index][number], draw(index, number)
            training = numba_engine.PausedTraining(start.parameters, folds[number], recipe, start)
            return _Stages(training, recipe, self.limits)

        def train() -> Iterator[tuple[int, list[FoldOutcome]]]:
            for index, reason in enumerate(too_large):
                if reason:
                    yield index, [FoldOutcome.failed(reason, 0.0)] * len(folds)
            staged = train_in_stages(begin, costs[fitting], epochs, judge, self.workers, self.limits)
            for position, outcomes in staged:
                yield fitting[position], outcomes

        return train()

    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`."""
        return _cost(folds, _make_recipes(folds, configurations, epochs))

    def _prepare(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], seed: int, epochs: int
    ) -> tuple[list[list[Recipe]], NDArray[np.float64], Callable[[int, int], Start]]:
        """Check the request; return recipes and costs by configuration and fold, and what draws their starts."""
        chosen = check_request(self.space, self.fidelity, configurations, epochs)
        recipes = _make_recipes(folds, chosen, epochs)

        def draw(index: int, number: int) -> Start:
            fold = folds[number]
            return draw_start(recipes[index][number], len(fold.x_train), seed, chosen[index], fold.number)

        return recipes, _cost(folds, recipes), draw

    def _find_engine(self) -> Engine:
        if self.engine != "auto":
            return self.engine
        return "stacked" if self.device == "cuda" or (self.device == "auto" and has_gpu()) else "numba"

    def _start_engine(
        self,
    ) -> tuple[Callable[[Fold, Recipe, Start, Flag], Trained], Callable[[Fold, Recipe], float], int | None]:
        """Return what trains a network, what tells the memory it needs, and the number of threads to call them from."""
        if self._find_engine() == "torch":
            from metaflow_hpo.learners.mlp import torch_engine

            device = find_device(self.device)

            def train_network(fold: Fold, recipe: Recipe, start: Start, stop: Flag) -> Trained:
                return torch_engine.train_network(fold, recipe, start, device, stop)

            return train_network, torch_engine.measure_mb, 1
        from metaflow_hpo.learners.mlp import numba_engine

        numba_engine.warm_up()
        return numba_engine.train_network, numba_engine.measure_mb, self.workers


@dataclass
class _Stages:
    """A training that pauses between epochs."""

    training: "PausedTraining"
    recipe: Recipe
    limits: Limits
    duration_s: float = 0.0

    def advance(self, epochs: int, stop: Flag) -> FoldOutcome | None:
        """Train until so many epochs are done; see `Stageable.advance`."""
        began = time.perf_counter()
        self.training.advance(epochs, stop)
        self.duration_s += time.perf_counter() - began
        _, _, losses = measured = self.training.measured
        goes_on = len(losses) == epochs < len(self.recipe.learning_rates) and losses[-1] <= MAX_LOSS
        return None if goes_on else to_outcome(measured, self.recipe, self.duration_s, self.limits)

    @property
    def learning_curve(self) -> FloatArray:
        """`(e,)` so far."""
        return self.training.measured[1]


def _make_recipes(folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int) -> list[list[Recipe]]:
    return [[make_recipe(configuration, fold, epochs) for fold in folds] for configuration in configurations]


def _cost(folds: Sequence[Fold], recipes: Sequence[Sequence[Recipe]]) -> NDArray[np.float64]:
    costs = [[recipe.cost * len(fold.x_train) for fold, recipe in zip(folds, row, strict=True)] for row in recipes]
    return np.array(costs, np.float64).reshape(len(recipes), len(folds))
