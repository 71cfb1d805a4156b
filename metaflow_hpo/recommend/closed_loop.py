"""The strategy `recommended`: propose, hear what came out, propose again, with what past tasks teach.

The one thing to know: it holds no state but what it was told, so a search that is replayed asks for the same
configurations. Beside the pool that all past tasks tried it may propose new ones near the best.
"""

from collections.abc import Callable, Sequence

import numpy as np

from metaflow_hpo.collect.strategies import Strategy, performances_with_failures
from metaflow_hpo.recommend.sequential import ObservedTrial
from metaflow_hpo.space import Categorical, Configuration, SearchSpace, configuration_id
from metaflow_hpo.trial import Trial

Choose = Callable[[Sequence[ObservedTrial], Sequence[Configuration], int], Sequence[Configuration]]
"""Returns at most so many configurations to try next, given the trials so far and new configurations to consider."""

FRESH_FROM = 15
"""Trials from which new configurations are considered: before, the pool holds enough that is better than the best."""
_FRESH = 200
_PARENTS = 3
_STEP = 0.1
_CHANGED = 0.5


class RecommendedStrategy(Strategy):
    """Asks a recommender anew after every batch.

    Args:
        choose: The recommender, begun on the task.
        space: The search space.
        batch_size: How many configurations it may be asked for without hearing back, at least 1.
        seed: Seed of the new configurations.
        fresh_from: Trials from which new configurations are considered beside the pool.
    """

    def __init__(
        self, choose: Choose, space: SearchSpace, *, batch_size: int = 1, seed: int = 0, fresh_from: int = FRESH_FROM
    ) -> None:
        self._choose = choose
        self._space = space
        self._batch_size = batch_size
        self._seed = seed
        self._fresh_from = fresh_from
        self._told: list[Trial] = []

    @property
    def batch_size(self) -> int:
        """How many configurations it may be asked for without hearing back."""
        return self._batch_size

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`."""
        performance = performances_with_failures(self._told)
        observed = [ObservedTrial(t.configuration, p) for t, p in zip(self._told, performance, strict=True)]
        fresh: list[Configuration] = []
        if len(observed) >= self._fresh_from:
            fresh = fresh_configurations(self._space, observed, seed=self._seed)
        return list(self._choose(observed, fresh, count))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; a failed trial counts as the worst of the others."""
        self._told += trials


def fresh_configurations(space: SearchSpace, observed: Sequence[ObservedTrial], *, seed: int) -> list[Configuration]:
    """Return new configurations: half near the best observed ones, half anywhere in the space.

    Args:
        space: The search space of D hyperparameters.
        observed: Trials, one at least.
        seed: Seed; the number of trials enters as well.
    """
    rng = np.random.default_rng([seed, len(observed)])
    best = sorted(observed, key=lambda trial: -trial.performance)[:_PARENTS]
    parents = space.to_unit([trial.configuration for trial in best])  # (_PARENTS, D)
    near = parents[rng.integers(len(parents), size=_FRESH // 2)]
    is_choice = np.array([isinstance(hp, Categorical) for hp in space.hyperparameters])
    # Numbers take a small step, choices are drawn again, and each parent keeps about half of its values.
    step = np.where(is_choice, rng.random(near.shape), near + _STEP * rng.standard_normal(near.shape))
    changed = rng.random(near.shape) < np.where(is_choice, 0.5 * _CHANGED / 2, _CHANGED)
    near = np.clip(np.where(changed, step, near), 0.0, 1.0)
    drawn = space.from_unit(np.concatenate([near, rng.random((_FRESH - len(near), near.shape[1]))]))
    known = {configuration_id(trial.configuration) for trial in observed}
    distinct = {configuration_id(c): c for c in drawn}
    return [c for name, c in distinct.items() if name not in known]
