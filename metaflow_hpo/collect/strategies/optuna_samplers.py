"""The strategies `tpe` and `optuna_gp`: samplers of Optuna, run with their own code."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from metaflow_hpo.collect.strategies.proposing import ProposingStrategy
from metaflow_hpo.collect.strategies.strategy import Record, StrategyContext
from metaflow_hpo.space import Categorical, Configuration, Float, Hyperparameter, SearchSpace, Value

if TYPE_CHECKING:
    import optuna

RANDOM_STARTS = 10
"""As many as Optuna's samplers have."""


def make_tpe(context: StrategyContext) -> ProposingStrategy:
    """Make Optuna's multivariate, grouped TPE; what is pending counts as bad.

    References:
        Bergstra et al. 2011, Algorithms for hyper-parameter optimization; Akiba et al. 2019, Optuna, arXiv:1907.10902;
        multivariate: Watanabe 2023, arXiv:2304.11127.
    """
    import optuna

    sampler = partial(optuna.samplers.TPESampler, multivariate=True, group=True, constant_liar=True)
    return _make(context, sampler)


def make_gp(context: StrategyContext) -> ProposingStrategy:
    """Make Optuna's Gaussian process sampler; what depends on a condition it draws at random, as its own code does.

    References:
        Akiba et al. 2019, Optuna, arXiv:1907.10902 (`GPSampler`).
    """
    import optuna

    return _make(context, partial(optuna.samplers.GPSampler, warn_independent_sampling=False))


def _make(context: StrategyContext, sampler: "Callable[..., optuna.samplers.BaseSampler]") -> ProposingStrategy:
    propose = partial(_propose, context.space, sampler)
    return ProposingStrategy(context, propose, starts=RANDOM_STARTS)


def _propose(
    space: SearchSpace, sampler: "Callable[..., optuna.samplers.BaseSampler]", record: Record, seed: int
) -> Configuration:
    """Ask a fresh sampler in a fresh study, so that nothing but the record and the seed counts."""
    import optuna

    distributions = {hp.name: _to_distribution(hp) for hp in space.hyperparameters}
    told: Sequence[tuple[Configuration, float | None]] = [
        (trial.configuration, value) for trial, value in zip(record.told, record.performance, strict=True)
    ]
    trials = []
    for configuration, value in [*told, *((configuration, None) for configuration in record.pending.values())]:
        state = optuna.trial.TrialState.RUNNING if value is None else optuna.trial.TrialState.COMPLETE
        active = {name: distributions[name] for name in configuration}
        trials.append(
            optuna.trial.create_trial(
                state=state, params=_to_params(space, configuration), distributions=active, value=value
            )
        )
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=sampler(n_startup_trials=0, seed=seed))
        study.add_trials(trials)
        return _suggest(study.ask(), space)


def _to_distribution(hp: Hyperparameter) -> "optuna.distributions.BaseDistribution":
    """Return what Optuna calls a hyperparameter's range."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(hp, Categorical):
        return CategoricalDistribution(range(len(hp.choices)))  # Optuna takes 1 and True for one choice
    if isinstance(hp, Float):
        return FloatDistribution(hp.low, hp.high, log=hp.log)
    return IntDistribution(hp.low, hp.high, log=hp.log)


def _to_params(space: SearchSpace, configuration: Configuration) -> dict[str, Value]:
    """Return a configuration with the places of its choices, as Optuna knows them."""
    chosen = {hp.name: hp for hp in space.hyperparameters if isinstance(hp, Categorical)}
    return {n: chosen[n].place(value) if n in chosen else value for n, value in configuration.items()}


def _suggest(trial: "optuna.Trial", space: SearchSpace) -> Configuration:
    """Return the configuration that Optuna proposes for a trial; conditions are define-by-run branches."""
    values: dict[str, Value] = {}
    for hp in space.hyperparameters:
        if not space.is_active(hp.name, values):
            continue
        if isinstance(hp, Categorical):
            values[hp.name] = hp.choices[trial.suggest_categorical(hp.name, range(len(hp.choices)))]
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
