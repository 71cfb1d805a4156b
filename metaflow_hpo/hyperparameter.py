"""Hyperparameters: one named dimension each, with its range, scale, default and condition.

Values are canonical (floats have six significant digits), so that a configuration goes through an encoding or a file
and comes back the same. An `optional` hyperparameter may be absent for no reason that the space tells, as in trials of
which it was not recorded.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaflow_hpo.errors import SearchSpaceMismatchError

Value = float | int | str | bool | None
"""Of a hyperparameter in a configuration. 1, True and "1" are three values; 1 and 1.0 are one."""

_SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class Condition:
    """A hyperparameter is active only while its `parent` (categorical) has one of `values`."""

    parent: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SearchSpaceMismatchError(f"A condition on {self.parent!r} needs at least one value; got none.")

    def holds(self, configuration: Mapping[str, Value]) -> bool:
        """Tell whether the parent has one of the values in a configuration, or in the part of it known so far."""
        return self.parent in configuration and find_value(self.values, configuration[self.parent]) is not None


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
        return _position(_as_number(value), self.low, self.high, self.log)

    def check(self, value: Any) -> float:
        """Return `value` in canonical form.

        Raises:
            SearchSpaceMismatchError: If it is not a finite number inside the range.
        """
        if not is_number(value):
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
        return _position(_as_number(value), *self._outer_ends, self.log)

    @property
    def _outer_ends(self) -> tuple[float, float]:
        """The range in which everything rounds to one of its values."""
        return self.low - 0.5 + 1e-9, self.high + 0.5 - 1e-9

    def check(self, value: Any) -> int:
        """Return `value` as an `int`.

        Raises:
            SearchSpaceMismatchError: If it is not a whole number inside the range.
        """
        if not is_number(value):
            raise SearchSpaceMismatchError(f"{self.name} must be a whole number; got {value!r}.")
        if not math.isfinite(value) or int(value) != value or not self.low <= value <= self.high:
            raise SearchSpaceMismatchError(
                f"{self.name} must be a whole number in [{self.low}, {self.high}]; got {value!r}."
            )
        return int(value)


@dataclass(frozen=True)
class Categorical:
    """An unordered hyperparameter with a finite list of choices: text, numbers, true, false or None."""

    name: str
    choices: tuple[Value, ...]
    default: Value
    condition: Condition | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        others = [choice for choice in self.choices if not _is_choice(choice)]
        if others:
            raise SearchSpaceMismatchError(
                f"The choices of {self.name} must be text, finite numbers, true, false or null; got {others!r}."
            )
        places = [find_value(self.choices, choice) for choice in self.choices]
        if places != list(range(len(places))) or find_value(self.choices, self.default) is None:
            raise SearchSpaceMismatchError(
                f"{self.name} needs distinct choices with its default; got {self.choices!r}, default {self.default!r}."
            )

    def place(self, value: Value) -> int:
        """Return which choice a value is, from 0.

        Raises:
            SearchSpaceMismatchError: If it is none of the choices.
        """
        found = find_value(self.choices, value)
        if found is None:
            shown = ", ".join(map(_show, self.choices))
            raise SearchSpaceMismatchError(f"{self.name} must be one of {shown}; got {value!r}.")
        return found

    def from_unit(self, unit: float) -> Value:
        """Return the choice whose equal share of `[0, 1]` holds `unit`."""
        return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the middle of the share of `value`, in `[0, 1]`."""
        return (self.place(value) + 0.5) / len(self.choices)

    def check(self, value: Any) -> Value:
        """Return `value` as it stands among the choices.

        Raises:
            SearchSpaceMismatchError: If it is none of the choices.
        """
        return self.choices[self.place(value)]


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
        return _build(str(item["name"]), {name: value for name, value in item.items() if name != "name"})
    except KeyError as error:
        raise SearchSpaceMismatchError(
            f"A hyperparameter needs type, name, default and its range; got {dict(item)!r}."
        ) from error


_FIELDS: Mapping[str, set[str]] = {
    "float": {"low", "high", "log"},
    "int": {"low", "high", "log"},
    "categorical": {"choices"},
}
_COMMON = {"type", "default", "condition", "when", "optional"}


def hyperparameter_from_yaml(name: str, item: Any) -> Hyperparameter:
    """Build a hyperparameter from its entry of a space file.

    Args:
        name: Its name.
        item: A list of choices, or a mapping: `type` (`float`, `int` or `categorical`), `low`, `high`, `log`, or
            `choices`; `default`, the middle or the first choice unless given; `when`, `{parent: [values]}`.

    Raises:
        SearchSpaceMismatchError: If a field is unknown, missing or wrong.
    """
    if isinstance(item, list):
        item = {"type": "categorical", "choices": item}
    if not isinstance(item, Mapping):
        raise SearchSpaceMismatchError(f"Expected {name} as a list of choices or as {{type, low, high}}; got {item!r}.")
    fields = {"type": "categorical", **item} if "choices" in item else item
    kind = str(fields.get("type"))
    known = _FIELDS.get(kind, set()) | _COMMON
    unknown = sorted(map(str, set(fields) - known))
    if unknown and kind in _FIELDS:
        raise SearchSpaceMismatchError(
            f"Unknown fields {unknown} of {name!r}; a {kind} has {', '.join(sorted(known))}."
        )
    try:
        return _build(name, fields)
    except KeyError as error:
        raise SearchSpaceMismatchError(f"{name} misses {error}; got {dict(item)!r}.") from error


def _build(name: str, fields: Mapping[str, Any]) -> Hyperparameter:
    kind = str(fields["type"])
    if kind not in _FIELDS:
        raise SearchSpaceMismatchError(f"Unknown type {kind!r} of {name!r}; use float, int or categorical.")
    condition, optional = _read_condition(name, fields), bool(fields.get("optional", False))
    if kind == "categorical":
        choices = fields["choices"]
        if not isinstance(choices, list | tuple) or not choices:
            raise SearchSpaceMismatchError(f"Expected choices of {name!r} as a list; got {choices!r}.")
        return Categorical(name, tuple(choices), fields.get("default", choices[0]), condition, optional)
    low, high, log = (_read_number(name, fields["low"]), _read_number(name, fields["high"]), fields.get("log", False))
    if not isinstance(log, bool):
        raise SearchSpaceMismatchError(f"Expected log of {name!r} as true or false; got {log!r}.")
    if "default" in fields:
        default = _read_number(name, fields["default"])
    else:
        default = _interpolate(0.5, low, high, log) if low < high and (low > 0 or not log) else low
        default = default if kind == "float" else float(round(default))
    if kind == "float":
        return Float(name, low, high, default, log, condition, optional)
    least, most, first = (_read_whole(name, value) for value in (low, high, default))
    return Integer(name, least, most, first, log, condition, optional)


def _read_number(name: str, value: Any) -> float:
    # YAML 1.1 reads 1e-5, which has no dot, as text.
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if not is_number(value):
        raise SearchSpaceMismatchError(f"Expected numbers as range and default of {name!r}; got {value!r}.")
    return value  # type: ignore[no-any-return]


def _read_whole(name: str, value: float) -> int:
    if not math.isfinite(value) or int(value) != value:
        raise SearchSpaceMismatchError(f"Expected whole numbers as range and default of {name!r}; got {value!r}.")
    return int(value)


def _read_condition(name: str, fields: Mapping[str, Any]) -> Condition | None:
    if fields.get("condition") is not None:
        raw = fields["condition"]
        if not isinstance(raw, Mapping) or set(raw) != {"parent", "values"} or not isinstance(raw["values"], list):
            raise SearchSpaceMismatchError(f"Expected condition of {name!r} as {{parent, values}}; got {raw!r}.")
        return Condition(raw["parent"], tuple(raw["values"]))
    when = fields.get("when")
    if when is None:
        return None
    if not isinstance(when, Mapping) or len(when) != 1:
        raise SearchSpaceMismatchError(f"Expected `when` of {name!r} as {{parent: [values]}}; got {when!r}.")
    [(parent, values)] = when.items()
    return Condition(str(parent), tuple(values) if isinstance(values, list) else (values,))


def find_value(values: Sequence[Value], value: Any) -> int | None:
    """Return the first place of a value among others; None where it is not there.

    1 is 1.0, but neither true nor "1".
    """
    if isinstance(value, np.generic):
        value = value.item()
    is_bool = isinstance(value, bool)
    return next((i for i, v in enumerate(values) if isinstance(v, bool) == is_bool and v == value), None)


def _as_number(value: Value) -> float:
    if value is None:
        raise SearchSpaceMismatchError("Expected a number on a numeric scale; got None.")
    return float(value)


def _is_choice(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or (is_number(value) and math.isfinite(value))


def _show(value: Value) -> str:
    return value if isinstance(value, str) else repr(value)


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


def is_number(value: Any) -> bool:
    """Tell whether a value is a number; true and false are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
