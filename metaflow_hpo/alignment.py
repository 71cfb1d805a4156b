"""Configurations of one search space in another: shared names by value, all choices, everything else left out."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.hyperparameter import Categorical, Float, Hyperparameter, Integer, Value, find_value, is_number
from metaflow_hpo.space import Configuration, SearchSpace, configuration_id
from metaflow_hpo.tables import HP_PREFIX, read_choice


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


def without_inactive(space: SearchSpace, configuration: Mapping[str, Value]) -> dict[str, Value]:
    """Return a configuration without the values that play no role, by the conditions of a space."""
    conditions = {hp.name: hp.condition for hp in space.hyperparameters}
    found = dict(configuration)
    for name, condition in conditions.items():
        if condition is not None and condition.parent in configuration and not condition.holds(found):
            found.pop(name, None)
    return found


def assumed(space: SearchSpace, configuration: Mapping[str, Any], assume: Mapping[str, Value]) -> dict[str, Value]:
    """Return what is assumed of a configuration: values of what it lacks where that plays a role in it."""
    conditions = {hp.name: hp.condition for hp in space.hyperparameters}
    whole = {**assume, **configuration}
    return {
        name: value
        for name, value in assume.items()
        if name not in configuration and ((condition := conditions.get(name)) is None or condition.holds(whole))
    }


def check_assumed(space: SearchSpace, assume: Mapping[str, Value]) -> None:
    """Refuse to assume what a space has no place for.

    Raises:
        SearchSpaceMismatchError: If a hyperparameter is not known, or its scale has no such value.
    """
    known = {hp.name: hp for hp in space.hyperparameters}
    for name, value in assume.items():
        hp = known.get(name)
        if hp is None:
            raise SearchSpaceMismatchError(
                f"Expected a hyperparameter of the search space, {list(known)}, to be assumed; got {name!r}."
            )
        if not isinstance(hp, Categorical) and not _fits(hp, value):
            scale = f"from {hp.low:g} to {hp.high:g}{' on a log scale' if hp.log else ''}"
            raise SearchSpaceMismatchError(f"{name} = {value!r} cannot be assumed: {name} is a number {scale}.")


def fit_table(frame: pd.DataFrame, space: SearchSpace) -> tuple[pd.DataFrame, SearchSpace]:
    """Return a table of trials as today's hyperparameters can read it, and a space that is wide enough for it.

    Args:
        frame: One line a trial; cells of `hp_<name>` that have no place on the axis of that name become empty.
        space: The search space of today.
    """
    known = [hp for hp in space.hyperparameters if HP_PREFIX + hp.name in frame.columns]
    values = {hp.name: _read_cells(hp, frame[HP_PREFIX + hp.name]) for hp in known}
    wide = widen(space, {name: column.dropna().unique().tolist() for name, column in values.items()})
    wide = SearchSpace(tuple(replace(hp, optional=hp.optional or hp.name not in values) for hp in wide.hyperparameters))
    columns = {}
    for hp in wide.hyperparameters:
        if hp.name in values:
            is_held = np.array([holds(hp, value) for value in values[hp.name]], dtype=np.bool_)
            cells = frame[HP_PREFIX + hp.name] if isinstance(hp, Categorical) else values[hp.name]
            columns[HP_PREFIX + hp.name] = cells.where(is_held)
    return frame.assign(**columns), wide


def _read_cells(hp: Hyperparameter, column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the values of cells: choices as they are, numbers as the axis has them, missing where there is none."""
    if isinstance(hp, Categorical):
        return column.astype(object).map(lambda cell: None if pd.isna(cell) else read_choice(hp, cell))
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers.round() if isinstance(hp, Integer) else numbers


def is_inside(space: SearchSpace, configuration: Configuration) -> bool:
    """Tell whether every value of a configuration lies in the space's ranges and choices."""
    known = {hp.name: hp for hp in space.hyperparameters}
    return all(name in known and holds(known[name], value) for name, value in configuration.items())


def is_whole(space: SearchSpace, configuration: Configuration) -> bool:
    """Tell whether a configuration lies in the space and has a value wherever one plays a role, and nowhere else."""
    return is_inside(space, configuration) and all(
        (hp.name in configuration) == space.is_active(hp.name, configuration) for hp in space.hyperparameters
    )


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
            tried. Values of other names are drawn at random: nothing is known of them; so are those that a
            configuration lacks and today's space demands.
        seed: Seed of what is drawn.
        count: How many; a fifth at least is drawn anywhere.
    """
    rng = np.random.default_rng(seed)
    required = {hp.name for hp in space.hyperparameters if not hp.optional}
    units = rng.random((2 * count, len(space.names)))
    drawn = [
        {hp.name: hp.from_unit(float(u)) for hp, u in zip(space.hyperparameters, row, strict=True)} for row in units
    ]
    chosen: dict[str, Configuration] = {}
    for (configuration, searched), free in zip(ranked, itertools.cycle(drawn), strict=False):
        if len(chosen) >= count - count // 5:
            break
        if is_inside(space, configuration):
            values = {**{n: v for n, v in free.items() if n not in searched or n in required}, **configuration}
            made = _keep_active(space, values)
            chosen.setdefault(configuration_id(made), made)
    for free in drawn:
        if len(chosen) >= count:
            break
        made = _keep_active(space, free)
        chosen.setdefault(configuration_id(made), made)
    return list(chosen.values())


def _keep_active(space: SearchSpace, values: Mapping[str, Value]) -> Configuration:
    made: dict[str, Value] = {}
    for hp in space.hyperparameters:
        if hp.name in values and (hp.condition is None or hp.condition.holds(made)):
            made[hp.name] = values[hp.name]
    return made
