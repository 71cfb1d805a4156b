"""The search space of past trials: ranges that the tool knows, united over studies; the rest is read off the trials."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metaflow_hpo.hyperparameter import (
    Categorical,
    Condition,
    Float,
    Hyperparameter,
    Integer,
    Value,
    find_value,
    is_number,
)
from metaflow_hpo.infer_space import is_log_scale
from metaflow_hpo.space import SearchSpace

_FEW = 20
"""Numbers of which a hyperparameter may be a choice, beside None, or decide what else is used."""
Configurations = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """The values of one hyperparameter in the trials that have one."""

    name: str
    values: tuple[Any, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """Those that are numbers."""
        return tuple(v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool))

    @property
    def is_numeric(self) -> bool:
        """Whether all of them are finite numbers."""
        return len(self.numbers) == len(self.values) and bool(np.isfinite(self.numbers).all())


def distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    """Return each value once, in the order in which they come first: 1 is 1.0, but not true."""
    found: dict[tuple[bool, Value], Value] = {}
    for value in values:
        found.setdefault(_key(value), value)
    return tuple(found.values())


def _key(value: Value) -> tuple[bool, Value]:
    return isinstance(value, bool), value


def _order(value: Value) -> tuple[int, Any]:
    """Sort numbers by size, then truth values, text and None."""
    if is_number(value):
        return 0, value
    return (1, value) if isinstance(value, bool) else (2, value) if isinstance(value, str) else (3, 0)


def make_range(name: str, low: float, high: float, *, log: bool = False, default: Any = None) -> Hyperparameter:
    """Return a range of whole numbers where both ends are `int`, else of numbers; one choice where it has no width."""
    if low == high:
        return Categorical(name, (low,), low)
    log = log and low > 0
    middle = math.sqrt(low * high) if log else (low + high) / 2
    if isinstance(low, int) and isinstance(high, int):
        inside = isinstance(default, int) and low <= default <= high
        return Integer(name, low, high, default if inside else round(middle), log)
    low, high = float(low), float(high)
    inside = isinstance(default, int | float) and low <= default <= high
    return Float(name, low, high, float(default) if inside else min(max(middle, low), high), log)


def make_choices(name: str, choices: Sequence[Any], *, default: Any = None) -> Hyperparameter:
    """Return a choice among values, in their order; the first is the default unless another one is."""
    found = distinct(choices)
    return Categorical(name, found, default if find_value(found, default) is not None else found[0])


def united(studies: Iterable[Sequence[Hyperparameter]]) -> dict[str, Hyperparameter]:
    """Return every hyperparameter once: the widest range, all choices, on one axis whatever its type and scale.

    A logarithmic scale wins over a linear one where its range is positive; choices that are all numbers join a range.
    """
    merged: dict[str, Hyperparameter] = {}
    for study in studies:
        for hp in study:
            merged[hp.name] = _unite(merged[hp.name], hp) if hp.name in merged else hp
    return merged


def with_parents(found: Mapping[str, Hyperparameter]) -> tuple[Hyperparameter, ...]:
    """Return hyperparameters of which those whose condition the parent cannot meet are merely optional."""
    kept: dict[str, Hyperparameter] = {}
    for hp in found.values():
        condition = hp.condition
        parent = None if condition is None else kept.get(condition.parent)
        meets = (
            isinstance(parent, Categorical)
            and condition is not None
            and all(find_value(parent.choices, value) is not None for value in condition.values)
        )
        kept[hp.name] = hp if condition is None or meets else replace(hp, condition=None, optional=True)
    return tuple(kept.values())


def is_of_numbers(hp: Hyperparameter) -> bool:
    """Tell whether every value of a hyperparameter is a number."""
    return not isinstance(hp, Categorical) or all(is_number(choice) for choice in hp.choices)


def varies(hp: Hyperparameter) -> bool:
    """Tell whether there is more than one value to choose from."""
    return not isinstance(hp, Categorical) or len(hp.choices) > 1


def _unite(first: Hyperparameter, second: Hyperparameter) -> Hyperparameter:
    condition = first.condition if first.condition == second.condition else None
    if isinstance(first, Categorical) and isinstance(second, Categorical):
        return Categorical(first.name, distinct(first.choices + second.choices), first.default, condition)
    if isinstance(first, Categorical):
        return _widened(second, first.choices, condition)
    if isinstance(second, Categorical):
        return _widened(first, second.choices, condition)
    numeric = Integer if isinstance(first, Integer) and isinstance(second, Integer) else Float
    low, high = min(first.low, second.low), max(first.high, second.high)
    return numeric(first.name, low, high, first.default, (first.log or second.log) and low > 0, condition)  # type: ignore[arg-type]


def _widened(hp: Hyperparameter, values: Sequence[Value], condition: Condition | None) -> Hyperparameter:
    """Return a hyperparameter that holds more values; choices where they are not all numbers."""
    numbers = [float(value) for value in values if is_number(value) and value is not None]
    if isinstance(hp, Categorical) or len(numbers) < len(values):
        known: tuple[Value, ...] = hp.choices if isinstance(hp, Categorical) else (hp.low, hp.high)
        return Categorical(hp.name, distinct((*known, *values)), known[0], condition)
    low, high = min([hp.low, *numbers]), max([hp.high, *numbers])
    whole = isinstance(hp, Integer) and all(float(number).is_integer() for number in numbers)
    if whole:
        return Integer(hp.name, int(low), int(high), int(hp.default), hp.log and low > 0, condition)
    return Float(hp.name, low, high, hp.default, hp.log and low > 0, condition)


def build_space(
    configurations: Configurations,
    tasks: Sequence[str],
    known: Mapping[str, Hyperparameter],
    names: Sequence[str],
    *,
    knows_conditions: bool,
) -> SearchSpace:
    """Return the space of all trials.

    Args:
        configurations: What each trial used, `(N,)`; an inactive hyperparameter is absent.
        tasks: `(N,)` the task of each. What all trials of a task lack was not searched there, rather than inactive.
        known: Hyperparameters whose range a tool told.
        names: Those that are hyperparameters.
        knows_conditions: Whether `known` has the conditions; else they are told from what is absent.
    """
    columns = {n: Column(n, tuple(c[n] for c in configurations if n in c)) for n in names}
    made = {n: _hold(known[n], columns[n]) if n in known else infer(columns[n]) for n in names}
    searched = {n: {t for c, t in zip(configurations, tasks, strict=True) if n in c} for n in names}
    missing = Counter(
        n for c, t in zip(configurations, tasks, strict=True) for n in names if n not in c and t in searched[n]
    )
    order = sorted(names, key=lambda n: (missing[n], n))
    space: list[Hyperparameter] = []
    for name in order:
        hp = made[name]
        condition = hp.condition if knows_conditions and name in known else None
        if condition is None and missing[name] and not (knows_conditions and name in known):
            relevant = [c for c, t in zip(configurations, tasks, strict=True) if t in searched[name]]
            found = find_condition(name, relevant, space)
            if found is not None:
                parent, condition = found
                space[[one.name for one in space].index(parent.name)] = parent
        space.append(replace(hp, condition=condition))
    return SearchSpace(tuple(_allow_gaps(hp, configurations) for hp in _parents_first(space)))


def _allow_gaps(hp: Hyperparameter, configurations: Configurations) -> Hyperparameter:
    """Return a hyperparameter as optional where a trial lacks it for no reason that the space tells."""
    lacks = any(hp.name not in c and (hp.condition is None or hp.condition.holds(c)) for c in configurations)
    return replace(hp, optional=lacks)


def _parents_first(space: Sequence[Hyperparameter]) -> list[Hyperparameter]:
    ordered: list[Hyperparameter] = []
    waiting = list(space)
    while waiting:
        placed = {hp.name for hp in ordered}
        ready = [hp for hp in waiting if hp.condition is None or hp.condition.parent in placed]
        ordered += ready or waiting
        waiting = [hp for hp in waiting if hp not in ready] if ready else []
    return ordered


def _hold(hp: Hyperparameter, column: Column) -> Hyperparameter:
    """Widen a known range by what was tried outside of it, as enqueued trials may be."""
    return _widened(hp, column.values, hp.condition)


def infer(column: Column) -> Hyperparameter:
    """Return the hyperparameter that explains some values: whole numbers, numbers, or choices.

    A scale is logarithmic where all values are positive, span a factor of 8 and are spread more evenly over the
    logarithm. The default is the middle of the range, or the most frequent choice.
    """
    if not column.is_numeric:
        counts = Counter(map(_key, column.values))
        choices = tuple(sorted(distinct(column.values), key=_order))
        return Categorical(column.name, choices, max(choices, key=lambda choice: counts[_key(choice)]))
    numbers = np.unique(np.array(column.numbers, dtype=np.float64))
    low, high, log = float(numbers[0]), float(numbers[-1]), is_log_scale(numbers)
    middle = float(np.sqrt(low * high)) if log else 0.5 * (low + high)
    if (numbers == np.round(numbers)).all():
        return Integer(column.name, int(low), int(high), int(min(max(round(middle), low), high)), log)
    return Float(column.name, low, high, min(max(middle, low), high), log)


def find_condition(
    name: str, configurations: Configurations, parents: Sequence[Hyperparameter]
) -> tuple[Categorical, Condition] | None:
    """Return the parent whose values tell where `name` is used, as choices, and the condition; None if none does."""
    for parent in parents:
        if any(parent.name not in c for c in configurations if name in c):
            continue
        on = {_key(c[parent.name]) for c in configurations if name in c}
        off = {_key(c[parent.name]) for c in configurations if name not in c and parent.name in c}
        if not on or on & off:
            continue
        used = Condition(parent.name, tuple(sorted((value for _, value in on), key=_order)))
        if isinstance(parent, Categorical):
            return parent, used
        if isinstance(parent, Integer) and len(on | off) <= _FEW:
            choices = tuple(sorted((value for _, value in on | off), key=_order))
            default = min(choices, key=lambda choice: abs(float(choice or 0) - parent.default))
            return Categorical(parent.name, choices, default, parent.condition), used
    return None


def with_nothing_chosen(
    configurations: Sequence[dict[str, Any]], tasks: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Read gaps that no other hyperparameter explains as the choice None, where a table cannot tell both apart.

    Args:
        configurations: What each trial used, `(N,)`; changed in place.
        tasks: `(N,)` the task of each.
        names: The hyperparameters.

    Returns:
        Names of those in which None was read.
    """
    changed = []
    complete = [n for n in names if all(n in c for c in configurations)]
    parents = [infer(Column(n, tuple(c[n] for c in configurations))) for n in complete]
    for name in names:
        searched = {t for c, t in zip(configurations, tasks, strict=True) if name in c}
        relevant = [c for c, t in zip(configurations, tasks, strict=True) if t in searched]
        column = Column(name, tuple(c[name] for c in relevant if name in c))
        gaps = len(relevant) - len(column.values)
        if not gaps or find_condition(name, relevant, parents) is not None:
            continue
        if not column.is_numeric or len(set(column.values)) <= _FEW:
            changed.append(name)
            for configuration in relevant:
                configuration.setdefault(name, None)
    return changed
