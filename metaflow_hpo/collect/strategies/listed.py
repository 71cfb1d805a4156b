"""Strategies that read a list of configurations, whatever they are told: default, anchors, sobol, random and grid."""

from collections.abc import Callable, Iterable

import numpy as np

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.strategy import OneByOneStrategy, Record, StrategyContext
from metaflow_hpo.space import Array, Configuration, SearchSpace, configuration_id

Source = Callable[[int], list[Configuration]]
"""Returns the first `n` configurations of a list, repetitions included; fewer if it ends before."""

_SOBOL_SEED = 20_000
_FIRST_LENGTH = 64
_DRY_ROUNDS = 5


class ListedStrategy(OneByOneStrategy):
    """Goes down a list, passing over what is known.

    Args:
        source: The list.
        record: What is known, where it is shared with another strategy.
    """

    def __init__(self, source: Source, record: Record | None = None) -> None:
        super().__init__()
        self._source = source
        self._record = Record() if record is None else record
        self._distinct: dict[str, Configuration] = {}
        self._names: list[str] = []
        self._length = _FIRST_LENGTH // 2
        self._passed = 0
        self._is_dry = False

    def propose(self) -> Configuration | None:
        """Return the next of the list that is not known."""
        while True:
            while self._passed < len(self._names):
                name = self._names[self._passed]
                if name not in self._record:
                    return self._distinct[name]
                self._passed += 1
            if not self._read_further():
                return None

    def _read_further(self) -> bool:
        """Read more of the list; a small discrete space repeats itself, so look on until several doublings are dry."""
        for _ in range(0 if self._is_dry else _DRY_ROUNDS):
            self._length *= 2
            for configuration in self._source(self._length):
                self._distinct.setdefault(configuration_id(configuration), configuration)
            if len(self._distinct) > len(self._names):
                self._names = list(self._distinct)
                return True
        self._is_dry = True
        return False


class OrderedStrategy(OneByOneStrategy):
    """Goes down an order of the configurations of a pool, passing over what is known.

    Args:
        pool: The pool.
        order: Positions; it may be read as far as it is needed only.
        record: What is known, where it is shared with another strategy.
    """

    def __init__(self, pool: Pool, order: Iterable[int], record: Record | None = None) -> None:
        super().__init__()
        self._pool = pool
        self._order = iter(order)
        self._next = next(self._order, None)
        self._record = Record() if record is None else record

    def propose(self) -> Configuration | None:
        """Return the next of the order that is not known."""
        while self._next is not None and self._pool.names[self._next] in self._record:
            self._next = next(self._order, None)
        return None if self._next is None else self._pool.configurations[self._next]


def make_default(context: StrategyContext) -> OneByOneStrategy:
    """Make the strategy of who tunes nothing: the default of the space, or what is nearest to it in the pool."""
    return _make_listed(context, lambda _: [context.space.validate(context.space.default)])


def make_anchors(context: StrategyContext) -> OneByOneStrategy:
    """Make the strategy of who first tries what did well elsewhere: the default, the anchors of the learner, sobol."""
    chosen = [context.space.validate(c) for c in (context.space.default, *context.anchors)]
    return _make_listed(context, lambda length: [*chosen, *sobol_configurations(context.space, length)])


def make_sobol(context: StrategyContext) -> OneByOneStrategy:
    """Make the strategy of the shared core: the same configurations on every task whatever the seed, the default first.

    References:
        Sobol 1967, scrambled as in Owen 1998.
    """
    return _make_listed(context, lambda length: sobol_configurations(context.space, length))


def make_random(context: StrategyContext, record: Record | None = None) -> OneByOneStrategy:
    """Make random search: draws from the space, or the pool in a random order."""
    if context.pool is not None:
        order = np.random.default_rng(context.seed).permutation(len(context.pool))
        return OrderedStrategy(context.pool, order.tolist(), record)
    return ListedStrategy(lambda length: _draw(context.space, length, context.seed), record)


def make_grid(context: StrategyContext) -> OneByOneStrategy:
    """Make a grid search of about as many configurations as the budget has trials."""
    grid = [context.space.validate(configuration) for configuration in context.space.grid(context.budget)]
    return _make_listed(context, lambda _: grid)


def _make_listed(context: StrategyContext, source: Source) -> OneByOneStrategy:
    """Return a strategy that goes down a list; in a pool, each is moved to the nearest configuration that is free."""
    pool = context.pool
    if pool is None:
        return ListedStrategy(source)
    return OrderedStrategy(pool, pool.nearest_free(source(len(pool))))


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


def _draw(space: SearchSpace, length: int, seed: int) -> list[Configuration]:
    units: Array = np.random.default_rng(seed).random((length, len(space.hyperparameters)))
    return space.from_unit(units)
