"""A strategy outside the package: the default, then what lies nearest to the best so far among random draws."""

import numpy as np

from metaflow_hpo.collect.strategies.strategy import OneByOneStrategy
from metaflow_hpo.space import configuration_id

DRAWS = 64


class NearBest(OneByOneStrategy):
    """Stays close to the best so far: of the draws that were not tried, the nearest."""

    def __init__(self, context):
        super().__init__(batch_size=2)
        self.context = context

    def propose(self):
        fresh = [c for c in self._draw() if configuration_id(c) not in self._record]
        if not fresh:
            return None
        if not self._record.told:
            return fresh[0]
        best = self._record.told[int(np.argmax(self._record.performance))].configuration
        to_unit = self.context.space.to_unit
        return fresh[int(np.argmin(((to_unit(fresh) - to_unit([best])) ** 2).sum(axis=1)))]

    def _draw(self):
        space, pool = self.context.space, self.context.pool
        if pool is not None:
            return pool.configurations
        drawn = self._record.generator(self.context.seed).random((DRAWS, len(space.names)))
        return [space.validate(space.default), *space.from_unit(drawn)]
