"""What a recommender is: it orders the configurations of a pool for a task it knows only by its meta-features."""

from typing import Protocol

from metaflow_hpo.history import Array


class Recommender(Protocol):
    """Picks configurations for a new task. The surrogate and every baseline share this signature."""

    @property
    def name(self) -> str:
        """Name in tables and plots."""

    def select(self, meta_features: Array, count: int) -> list[int]:
        """Return positions in the pool, the first to try first.

        Args:
            meta_features: `(M,)` raw meta-features of the task.
            count: How many to return at most (a recommender may have fewer to offer).
        """
