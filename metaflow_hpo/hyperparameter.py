"""Hyperparameters: one named dimension each, with its range, scale, default and condition.

Values are canonical (floats have six significant digits), so that a configuration goes through an encoding or a file
and comes back the same. An `optional` hyperparameter may be absent for no reason that the space tells, as in trials of
which it was not recorded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaflow_hpo.errors import SearchSpaceMismatchError

Value = float | int | str

_SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class Condition:
    """A hyperparameter is active only while its `parent` (categorical) has one of `values`."""

    parent: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SearchSpaceMismatchError(f"A condition on {self.parent!r} needs at least one value; got none.")

    def holds(self, configuration: Mapping[str, Value]) -> bool:
        """Tell whether the parent has one of the values in a configuration, or in the part of it known so far."""
        return configuration.get(self.parent) in self.values


@dataclass(frozen=True)
class Float:
    """A real hyperparameter in `[low, high]`, searched on a linear or logarithmic scale."""

    name: str
    low: float
    high: float
    default: float
    log: bool = False
    condition: Condition | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.default, self.log)

    def from_unit(self, unit: float) -> float:
        """Return the canonical value at position `unit` in `[0, 1]` of the range."""
        value = _interpolate(unit, self.low, self.high, self.log)
        return self._round(value)

    def to_unit(self, value: Value) -> float:
        """Return the position of `value` in the range, in `[0, 1]`."""
        return _position(float(value), self.low, self.high, self.log)

    def check(self, value: Any) -> float:
        """Return `value` in canonical form.

        Raises:
            SearchSpaceMismatchError: If it is not a finite number inside the range.
        """
        if not _is_number(value):
            raise SearchSpaceMismatchError(f"{self.name} must be a number in [{self.low}, {self.high}]; got {value!r}.")
        if not self.low <= value <= self.high:
            raise SearchSpaceMismatchError(f"{self.name} must be in [{self.low}, {self.high}]; got {value!r}.")
        return self._round(float(value))

    def _round(self, value: float) -> float:
        # Rounding must not leave a range whose ends have more digits.
        return min(max(float(f"{value:.{_SIGNIFICANT_DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Integer:
    """A whole-number hyperparameter in `[low, high]`, both ends included."""

    name: str
    low: int
    high: int
    default: int
    log: bool = False
    condition: Condition | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.default, self.log)

    def from_unit(self, unit: float) -> int:
        """Return the value at position `unit` in `[0, 1]`; on a linear scale each value has the same share."""
        value = _interpolate(unit, *self._outer_ends, self.log)
        return int(min(max(round(value), self.low), self.high))

    def to_unit(self, value: Value) -> float:
        """Return the position of `value` in the range, in `[0, 1]`."""
        return _position(float(value), *self._outer_ends, self.log)

    @property
    def _outer_ends(self) -> tuple[float, float]:
        """The range in which everything rounds to one of its values."""
        return self.low - 0.5 + 1e-9, self.high + 0.5 - 1e-9

    def check(self, value: Any) -> int:
        """Return `value` as an `int`.

        Raises:
            SearchSpaceMismatchError: If it is not a whole number inside the range.
        """
        if not _is_number(value):
            raise SearchSpaceMismatchError(f"{self.name} must be a whole number; got {value!r}.")
        if not math.isfinite(value) or int(value) != value or not self.low <= value <= self.high:
            raise SearchSpaceMismatchError(
                f"{self.name} must be a whole number in [{self.low}, {self.high}]; got {value!r}."
            )
        return int(value)


@dataclass(frozen=True)
class Categorical:
    """An unordered hyperparameter with a finite list of choices."""

    name: str
    choices: tuple[str, ...]
    default: str
    condition: Condition | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if len(set(self.choices)) != len(self.choices) or not self.choices or self.default not in self.choices:
            raise SearchSpaceMismatchError(
                f"{self.name} needs distinct choices with its default; got {self.choices!r}, default {self.default!r}."
            )

    def from_unit(self, unit: float) -> str:
        """Return the choice whose equal share of `[0, 1]` holds `unit`."""
        return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the middle of the share of `value`, in `[0, 1]`."""
        return (self.choices.index(str(value)) + 0.5) / len(self.choices)

    def check(self, value: Any) -> str:
        """Return `value`.

        Raises:
            SearchSpaceMismatchError: If it is none of the choices.
        """
        if value not in self.choices:
            raise SearchSpaceMismatchError(f"{self.name} must be one of {', '.join(self.choices)}; got {value!r}.")
        return str(value)


Hyperparameter = Float | Integer | Categorical


def hyperparameter_to_json(hp: Hyperparameter) -> dict[str, Any]:
    """Return a hyperparameter as JSON-ready values; `hyperparameter_from_json` inverts it."""
    condition = None if hp.condition is None else {"parent": hp.condition.parent, "values": list(hp.condition.values)}
    common = {"name": hp.name, "default": hp.default, "condition": condition}
    if hp.optional:
        common["optional"] = True
    if isinstance(hp, Categorical):
        return {"type": "categorical", "choices": list(hp.choices), **common}
    kind = "float" if isinstance(hp, Float) else "int"
    return {"type": kind, "low": hp.low, "high": hp.high, "log": hp.log, **common}


def hyperparameter_from_json(item: Mapping[str, Any]) -> Hyperparameter:
    """Build a hyperparameter from what `hyperparameter_to_json` returned.

    Raises:
        SearchSpaceMismatchError: If it has no known `type`, misses a field or holds a bad range.
    """
    try:
        raw = item.get("condition")
        condition = None if raw is None else Condition(raw["parent"], tuple(raw["values"]))
        optional = bool(item.get("optional", False))
        match item["type"]:
            case "categorical":
                return Categorical(item["name"], tuple(item["choices"]), item["default"], condition, optional)
            case "float" | "int" as kind:
                numeric = Float if kind == "float" else Integer
                is_log = item.get("log", False)
                return numeric(item["name"], item["low"], item["high"], item["default"], is_log, condition, optional)
            case other:
                raise SearchSpaceMismatchError(
                    f"Unknown type {other!r} of {item['name']!r}; use float, int or categorical."
                )
    except (KeyError, TypeError) as error:
        raise SearchSpaceMismatchError(
            f"A hyperparameter needs type, name, default and its range; got {dict(item)!r}."
        ) from error


def _check_range(name: str, low: float, high: float, default: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high and low <= default <= high):
        raise SearchSpaceMismatchError(
            f"{name} needs low < high with the default between; got {low}, {high}, {default}."
        )
    if log and low <= 0:
        raise SearchSpaceMismatchError(f"{name} is on a log scale and needs low > 0; got {low}.")


def _interpolate(unit: float, low: float, high: float, log: bool) -> float:
    unit = min(max(unit, 0.0), 1.0)
    if log:
        return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    return low + unit * (high - low)


def _position(value: float, low: float, high: float, log: bool) -> float:
    if log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
