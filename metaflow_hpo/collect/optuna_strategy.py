"""The strategy `tpe`: Optuna's multivariate tree-structured Parzen estimator.

The one thing to know: the study is rebuilt from the told trials at every call, so what is asked is a function of what was
told and asked before, with no random state left over.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from metaflow_hpo.collect.strategies import canonical, performances_with_failures
from metaflow_hpo.space import Categorical, Configuration, Float, Hyperparameter, SearchSpace, Value, configuration_id
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    import optuna

_RETRIES = 50


class OptunaStrategy:
    """Proposes with Optuna's TPE, a few configurations at a time (those still running count as bad).

    Args:
        space: The search space; conditions become define-by-run branches.
        seed: Seed of the sampler.
        batch_size: How many configurations may be asked for without hearing back, at least 1.
    """

    def __init__(self, space: SearchSpace, *, seed: int, batch_size: int = 4) -> None:
        self._space = space
        self._seed = seed
        self._batch_size = batch_size
        self._asked: dict[str, Configuration] = {}
        self._told: list[Trial] = []

    @property
    def batch_size(self) -> int:
        """How many configurations it may be asked for without hearing back."""
        return self._batch_size

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`; fewer where it finds none that it has not proposed before."""
        found: list[Configuration] = []
        while len(found) < count:
            configuration = self._propose()
            if configuration is None:
                break
            found.append(configuration)
            self._asked[configuration_id(configuration)] = configuration
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; a failed trial counts as the worst so far."""
        self._told.extend(trials)

    def _propose(self) -> Configuration | None:
        with _quiet():
            study = self._study()
            for _ in range(_RETRIES):
                configuration = canonical(self._space, _suggest(study.ask(), self._space))
                if configuration_id(configuration) not in self._asked:
                    return configuration
        return None

    def _study(self) -> "optuna.Study":
        """Build the study that has seen the told trials and waits for the pending ones."""
        import optuna

        # One seed a position: asking for 2 + 2 is asking for 4, and a resumed search draws what it would have drawn.
        seed = int(np.random.SeedSequence([self._seed, len(self._asked)]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        performances = performances_with_failures(self._told)
        states = optuna.trial.TrialState
        for trial, performance in zip(self._told, performances, strict=True):
            study.add_trial(self._frozen(trial.configuration, states.COMPLETE, performance))
        told = {trial.configuration_id for trial in self._told}
        for name, configuration in self._asked.items():
            if name not in told:
                study.add_trial(self._frozen(configuration, states.RUNNING, None))
        return study

    def _frozen(
        self, configuration: Configuration, state: Any, performance: float | None
    ) -> "optuna.trial.FrozenTrial":
        import optuna

        active = [hp for hp in self._space.hyperparameters if hp.name in configuration]
        return optuna.trial.create_trial(
            state=state,
            value=performance,
            params=dict(configuration),
            distributions={hp.name: _distribution(hp) for hp in active},
        )


def _distribution(hp: Hyperparameter) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(hp, Categorical):
        return CategoricalDistribution(hp.choices)
    if isinstance(hp, Float):
        return FloatDistribution(hp.low, hp.high, log=hp.log)
    return IntDistribution(hp.low, hp.high, log=hp.log)


def _suggest(trial: "optuna.Trial", space: SearchSpace) -> Configuration:
    values: dict[str, Value] = {}
    for hp in space.hyperparameters:
        if not space.is_active(hp.name, values):
            continue
        if isinstance(hp, Categorical):
            values[hp.name] = trial.suggest_categorical(hp.name, hp.choices)
        elif isinstance(hp, Float):
            values[hp.name] = trial.suggest_float(hp.name, hp.low, hp.high, log=hp.log)
        else:
            values[hp.name] = trial.suggest_int(hp.name, hp.low, hp.high, log=hp.log)
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence "A new study created" and the notes on experimental options, here only."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
