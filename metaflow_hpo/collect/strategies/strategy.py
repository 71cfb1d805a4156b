"""What a strategy is: it proposes configurations (ask) and hears what came of them (tell).

A strategy is replayed, never stored: told the same trials it asks for the same configurations, so a killed search
resumes by telling its finished trials again.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.space import Array, Configuration, SearchSpace, configuration_id
from metaflow_hpo.trial import Trial

UNLIMITED = sys.maxsize
"""Batch size of a strategy that does not learn from what it is told."""


class Strategy(Protocol):
    """Proposes configurations and hears how they performed.

    What it asked for and has not heard of is pending: it is not asked for again, and may be asked beyond `batch_size`.
    Proposals depend on the seed, on how many were asked for, and on what was told.
    """

    @property
    def batch_size(self) -> int:
        """How many configurations it is best asked for at once, without hearing back; at least 1."""

    @property
    def fidelity(self) -> int | None:
        """Fidelity at which the next ones are to be trained; None, as here, for the full one of the search."""
        return None

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`; fewer where it has no more to propose.

        None has been proposed or told before at the same fidelity.
        """

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes: of what it asked for, or of anything else that was tried on the task."""


@dataclass(frozen=True)
class StrategyContext:
    """What a strategy is made from.

    Attributes:
        space: The search space, of D hyperparameters.
        seed: Seed of everything random.
        budget: Trials of the whole search, at least 1.
        fidelity: Full fidelity of the search.
        parallel: How many trials are trained at once: the batch size of strategies that learn from them.
        pool: Configurations to which proposals are confined; None for the whole space.
        past: Past tasks, for strategies that learn from them; None where there are none.
        meta_features: `(M,)` of the task, raw, NaN where not known; None where nothing is known of it.
        anchors: Configurations of the learner that everyone tries, see `Anchored`.
    """

    space: SearchSpace
    seed: int = 0
    budget: int = 1
    fidelity: int = 1
    parallel: int = 4
    pool: Pool | None = None
    past: PastTasks | None = None
    meta_features: Array | None = None
    anchors: Sequence[Configuration] = ()


StrategyFactory = Callable[[StrategyContext], Strategy]
"""Makes a strategy; what a plug-in registers."""


@dataclass
class Record:
    """What was asked for and what was told.

    Attributes:
        told: Trials, in the order of telling.
        pending: Configurations asked for and not told yet, by name, in the order of asking.
    """

    told: list[Trial] = field(default_factory=list)
    pending: dict[str, Configuration] = field(default_factory=dict)
    _told_names: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.told) + len(self.pending)

    def __contains__(self, name: str) -> bool:
        return name in self.pending or name in self._told_names

    def ask(self, configuration: Configuration) -> None:
        """Remember what is asked for."""
        self.pending[configuration_id(configuration)] = configuration

    def tell(self, trials: Sequence[Trial]) -> None:
        """Remember what is told."""
        for trial in trials:
            name = trial.configuration_id
            self.told.append(trial)
            self._told_names.add(name)
            self.pending.pop(name, None)

    @property
    def performance(self) -> list[float]:
        """Performance of each told trial, see `performances_with_failures`."""
        return performances_with_failures(self.told)

    def generator(self, seed: int) -> np.random.Generator:
        """Return a generator that depends on the seed and on how many trials were asked for."""
        return np.random.default_rng([seed, len(self)])


class OneByOneStrategy(Strategy):
    """Proposes one configuration after the other, each in view of the record; subclasses say which is next.

    Args:
        batch_size: See `Strategy`.
    """

    def __init__(self, batch_size: int = UNLIMITED) -> None:
        self._batch_size = batch_size
        self._record = Record()

    @property
    def batch_size(self) -> int:
        """How many configurations it is best asked for at once."""
        return self._batch_size

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations."""
        found: list[Configuration] = []
        while len(found) < count and (configuration := self.propose()) is not None:
            self._record.ask(configuration)
            found.append(configuration)
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes."""
        self._record.tell(trials)

    def propose(self) -> Configuration | None:
        """Return a configuration that is not in the record; None where there is no more to propose."""
        raise NotImplementedError


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
