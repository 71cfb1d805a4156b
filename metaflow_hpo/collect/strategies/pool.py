"""A pool: the configurations to which proposals are confined, such as those that a history has recorded."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metaflow_hpo.space import Array, Configuration, SearchSpace, configuration_id


@dataclass(frozen=True)
class Pool:
    """Configurations of a search space by position.

    Attributes:
        space: The search space.
        configurations: `(P,)` distinct configurations.
    """

    space: SearchSpace
    configurations: tuple[Configuration, ...]

    def __len__(self) -> int:
        return len(self.configurations)

    @cached_property
    def points(self) -> Array:
        """`(P, D)` encoded configurations."""
        return self.space.encode(self.configurations)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """`(P,)` names of the configurations."""
        return tuple(configuration_id(configuration) for configuration in self.configurations)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position by name."""
        return {name: position for position, name in enumerate(self.names)}

    def nearest(self, configuration: Configuration, taken: Collection[int] = ()) -> int | None:
        """Return the position of the configuration nearest to one of the space, None where all are `taken`."""
        if len(taken) >= len(self):
            return None
        squared = ((self.points - self.space.encode([configuration])[0]) ** 2).sum(axis=1)
        squared[list(taken)] = np.inf
        return int(np.argmin(squared))

    def nearest_free(self, configurations: Iterable[Configuration]) -> Iterator[int]:
        """Yield for each configuration the position of the nearest one that no earlier one has taken."""
        taken: set[int] = set()
        for configuration in configurations:
            position = self.nearest(configuration, taken)
            if position is None:
                return
            taken.add(position)
            yield position
