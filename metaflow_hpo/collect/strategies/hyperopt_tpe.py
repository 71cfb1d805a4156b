"""The strategy `hyperopt`: Hyperopt's tree-structured Parzen estimator, run with its own code."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metaflow_hpo.collect.strategies.proposing import ProposingStrategy
from metaflow_hpo.collect.strategies.strategy import Record, StrategyContext
from metaflow_hpo.hyperparameter import find_value
from metaflow_hpo.space import Categorical, Configuration, Float, Hyperparameter, SearchSpace, Value

RANDOM_STARTS = 20
"""As many as Hyperopt has."""


def make_hyperopt(context: StrategyContext) -> ProposingStrategy:
    """Make Hyperopt's TPE; a trial that is pending counts as the worst so far.

    References:
        Bergstra, Yamins, Cox 2013, Making a science of model search.
    """
    return ProposingStrategy(context, _Proposer(context.space), starts=RANDOM_STARTS)


class _Proposer:
    """Asks Hyperopt anew each time, so that no random state is left over.

    Args:
        space: The search space; conditions become branches of `hp.choice`.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._domain = _domain(space)

    def __call__(self, record: Record, seed: int) -> Configuration:
        """Return Hyperopt's proposal."""
        from hyperopt import tpe

        drawn = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
        documents = tpe.suggest([len(record)], self._domain, self._tell(record), drawn, verbose=False)
        return self._read(documents[0]["misc"]["vals"])

    def _read(self, drawn: Mapping[str, Sequence[float]]) -> Configuration:
        values: dict[str, Value] = {}
        for hp in self._space.hyperparameters:
            if self._space.is_active(hp.name, values):
                value = drawn[hp.name][0]
                values[hp.name] = hp.choices[int(value)] if isinstance(hp, Categorical) else float(value)
        return values

    def _tell(self, record: Record) -> Any:
        from hyperopt import JOB_STATE_DONE, STATUS_OK, Trials

        trials = Trials()
        documents = []
        performance = record.performance
        configurations = [*(trial.configuration for trial in record.told), *record.pending.values()]
        performance += [min(performance, default=0.0)] * len(record.pending)
        for tid, (configuration, value) in enumerate(zip(configurations, performance, strict=True)):
            vals = {hp.name: _coded(hp, configuration) for hp in self._space.hyperparameters}
            idxs = {name: [tid] * len(coded) for name, coded in vals.items()}
            misc = {"tid": tid, "cmd": self._domain.cmd, "workdir": None, "idxs": idxs, "vals": vals}
            result = {"status": STATUS_OK, "loss": -value}
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
        branches = [
            {n: nodes[n] for n, values in switched if find_value(values, choice) is not None} for choice in hp.choices
        ]
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
