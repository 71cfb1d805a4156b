"""What was tried on a new task: as configurations, and by position in a pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metaflow_hpo.history import Array, IntArray
from metaflow_hpo.space import Configuration, configuration_id


@dataclass(frozen=True)
class ObservedTrial:
    """A trial made on the new task: a configuration of the learner and its performance, higher is better."""

    configuration: Configuration
    performance: float


@dataclass(frozen=True)
class Observed:
    """What was tried on the new task, by position in a pool.

    Attributes:
        positions: `(N,)` positions in the pool, in the order of trying.
        performance: `(N,)` what they gave, higher is better.
    """

    positions: IntArray
    performance: Array

    @classmethod
    def nothing(cls) -> "Observed":
        """Return the state before the first trial."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0))

    def with_trial(self, position: int, performance: float) -> "Observed":
        """Return this and one more trial."""
        return Observed(np.append(self.positions, position), np.append(self.performance, performance))


def place(
    pool: Mapping[str, int], observed: Sequence[Configuration], more: Sequence[Configuration] = ()
) -> tuple[list[Configuration], IntArray]:
    """Return what of `observed` and `more` lies beside a pool, and the positions of `observed` on both together.

    Args:
        pool: `(P,)` positions of configurations by name.
        observed: `(N,)` configurations, repetitions allowed.
        more: Other configurations.

    Returns:
        The distinct configurations beside the pool, those of `observed` first; positions `(N,)`.
    """
    beside: dict[str, Configuration] = {}
    for configuration in (*observed, *more):
        name = configuration_id(configuration)
        if name not in pool:
            beside.setdefault(name, configuration)
    behind = {name: len(pool) + n for n, name in enumerate(beside)}
    names = [configuration_id(configuration) for configuration in observed]
    positions = [pool[name] if name in pool else behind[name] for name in names]
    return list(beside.values()), np.array(positions, dtype=np.int64)


def best_free(score: Array, tried: IntArray | Sequence[int]) -> int | None:
    """Return the position of the greatest score `(P,)` that was not tried; ties go to the first."""
    free = np.array(score, dtype=np.float64)
    free[np.asarray(tried, dtype=np.int64)] = -np.inf
    best = int(np.argmax(free))
    return best if np.isfinite(free[best]) else None
