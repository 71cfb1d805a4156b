"""New configurations to choose among: some near the best that were tried, some anywhere in the space."""

from collections.abc import Sequence

import numpy as np

from metaflow_hpo.space import Array, Categorical, Configuration, SearchSpace, configuration_id

_PARENTS = 3
_STEP = 0.1
_CHANGED = 0.5


def fresh_configurations(
    space: SearchSpace,
    tried: Sequence[Configuration],
    performance: Sequence[float] | Array,
    *,
    seed: int,
    count: int = 200,
) -> list[Configuration]:
    """Return new configurations: half near the best that were tried, half anywhere in the space.

    Args:
        space: The search space of D hyperparameters.
        tried: `(N,)` configurations, one at least.
        performance: `(N,)` what they gave, higher is better.
        seed: Seed; the number of trials enters as well.
        count: How many are drawn; fewer are returned where some are equal or were tried.
    """
    rng = np.random.default_rng([seed, len(tried)])
    best = np.argsort(-np.asarray(performance), kind="stable")[:_PARENTS]
    parents = space.to_unit([tried[n] for n in best])  # (_PARENTS, D)
    near = parents[rng.integers(len(parents), size=count // 2)]
    is_choice = np.array([isinstance(hp, Categorical) for hp in space.hyperparameters])
    # Numbers take a small step, choices are drawn again, and each parent keeps about half of its values.
    step = np.where(is_choice, rng.random(near.shape), near + _STEP * rng.standard_normal(near.shape))
    changed = rng.random(near.shape) < np.where(is_choice, 0.5 * _CHANGED / 2, _CHANGED)
    near = np.clip(np.where(changed, step, near), 0.0, 1.0)
    drawn = space.from_unit(np.concatenate([near, rng.random((count - len(near), near.shape[1]))]))
    known = {configuration_id(configuration) for configuration in tried}
    distinct = {configuration_id(c): c for c in drawn}
    return [c for name, c in distinct.items() if name not in known]
