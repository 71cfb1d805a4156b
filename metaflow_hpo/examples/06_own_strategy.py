"""A strategy of your own in one class: it proposes (ask) and hears what came of it (tell)."""

from collections.abc import Sequence

import numpy as np

import metaflow_hpo as hpo
from metaflow_hpo.collect.strategies.strategy import OneByOneStrategy, StrategyContext
from metaflow_hpo.space import Configuration, configuration_id

SPACE = {"x": {"type": "float", "low": -2.0, "high": 2.0}, "y": {"type": "float", "low": -2.0, "high": 2.0}}
TASK = {"task_id": "bowl", "metric": {"name": "height", "direction": "min"}, "data": "1,-1"}


class HillClimbing(OneByOneStrategy):
    """Steps away from the best so far, at random."""

    def __init__(self, context: StrategyContext) -> None:
        super().__init__(batch_size=1)
        self._context = context

    def propose(self) -> Configuration | None:
        """Return the default, then a neighbour of the best."""
        space, told = self._context.space, self._record.told
        if not told:
            return space.default
        best = told[int(np.argmax(self._record.performance))].configuration
        step = 0.1 * self._record.generator(self._context.seed).standard_normal(len(space.names))
        near = space.from_unit(np.clip(space.to_unit([best]) + step, 0.0, 1.0))[0]
        return None if configuration_id(near) in self._record else near


def train(configuration: Configuration, task: object, report: object) -> float:
    """Return how far a point is from where the bowl is deepest."""
    x, y = map(float, task.address.split(","))  # type: ignore[attr-defined]
    return (float(configuration["x"] or 0) - x) ** 2 + (float(configuration["y"] or 0) - y) ** 2


def main(strategies: Sequence[str] = ("random", f"{__name__}:HillClimbing")) -> None:
    """Compare with random search. `metaflow-hpo search --strategy module:attribute` takes it as well."""
    for strategy in strategies:
        learner = hpo.learner_from_function(train, SPACE, name="bowl")
        result = hpo.search(TASK, learner=learner, strategy=strategy, trials=15)
        print(f"{strategy}: {-result.best_performance:.4f}")


if __name__ == "__main__":
    main()
