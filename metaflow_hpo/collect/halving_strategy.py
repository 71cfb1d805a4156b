"""The strategy `halving`: Hyperband, which trains many configurations briefly and the best of them longer.

The one thing to know: nothing is continued. Learning-rate schedules span the epochs trained, so every rung is a
complete training from the start, and its performances compare with those of the same number of epochs only.
"""

import itertools
from collections.abc import Sequence

from metaflow_hpo.collect.strategies import Strategy
from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.space import Configuration
from metaflow_hpo.trial import Trial

ETA = 3
"""One configuration in `ETA` of a rung goes on, to `ETA` times the epochs."""

MAX_HALVINGS = 3
"""The lowest rung trains 1/27 of the epochs: a network learns nothing in less."""


class HalvingStrategy(Strategy):
    """Proposes rung by rung, in the brackets of Hyperband.

    A bracket is one successive halving: it draws configurations for its lowest rung, and the best third of each rung is
    trained again at three times the epochs, up to the full fidelity. The brackets of a cycle start at ever higher
    rungs, the last at the full fidelity, for tasks where short trainings mislead; cycles repeat with new
    configurations. With 50 epochs a cycle of 69 trials is (configurations x epochs)

        27 x 2,  9 x 6,  3 x 17, 1 x 50
                12 x 6,  4 x 17, 1 x 50
                         6 x 17, 2 x 50
                                 4 x 50

    and each line costs about four trainings at full fidelity. A bracket for which the rest of the budget is too small
    has fewer configurations, or gives way to the next one, so that the full fidelity is reached with any budget. Failed
    trials never go on.

    Args:
        source: Where new configurations come from.
        epochs: Full fidelity, the epochs of the highest rung; at least `ETA`.
        budget: Trials of the whole search, those of all rungs together, at least 1.

    Raises:
        SearchSpaceMismatchError: If there are too few epochs for more than one rung.

    References:
        Successive halving: Jamieson & Talwalkar 2016, arXiv:1502.07943. Hyperband: Li et al. 2018, arXiv:1603.06560.
    """

    def __init__(self, source: Strategy, *, epochs: int, budget: int) -> None:
        self._source = source
        self._epochs = rung_epochs(epochs)
        self._left = budget
        self._waiting: list[Configuration] = []
        self._heard: list[Trial] = []
        self._brackets = itertools.cycle(reversed(range(len(self._epochs))))
        self._start_bracket()

    @property
    def batch_size(self) -> int:
        """What the present rung still has to train."""
        return max(len(self._waiting), 1)

    @property
    def fidelity_epochs(self) -> int:
        """Epochs of the present rung."""
        return self._epochs[self._rung]

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations of the present rung, at most `count`; none until it has heard of all."""
        asked, self._waiting = self._waiting[:count], self._waiting[count:]
        return asked

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; with the last one of a rung its best go on, or a new bracket starts."""
        self._heard += trials
        self._left -= len(trials)
        if len(self._heard) < self._size:
            return
        best = promote(self._heard)
        if best and self._rung + 1 < len(self._epochs):
            self._start_rung(self._rung + 1, best)
        else:
            self._start_bracket()

    def _start_bracket(self) -> None:
        most = len(self._epochs) - 1
        if self._left < 1:
            self._start_rung(most, [])
            return
        size = 0
        while not size:  # the last bracket of a cycle is content with one trial
            halvings = next(self._brackets)
            size = bracket_size(halvings, most, self._left)
        self._start_rung(most - halvings, self._source.ask(size))

    def _start_rung(self, rung: int, configurations: list[Configuration]) -> None:
        self._rung, self._size = rung, len(configurations)
        self._waiting, self._heard = configurations, []


def rung_epochs(epochs: int) -> list[int]:
    """Return the epochs of each rung, lowest first: `epochs` divided by powers of `ETA`, rounded up.

    Raises:
        SearchSpaceMismatchError: If there is one rung only.
    """
    most = next(halvings for halvings in range(MAX_HALVINGS, -1, -1) if epochs >= ETA**halvings)
    if most == 0:
        raise SearchSpaceMismatchError(
            f"The strategy 'halving' compares shorter trainings and needs at least {ETA} epochs at full fidelity; got "
            f"{epochs}. Raise the fidelity, or take another strategy for a learner without epochs."
        )
    return [-(-epochs // ETA**halvings) for halvings in range(most, -1, -1)]


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
