"""Configurations of one search space in another: shared names by value, all choices, everything else left out."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from metaflow_hpo.hyperparameter import Categorical, Float, Hyperparameter, Integer, Value, find_value, is_number
from metaflow_hpo.space import Configuration, SearchSpace, configuration_id


def widen(space: SearchSpace, values: Mapping[str, Sequence[Value]]) -> SearchSpace:
    """Return a space that also holds what older trials used; ranges widen, choices unite, conditions become gaps.

    Args:
        space: The space of today, which says which names there are, of which type and on which scale.
        values: What older trials used, by name. Choices that have none of today's in common are another thing of the
            same name and teach nothing.
    """
    return SearchSpace(tuple(_widen(hp, values.get(hp.name, ())) for hp in space.hyperparameters))


def _widen(hp: Hyperparameter, values: Sequence[Value]) -> Hyperparameter:
    optional = hp.optional or hp.condition is not None
    if isinstance(hp, Categorical):
        known = [value for value in values if find_value(hp.choices, value) is not None]
        new = [value for value in values if find_value(hp.choices, value) is None] if known else []
        found: list[Value] = list(hp.choices)
        for value in new:
            if find_value(found, value) is None:
                found.append(value)
        return replace(hp, choices=tuple(found), condition=None, optional=optional)
    numbers = [float(value) for value in values if _fits(hp, value) and value is not None]
    low, high = min([hp.low, *numbers]), max([hp.high, *numbers])
    if isinstance(hp, Integer):
        return replace(hp, low=int(np.floor(low)), high=int(np.ceil(high)), condition=None, optional=optional)
    return replace(hp, low=low, high=high, condition=None, optional=optional)


def _fits(hp: Float | Integer, value: Value) -> bool:
    """Tell whether a value has a place on the axis of a number."""
    return is_number(value) and bool(np.isfinite(float(value or 0))) and (not hp.log or float(value or 0) > 0)


def translate(space: SearchSpace, configuration: Mapping[str, Any], assume: Mapping[str, Value]) -> dict[str, Value]:
    """Return what a configuration says in a space: values of other names, or with no place there, are left out.

    Args:
        space: A space that `widen` returned.
        configuration: Of another space.
        assume: Values of hyperparameters for configurations that lack them.
    """
    found: dict[str, Value] = {}
    for hp in space.hyperparameters:
        if hp.name in configuration or hp.name in assume:
            value = _place(hp, configuration.get(hp.name, assume.get(hp.name)))
            found |= {} if value is None else {hp.name: value[0]}
    return found


def _place(hp: Hyperparameter, value: Any) -> tuple[Value] | None:
    if isinstance(hp, Categorical):
        place = find_value(hp.choices, value)
        return None if place is None else (hp.choices[place],)
    if not _fits(hp, value):
        return None
    inside = min(max(float(value), hp.low), hp.high)
    return (hp.check(round(inside) if isinstance(hp, Integer) else inside),)


def is_inside(space: SearchSpace, configuration: Configuration) -> bool:
    """Tell whether every value of a configuration lies in the space's ranges and choices."""
    known = {hp.name: hp for hp in space.hyperparameters}
    return all(name in known and holds(known[name], value) for name, value in configuration.items())


def holds(hp: Hyperparameter, value: Value) -> bool:
    """Tell whether a value lies in the range or among the choices of a hyperparameter."""
    if isinstance(hp, Categorical):
        return find_value(hp.choices, value) is not None
    return is_number(value) and hp.low <= float(value or 0) <= hp.high


def candidates(
    space: SearchSpace, ranked: Iterable[tuple[Configuration, frozenset[str]]], *, seed: int, count: int
) -> list[Configuration]:
    """Return configurations of a space to choose among: known ones that lie inside, then others anywhere.

    Args:
        space: The space of today.
        ranked: Known configurations, the most promising first, with the names that were searched where they were
            tried. Values of other names are drawn at random: nothing is known of them.
        seed: Seed of what is drawn.
        count: How many; a fifth at least is drawn anywhere.
    """
    rng = np.random.default_rng(seed)
    drawn = space.from_unit(rng.random((2 * count, len(space.names))))
    chosen: dict[str, Configuration] = {}
    for (configuration, searched), free in zip(ranked, itertools.cycle(drawn), strict=False):
        if len(chosen) >= count - count // 5:
            break
        if is_inside(space, configuration):
            values = {**{n: v for n, v in free.items() if n not in searched}, **configuration}
            made = _keep_active(space, values)
            chosen.setdefault(configuration_id(made), made)
    for free in drawn:
        if len(chosen) >= count:
            break
        chosen.setdefault(configuration_id(free), free)
    return list(chosen.values())


def _keep_active(space: SearchSpace, values: Mapping[str, Value]) -> Configuration:
    made: dict[str, Value] = {}
    for hp in space.hyperparameters:
        if hp.name in values and (hp.condition is None or hp.condition.holds(made)):
            made[hp.name] = values[hp.name]
    return made
