"""The strategy `hyperopt`: Hyperopt's tree-structured Parzen estimator, one configuration at a time.

The one thing to know: Hyperopt's trials are rebuilt from the told trials at every call, so what is asked is a function
of what was told and asked before, with no random state left over.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metaflow_hpo.collect.strategies import Strategy, canonical, performances_with_failures
from metaflow_hpo.space import Categorical, Configuration, Float, Hyperparameter, SearchSpace, Value, configuration_id
from metaflow_hpo.trial import Trial

_RETRIES = 50


class HyperoptStrategy(Strategy):
    """Proposes with Hyperopt's TPE.

    Args:
        space: The search space; conditions become branches of `hp.choice`.
        seed: Seed of the draws.
    """

    def __init__(self, space: SearchSpace, *, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._asked: set[str] = set()
        self._told: list[Trial] = []
        self._domain = _domain(space)

    @property
    def batch_size(self) -> int:
        """One: Hyperopt does not take running trials into account."""
        return 1

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`; fewer where it finds none it has not proposed before."""
        found: list[Configuration] = []
        while len(found) < count:
            configuration = self._propose()
            if configuration is None:
                break
            found.append(configuration)
            self._asked.add(configuration_id(configuration))
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; a failed trial counts as the worst so far."""
        self._told.extend(trials)

    def _propose(self) -> Configuration | None:
        from hyperopt import tpe

        history = self._history()
        seeds = np.random.SeedSequence([self._seed, len(self._asked)]).generate_state(_RETRIES)
        for seed in seeds:
            documents = tpe.suggest([len(self._told)], self._domain, history, int(seed), verbose=False)
            configuration = canonical(self._space, self._read(documents[0]["misc"]["vals"]))
            if configuration_id(configuration) not in self._asked:
                return configuration
        return None

    def _read(self, drawn: Mapping[str, Sequence[float]]) -> Configuration:
        values: dict[str, Value] = {}
        for hp in self._space.hyperparameters:
            if self._space.is_active(hp.name, values):
                value = drawn[hp.name][0]
                values[hp.name] = hp.choices[int(value)] if isinstance(hp, Categorical) else float(value)
        return values

    def _history(self) -> Any:
        from hyperopt import JOB_STATE_DONE, STATUS_OK, Trials

        trials = Trials()
        documents = []
        performances = performances_with_failures(self._told)
        for tid, (trial, performance) in enumerate(zip(self._told, performances, strict=True)):
            vals = {hp.name: _coded(hp, trial.configuration) for hp in self._space.hyperparameters}
            idxs = {name: [tid] * len(value) for name, value in vals.items()}
            misc = {"tid": tid, "cmd": self._domain.cmd, "workdir": None, "idxs": idxs, "vals": vals}
            result = {"status": STATUS_OK, "loss": -performance}
            documents += trials.new_trial_docs([tid], [None], [result], [misc])
            documents[-1]["state"] = JOB_STATE_DONE
        trials.insert_trial_docs(documents)
        trials.refresh()
        return trials


def _coded(hp: Hyperparameter, configuration: Configuration) -> list[float]:
    if hp.name not in configuration:
        return []
    value = configuration[hp.name]
    return [hp.place(value)] if isinstance(hp, Categorical) else [float(value)]


def _domain(space: SearchSpace) -> Any:
    from hyperopt import Domain

    nodes: dict[str, Any] = {}
    # Children first, so that a choice can hold the very nodes it switches on; a node shared by choices keeps one label.
    for hp in reversed(space.hyperparameters):
        nodes[hp.name] = _node(hp, space, nodes)
    return Domain(
        lambda configuration: 0.0, {hp.name: nodes[hp.name] for hp in space.hyperparameters if hp.condition is None}
    )


def _node(hp: Hyperparameter, space: SearchSpace, nodes: Mapping[str, Any]) -> Any:
    from hyperopt import hp as dimension

    if isinstance(hp, Categorical):
        conditions = [(child.name, child.condition) for child in space.hyperparameters if child.condition is not None]
        switched = [(name, c.values) for name, c in conditions if c.parent == hp.name]
        branches = [{n: nodes[n] for n, values in switched if choice in values} for choice in hp.choices]
        return dimension.choice(hp.name, branches)
    if isinstance(hp, Float):
        if hp.log:
            return dimension.loguniform(hp.name, math.log(hp.low), math.log(hp.high))
        return dimension.uniform(hp.name, hp.low, hp.high)
    # Half a step beyond both ends: otherwise the first and the last value would get half a share.
    low, high = hp.low - 0.5 + 1e-9, hp.high + 0.5 - 1e-9
    if hp.log:
        return dimension.qloguniform(hp.name, math.log(low), math.log(high), 1)
    return dimension.quniform(hp.name, low, high, 1)
