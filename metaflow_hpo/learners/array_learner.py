"""The base of learners that see arrays: trained on folds, cross-validated, refitted for the test rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.folds import cross_validate, prepare_folds, score_refit
from metaflow_hpo.learners.learner import Fidelity, Judge, Outcome, check_request, ending
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration, SearchSpace


class ArrayLearner(ABC):
    """A learner that never sees a task: it gets arrays prepared on their own training rows, and returns predictions."""

    @property
    @abstractmethod
    def modalities(self) -> tuple[str, ...]:
        """Kinds of inputs whose arrays it trains on."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, as in `--learner`."""

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The search space."""

    @property
    @abstractmethod
    def fidelity(self) -> Fidelity:
        """Full fidelity, in epochs."""

    @abstractmethod
    def train_folds(
        self,
        folds: Sequence[Fold],
        configurations: Sequence[Configuration],
        *,
        seed: int,
        epochs: int,
        judge: Judge | None = None,
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        """Train every configuration on every fold.

        Args:
            folds: The splits; all have items of the same shape, and the same number of classes.
            configurations: Valid configurations of `space`.
            seed: Seed of initialisation, mini-batch order and dropout; the same seed gives the same bits whatever
                else is trained in the same call.
            epochs: Fidelity, 1 to `fidelity.maximum`.
            judge: Is asked after each of its checkpoints below `epochs`, by a learner whose trainings can pause. What
                it does not stop has the very outcomes of a call without it. Only without the fold of the test rows.

        Yields:
            `(position in configurations, one outcome a fold)`, in the order in which configurations are finished;
            stopped ones have learning curves only.
        """

    @abstractmethod
    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`: what takes longest is started first."""

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
        """Cross-validate every configuration; see `Learner.train`.

        Performance is the task's metric on the validation rows of each fold, averaged over the folds. The learning
        curve is balanced accuracy or R2 (floored at 0) whatever the metric.

        Raises:
            SearchSpaceMismatchError: If a configuration or the fidelity is outside the search space.
            MetaflowHPOError: If there is a judge and a refit.
        """
        if refit and judge is not None:
            raise MetaflowHPOError("A judge would see the test rows in the refit: pass refit=False.")
        chosen = check_request(self.space, self.fidelity, configurations, fidelity)
        return self._train(data, chosen, fidelity, seed, judge, refit)

    def _train(
        self,
        data: Any,
        chosen: Sequence[Configuration],
        fidelity: int,
        seed: int,
        judge: Judge | None,
        refit: bool,
    ) -> Iterator[tuple[int, Outcome]]:
        folds = prepare_folds(data)
        wanted = folds if refit else folds[:-1]
        trained = self.train_folds(wanted, chosen, seed=seed, epochs=fidelity, judge=judge)
        with ending(trained) as finished:
            for index, outcomes in finished:
                yield index, cross_validate(data.task, folds, outcomes)

    def refit(self, data: Any, configuration: Configuration, *, fidelity: int, seed: int) -> Outcome:
        """Train a configuration on all training rows and score it on the test rows; see `Refitting.refit`."""
        fold = prepare_folds(data)[-1]
        [(_, [outcome])] = self.train_folds([fold], [configuration], seed=seed, epochs=fidelity)
        return score_refit(data.task, fold, outcome)
