"""Hyperparameters as Optuna's distributions."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metaflow_hpo.hyperparameter import Categorical, Float, Hyperparameter


def to_distribution(hp: Hyperparameter) -> BaseDistribution:
    """Return the distribution of a hyperparameter, its choices by value."""
    if isinstance(hp, Categorical):
        return CategoricalDistribution(hp.choices)
    if isinstance(hp, Float):
        return FloatDistribution(hp.low, hp.high, log=hp.log)
    return IntDistribution(hp.low, hp.high, log=hp.log)
