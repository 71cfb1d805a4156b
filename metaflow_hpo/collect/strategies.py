"""Search strategies: who proposes the next configurations of a search.

The one thing to know: a strategy is replayed, never stored. Told the same trials it asks for the same configurations,
bit for bit, so a killed search resumes by telling its finished trials again.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.space import Array, Configuration, SearchSpace, configuration_id
from metaflow_hpo.trial import Trial

STRATEGIES = ("sobol", "random", "grid", "tpe", "hyperopt", "halving")
"""Names `make_strategy` accepts."""

UNLIMITED = sys.maxsize
"""Batch size of a strategy that does not learn from what it is told."""

_SOBOL_SEED = 20_000
_DRY_ROUNDS = 8


class Strategy(Protocol):
    """Proposes configurations and hears how they performed."""

    @property
    def batch_size(self) -> int:
        """How many configurations it may be asked for now without hearing back, at least 1."""

    @property
    def fidelity_epochs(self) -> int | None:
        """Epochs at which the next ones are to be trained; None, as here, for the full fidelity of the search."""
        return None

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`; fewer where the space is exhausted.

        None has been proposed before at the same fidelity.
        """

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear the outcome of configurations it asked for, in the order it asked for them."""


class ListedStrategy(Strategy):
    """A strategy that reads its configurations from an endless list, whatever it is told.

    Args:
        source: Returns the first `n` configurations of the list, repetitions included; fewer if it ends before.
    """

    def __init__(self, source: Callable[[int], list[Configuration]]) -> None:
        self._source = source
        self._asked = 0

    @property
    def batch_size(self) -> int:
        """No limit: nothing it hears changes what it proposes."""
        return UNLIMITED

    def ask(self, count: int) -> list[Configuration]:
        """Return the next `count` distinct configurations of the list."""
        wanted = self._asked + count
        distinct: dict[str, Configuration] = {}
        length, dry = max(wanted, 1), 0
        # A small discrete space repeats itself: look further until several doublings bring nothing new.
        while len(distinct) < wanted and dry < _DRY_ROUNDS:
            before = len(distinct)
            for configuration in self._source(length):
                distinct.setdefault(configuration_id(configuration), configuration)
            dry = 0 if len(distinct) > before else dry + 1
            length *= 2
        found = list(distinct.values())[self._asked : wanted]
        self._asked += len(found)
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes, and ignore them."""


def make_strategy(name: str, space: SearchSpace, *, seed: int, budget: int, epochs: int) -> Strategy:
    """Build a strategy.

    Args:
        name: One of `STRATEGIES`. `sobol` gives the same configurations on every task whatever the seed, the default of
            the space first: the shared core that makes tasks comparable.
        space: The search space.
        seed: Seed of the strategies that draw (`random`, `tpe`, `hyperopt`, `halving`).
        budget: Number of trials of the search, at least 1; it sizes the grid and the brackets of `halving`.
        epochs: Full fidelity of the search, the highest rung of `halving`.

    Raises:
        SearchSpaceMismatchError: If there is no strategy of this name, or `halving` has too few epochs.

    References:
        Sobol sequence: Sobol 1967, scrambled as in Owen 1998. TPE: Bergstra et al. 2011; multivariate: Watanabe 2023,
        arXiv:2304.11127. Halving: Li et al. 2018, arXiv:1603.06560.
    """
    match name:
        case "sobol":
            return ListedStrategy(lambda length: sobol_configurations(space, length))
        case "random":
            return ListedStrategy(lambda length: _random_configurations(space, length, seed))
        case "grid":
            grid = [space.validate(configuration) for configuration in space.grid(budget)]
            return ListedStrategy(lambda _: grid)
        case "tpe":
            from metaflow_hpo.collect.optuna_strategy import OptunaStrategy

            return OptunaStrategy(space, seed=seed)
        case "hyperopt":
            from metaflow_hpo.collect.hyperopt_strategy import HyperoptStrategy

            return HyperoptStrategy(space, seed=seed)
        case "halving":
            from metaflow_hpo.collect.halving_strategy import HalvingStrategy

            drawn = ListedStrategy(lambda length: _random_configurations(space, length, seed))
            return HalvingStrategy(drawn, epochs=epochs, budget=budget)
        case _:
            raise SearchSpaceMismatchError(f"The strategy must be one of {', '.join(STRATEGIES)}; got {name!r}.")


def sobol_configurations(space: SearchSpace, length: int) -> list[Configuration]:
    """Return the default configuration of a space and the first `length - 1` points of one fixed Sobol sequence.

    Args:
        space: The search space; its `D` hyperparameters are the dimensions.
        length: Number of configurations, at least 1. A shorter list is a prefix of a longer one.

    Returns:
        `length` configurations; a discrete space may repeat some.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(space.hyperparameters), scramble=True, rng=np.random.default_rng(_SOBOL_SEED))
    # Whole powers of two keep the balance of the sequence, and scipy quiet.
    units = sequence.random_base2(max(length - 1, 1).bit_length())[: length - 1]
    return [space.validate(space.default), *space.from_unit(units)]


def _random_configurations(space: SearchSpace, length: int, seed: int) -> list[Configuration]:
    units: Array = np.random.default_rng(seed).random((length, len(space.hyperparameters)))
    return space.from_unit(units)


def performances_with_failures(trials: Sequence[Trial]) -> list[float]:
    """Return the performance of each trial, failed ones counting as the worst of the others.

    A stopped trial counts as what it had reached: more is not known, and it was too little.

    Args:
        trials: What a strategy has been told, `N` trials.

    Returns:
        `N` finite numbers, higher is better; 0 for all where every trial failed.
    """
    worst = min((trial.performance for trial in trials if trial.status == "ok"), default=0.0)
    instead = [trial.learning_curve[-1] if trial.status == "stopped" else worst for trial in trials]
    return [t.performance if t.status == "ok" else other for t, other in zip(trials, instead, strict=True)]


def canonical(space: SearchSpace, values: Configuration) -> Configuration:
    """Return the canonical configuration nearest to what a sampler drew, clipped to the ranges.

    Args:
        space: The search space.
        values: A value for every active hyperparameter; the value of an inactive one is ignored.
    """
    return space.from_unit(np.clip(space.to_unit([values]), 0.0, 1.0))[0]
