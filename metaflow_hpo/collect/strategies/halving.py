"""The strategy `halving`: Hyperband, which trains many configurations briefly and the best of them longer.

Nothing is continued: learning-rate schedules span the training, so every rung is a complete training from the start,
and its performances compare with those of the same fidelity only.
"""

import itertools
from collections.abc import Sequence

from metaflow_hpo.collect.strategies.listed import make_random
from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext
from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.space import Configuration, configuration_id
from metaflow_hpo.trial import Trial

ETA = 3
"""One configuration in `ETA` of a rung goes on, to `ETA` times the fidelity."""

MAX_HALVINGS = 3
"""The lowest rung trains 1/27 of the fidelity: a network learns nothing in less."""


def make_halving(context: StrategyContext) -> "HalvingStrategy":
    """Make Hyperband on random configurations."""
    return HalvingStrategy(make_random(context), fidelity=context.fidelity, budget=context.budget)


class HalvingStrategy(Strategy):
    """Proposes rung by rung, in the brackets of Hyperband.

    A bracket is one successive halving: it draws configurations for its lowest rung, and the best third of each rung is
    trained again at three times the fidelity, up to the full fidelity. The brackets of a cycle start at ever higher
    rungs, the last at the full fidelity, for tasks where short trainings mislead; cycles repeat with new
    configurations. With a fidelity of 50 a cycle of 69 trials is (configurations x fidelity)

        27 x 2,  9 x 6,  3 x 17, 1 x 50
                12 x 6,  4 x 17, 1 x 50
                         6 x 17, 2 x 50
                                 4 x 50

    and each line costs about four trainings at full fidelity. A bracket for which the rest of the budget is too small
    has fewer configurations, or gives way to the next one, so that the full fidelity is reached with any budget. Failed
    trials never go on.

    Args:
        source: Where new configurations come from.
        fidelity: Full fidelity, that of the highest rung; at least `ETA`.
        budget: Trials of the whole search, those of all rungs together, at least 1.

    Raises:
        SearchSpaceMismatchError: If the fidelity is too low for more than one rung.

    References:
        Successive halving: Jamieson & Talwalkar 2016, arXiv:1502.07943. Hyperband: Li et al. 2018, arXiv:1603.06560.
    """

    def __init__(self, source: Strategy, *, fidelity: int, budget: int) -> None:
        self._source = source
        self._fidelities = rung_fidelities(fidelity)
        self._left = budget
        self._waiting: list[Configuration] = []
        self._brackets = itertools.cycle(reversed(range(len(self._fidelities))))
        self._start_bracket()

    @property
    def batch_size(self) -> int:
        """What the present rung still has to train."""
        return max(len(self._waiting), 1)

    @property
    def fidelity(self) -> int:
        """Fidelity of the present rung."""
        return self._fidelities[self._rung]

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations of the present rung, at most `count`; none until it has heard of all."""
        asked, self._waiting = self._waiting[:count], self._waiting[count:]
        return asked

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; with the last one of a rung its best go on, or a new bracket starts."""
        for trial in trials:
            name = trial.configuration_id
            if trial.fidelity == self.fidelity and name in self._rung_names and name not in self._heard:
                self._hear(trial)

    def _hear(self, trial: Trial) -> None:
        self._heard[trial.configuration_id] = trial
        self._waiting = [c for c in self._waiting if configuration_id(c) != trial.configuration_id]
        self._left -= 1
        if len(self._heard) < len(self._rung_names):
            return
        # In the order of the proposals, whichever was finished first.
        best = promote([self._heard[name] for name in self._rung_names])
        if best and self._rung + 1 < len(self._fidelities):
            self._start_rung(self._rung + 1, best)
        else:
            self._start_bracket()

    def _start_bracket(self) -> None:
        most = len(self._fidelities) - 1
        if self._left < 1:
            self._start_rung(most, [])
            return
        size = 0
        while not size:  # the last bracket of a cycle is content with one trial
            halvings = next(self._brackets)
            size = bracket_size(halvings, most, self._left)
        self._start_rung(most - halvings, self._source.ask(size))

    def _start_rung(self, rung: int, configurations: list[Configuration]) -> None:
        self._rung = rung
        self._rung_names = [configuration_id(configuration) for configuration in configurations]
        self._waiting = configurations
        self._heard: dict[str, Trial] = {}


def rung_fidelities(fidelity: int) -> list[int]:
    """Return the fidelity of each rung, lowest first: the full one divided by powers of `ETA`, rounded up.

    Raises:
        SearchSpaceMismatchError: If there is one rung only.
    """
    most = next(halvings for halvings in range(MAX_HALVINGS, -1, -1) if fidelity >= ETA**halvings)
    if most == 0:
        raise SearchSpaceMismatchError(
            f"The strategy 'halving' compares shorter trainings and needs a full fidelity of at least {ETA}; got "
            f"{fidelity}. Raise the fidelity, or take another strategy for a learner that has but one."
        )
    return [-(-fidelity // ETA**halvings) for halvings in range(most, -1, -1)]


def bracket_size(halvings: int, most: int, left: int) -> int:
    """Return how many configurations a bracket starts with: Hyperband's number, or as many as `left` trials allow.

    Args:
        halvings: Rungs of the bracket above its lowest, 0 to `most`.
        most: Rungs of the longest bracket above its lowest.
        left: Trials left for all rungs of the bracket.

    Returns:
        At least `ETA ** halvings`, so that one reaches the highest rung; 0 where `left` is too small for that.
    """
    smallest = ETA**halvings
    planned = -(-(most + 1) * smallest // (halvings + 1))
    sizes = range(planned, smallest - 1, -1)
    return next((size for size in sizes if sum(size // ETA**rung for rung in range(halvings + 1)) <= left), 0)


def promote(trials: Sequence[Trial]) -> list[Configuration]:
    """Return the configurations of a rung that go on, best first, earlier ones first among equals.

    Args:
        trials: The trials of the rung, `N`, in the order of the proposals.

    Returns:
        `N // ETA` configurations, at least one; fewer where more have failed.
    """
    ok = sorted((trial for trial in trials if trial.status == "ok"), key=lambda trial: -trial.performance)
    return [trial.configuration for trial in ok[: max(len(trials) // ETA, 1)]]
