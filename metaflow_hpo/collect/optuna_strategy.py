"""The strategy `tpe`: Optuna's multivariate tree-structured Parzen estimator.

The one thing to know: all randomness comes from one seeded sampler that is used in the order of `ask` and `tell`, so
the same calls give the same configurations.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from metaflow_hpo.collect.strategies import Strategy, canonical
from metaflow_hpo.space import Categorical, Configuration, Float, Hyperparameter, SearchSpace, Value, configuration_id
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    import optuna

_RETRIES = 50


class OptunaStrategy(Strategy):
    """Proposes with Optuna's TPE, a few configurations at a time (those still running count as bad).

    Args:
        space: The search space; conditions become define-by-run branches.
        seed: Seed of the sampler.
        batch_size: How many configurations may be asked for without hearing back, at least 1.
    """

    def __init__(self, space: SearchSpace, *, seed: int, batch_size: int = 4) -> None:
        self._space = space
        self._batch_size = batch_size
        self._asked: dict[str, int] = {}
        self._failed: list[Trial] = []
        self._worst = math.inf
        self._study = _make_study(seed)

    @property
    def batch_size(self) -> int:
        """How many configurations it may be asked for without hearing back."""
        return self._batch_size

    def ask(self, count: int) -> list[Configuration]:
        """Return the next configurations, at most `count`; fewer where it finds none it has not proposed before."""
        found: list[Configuration] = []
        with quiet():
            while len(found) < count:
                configuration = self._propose()
                if configuration is None:
                    break
                found.append(configuration)
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Hear outcomes; a failed trial counts as the worst so far, and waits while there is none that is ok."""
        with quiet():
            for trial in trials:
                if trial.status == "ok":
                    self._worst = min(self._worst, trial.performance)
                    self._record(trial, trial.performance)
                else:
                    self._failed.append(trial)
            if math.isfinite(self._worst):
                for trial in self._failed:
                    self._record(trial, self._worst)
                self._failed.clear()

    def _propose(self) -> Configuration | None:
        import optuna

        for _ in range(_RETRIES):
            trial = self._study.ask()
            configuration = canonical(self._space, suggest(trial, self._space))
            name = configuration_id(configuration)
            if name not in self._asked:
                self._asked[name] = trial.number
                return configuration
            # Neither good nor bad: it is known already.
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def _record(self, trial: Trial, performance: float) -> None:
        number = self._asked.get(trial.configuration_id)
        if number is not None:
            self._study.tell(number, performance)
            return
        import optuna

        # A trial it did not ask for.
        active = [hp for hp in self._space.hyperparameters if hp.name in trial.configuration]
        distributions = {hp.name: to_distribution(hp) for hp in active}
        params = dict(trial.configuration)
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=performance))


def _make_study(seed: int) -> "optuna.Study":
    import optuna

    with quiet():
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        return optuna.create_study(direction="maximize", sampler=sampler)


def to_distribution(hp: Hyperparameter) -> "optuna.distributions.BaseDistribution":
    """Return what Optuna calls a hyperparameter's range."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(hp, Categorical):
        return CategoricalDistribution(hp.choices)
    if isinstance(hp, Float):
        return FloatDistribution(hp.low, hp.high, log=hp.log)
    return IntDistribution(hp.low, hp.high, log=hp.log)


def suggest(trial: "optuna.Trial", space: SearchSpace) -> Configuration:
    """Return the configuration that Optuna proposes for a trial."""
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
def quiet() -> Iterator[None]:
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
