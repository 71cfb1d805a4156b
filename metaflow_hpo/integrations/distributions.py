"""Hyperparameters as Optuna's distributions, and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metaflow_hpo.adapters.past_trials.optuna import distribution_to_hyperparameter
from metaflow_hpo.adapters.past_trials.spaces import find_condition
from metaflow_hpo.adapters.past_trials.values import plain
from metaflow_hpo.hyperparameter import Categorical, Float, Hyperparameter, find_value, is_number


def to_distribution(hp: Hyperparameter) -> BaseDistribution:
    """Return the distribution of a hyperparameter, its choices by value."""
    if isinstance(hp, Categorical):
        return CategoricalDistribution(hp.choices)
    if isinstance(hp, Float):
        return FloatDistribution(hp.low, hp.high, log=hp.log)
    return IntDistribution(hp.low, hp.high, log=hp.log)


def from_distribution(name: str, distribution: BaseDistribution, *, optional: bool = False) -> Hyperparameter:
    """Return the hyperparameter of a distribution."""
    return replace(distribution_to_hyperparameter(name, distribution._asdict()), optional=optional)


def with_conditions(
    found: Mapping[str, Hyperparameter], tried: Sequence[Mapping[str, Any]]
) -> dict[str, Hyperparameter]:
    """Return hyperparameters with the branches of the objective as conditions, as far as its trials show them."""
    configurations = [{name: plain(value) for name, value in params.items()} for params in tried]
    certain = {name: hp for name, hp in found.items() if not hp.optional}
    choices = [hp for hp in certain.values() if isinstance(hp, Categorical)]
    for name, hp in found.items():
        if hp.optional:
            branch = find_condition(name, configurations, choices)
            certain[name] = hp if branch is None else replace(hp, condition=branch[1], optional=False)
    return certain


def fit_value(distribution: BaseDistribution, plan: Mapping[str, Any], name: str) -> tuple[Any] | None:
    """Return the planned value as a distribution has it; None where it has no such value, or nothing is planned."""
    if name not in plan:
        return None
    value = plan[name]
    if isinstance(distribution, CategoricalDistribution):
        place = find_value([plain(choice) for choice in distribution.choices], value)
        return None if place is None else (distribution.choices[place],)
    if not isinstance(distribution, FloatDistribution | IntDistribution) or not is_number(value):
        return None
    if not distribution.low <= value <= distribution.high:
        return None
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = min(distribution.low + steps * distribution.step, distribution.high)
    return (int(value) if isinstance(distribution, IntDistribution) else float(value),)


def settle(shown: Mapping[str, BaseDistribution], planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as distributions have it: a number between two steps becomes one of them."""
    values = {name: fit_value(shown[name], planned, name) for name in planned if name in shown}
    return {**planned, **{name: plain(value[0]) for name, value in values.items() if value is not None}}


def is_same(first: Any, second: Any) -> bool:
    """Tell whether two values are equal, but for digits that do not count."""
    if isinstance(first, float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-12)
    return find_value([first], second) is not None
