"""Strategies that ask an optimiser of the whole space: random configurations first, then its proposals.

Where there is a pool, a proposal is moved to the nearest configuration of it that is free.
"""

from collections.abc import Callable

from metaflow_hpo.collect.strategies.listed import make_random
from metaflow_hpo.collect.strategies.strategy import OneByOneStrategy, Record, StrategyContext, canonical
from metaflow_hpo.space import Configuration, configuration_id

Propose = Callable[[Record, int], Configuration]
"""Proposes a configuration, given what was told and is pending, and a seed of 32 bits."""

_RETRIES = 50


class ProposingStrategy(OneByOneStrategy):
    """Random configurations, as many as the optimiser's own default; then its proposals.

    Args:
        context: What it is made from.
        propose: The optimiser; it need hold no state.
        starts: How many random configurations come first.
    """

    def __init__(self, context: StrategyContext, propose: Propose, *, starts: int) -> None:
        super().__init__(context.parallel)
        self._context = context
        self._ask_optimiser = propose
        self._starts = starts
        self._random = make_random(context, self._record)

    def propose(self) -> Configuration | None:
        """Return a random start, or what the optimiser proposes."""
        proposed = self._place() if len(self._record) >= self._starts else None
        # Where the optimiser only repeats itself, what is left of a small space comes in random order.
        return self._random.propose() if proposed is None else proposed

    def _place(self) -> Configuration | None:
        """Return a proposal that is new: the nearest free one of the pool, or of several the first."""
        pool, rng = self._context.pool, self._record.generator(self._context.seed)
        if pool is not None:
            proposed = self._ask_optimiser(self._record, int(rng.integers(2**32)))
            taken = [position for position, name in enumerate(pool.names) if name in self._record]
            position = pool.nearest(proposed, taken)
            return None if position is None else pool.configurations[position]
        for _ in range(_RETRIES):
            proposed = self._ask_optimiser(self._record, int(rng.integers(2**32)))
            configuration = canonical(self._context.space, proposed)
            if configuration_id(configuration) not in self._record:
                return configuration
        return None
