"""Search spaces: all hyperparameters of a learner, their conditions and encodings.

A configuration is a plain mapping that holds the *active* hyperparameters only: `momentum` is absent when the optimizer
is Adam. Values are canonical, which makes `decode(encode(c)) == c` exact.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.hyperparameter import (
    Categorical,
    Condition,
    Float,
    Hyperparameter,
    Integer,
    Value,
    find_value,
    hyperparameter_from_json,
    hyperparameter_from_yaml,
    hyperparameter_to_json,
)

__all__ = [
    "Array",
    "Categorical",
    "Condition",
    "Configuration",
    "Float",
    "Hyperparameter",
    "Integer",
    "SearchSpace",
    "Value",
    "configuration_id",
]

Configuration = Mapping[str, Any]
"""Active hyperparameters by name, each a `Value`; `Any`, since whoever reads one knows its type."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class SearchSpace:
    """All hyperparameters of a learner, in a fixed order (parents before the hyperparameters they switch on)."""

    hyperparameters: tuple[Hyperparameter, ...]

    def __post_init__(self) -> None:
        if not self.hyperparameters:
            raise SearchSpaceMismatchError("A search space needs at least one hyperparameter; got none.")
        seen: dict[str, Hyperparameter] = {}
        for hp in self.hyperparameters:
            if not isinstance(hp.name, str):
                raise SearchSpaceMismatchError(f"Expected a text as the name of a hyperparameter; got {hp.name!r}.")
            if hp.name in seen:
                raise SearchSpaceMismatchError(f"The hyperparameter {hp.name!r} is defined twice.")
            if hp.condition is not None:
                parent = seen.get(hp.condition.parent)
                if not isinstance(parent, Categorical) or any(
                    find_value(parent.choices, value) is None for value in hp.condition.values
                ):
                    raise SearchSpaceMismatchError(
                        f"{hp.name!r} depends on {hp.condition.parent!r} in {hp.condition.values}: "
                        "expected a categorical hyperparameter defined before it, with these choices."
                    )
            seen[hp.name] = hp

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hyperparameters, in order."""
        return tuple(hp.name for hp in self.hyperparameters)

    @property
    def default(self) -> Configuration:
        """The configuration a person gets who tunes nothing."""
        return self._keep_active({hp.name: hp.default for hp in self.hyperparameters})

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """Names of the columns of `encode`: `learning_rate`, `optimizer=sgd`, `momentum?` (is it active), ..."""
        return tuple(itertools.chain.from_iterable(_encoded_names(hp) for hp in self.hyperparameters))

    def _keep_active(self, values: Mapping[str, Value]) -> dict[str, Value]:
        active: dict[str, Value] = {}
        for hp in self.hyperparameters:
            if _is_active(hp, active) and hp.name in values:
                active[hp.name] = values[hp.name]
        return active

    def is_active(self, name: str, configuration: Configuration) -> bool:
        """Tell whether the hyperparameter `name` plays a role in `configuration`."""
        return _is_active(next(hp for hp in self.hyperparameters if hp.name == name), configuration)

    def validate(self, configuration: Mapping[str, Any]) -> Configuration:
        """Return the canonical form of a configuration.

        Raises:
            SearchSpaceMismatchError: If a hyperparameter is unknown, missing, inactive or outside its range.
        """
        unknown = sorted(set(configuration) - set(self.names))
        if unknown:
            raise SearchSpaceMismatchError(
                f"Unknown hyperparameters {unknown}; the search space has {list(self.names)}."
            )
        result: dict[str, Value] = {}
        for hp in self.hyperparameters:
            active = _is_active(hp, result)
            if active and hp.name not in configuration and not hp.optional:
                raise SearchSpaceMismatchError(f"The configuration misses {hp.name!r}; it needs {list(self.names)}.")
            if not active and hp.name in configuration:
                condition = hp.condition
                where = f"{condition.parent} is one of {', '.join(map(str, condition.values))}" if condition else ""
                raise SearchSpaceMismatchError(f"{hp.name!r} is only used where {where}; leave it out here.")
            if active and hp.name in configuration:
                result[hp.name] = hp.check(configuration[hp.name])
        return result

    def from_unit(self, units: Array) -> list[Configuration]:
        """Turn points of the unit cube into configurations.

        Args:
            units: Points, `(N, D)` with `D` the number of hyperparameters, each in `[0, 1]`.
        """
        if units.ndim != 2 or units.shape[1] != len(self.hyperparameters):
            raise SearchSpaceMismatchError(
                f"Expected points of shape (N, {len(self.hyperparameters)}); got {units.shape}."
            )
        pairs = list(enumerate(self.hyperparameters))
        return [self._keep_active({hp.name: hp.from_unit(float(row[d])) for d, hp in pairs}) for row in units]

    def to_unit(self, configurations: Sequence[Configuration]) -> Array:
        """Turn configurations into points of the unit cube, `(N, D)`; inactive hyperparameters sit at their default."""
        rows = [[hp.to_unit(c.get(hp.name, hp.default)) for hp in self.hyperparameters] for c in configurations]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.hyperparameters))

    def encode(self, configurations: Sequence[Configuration]) -> Array:
        """Encode configurations for a network: numbers in `[0, 1]`, choices one-hot, a flag where a condition rules.

        Returns:
            `(N, D)` with `D = len(encoded_names)`.
        """
        rows = [
            list(itertools.chain.from_iterable(_encode(hp, c) for hp in self.hyperparameters)) for c in configurations
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.encoded_names))

    def columns_of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Return the columns of `encode` that tell of some hyperparameters."""
        wanted = set(names)
        owners = [hp.name for hp in self.hyperparameters for _ in _encoded_names(hp)]
        return np.array([column for column, owner in enumerate(owners) if owner in wanted], dtype=np.int64)

    def decode(self, encoded: Array) -> list[Configuration]:
        """Invert `encode`."""
        return [self._decode_row(row) for row in encoded]

    def _decode_row(self, row: Array) -> Configuration:
        values: dict[str, Value] = {}
        start = 0
        for hp in self.hyperparameters:
            end = start + len(_encoded_names(hp))
            if hp.optional and row[end - 1] < 0.5:
                pass
            elif isinstance(hp, Categorical):
                values[hp.name] = hp.choices[int(np.argmax(row[start : start + len(hp.choices)]))]
            else:
                values[hp.name] = hp.from_unit(float(row[start]))
            start = end
        return self._keep_active(values)

    def grid(self, size: int) -> list[Configuration]:
        """Return about `size` configurations of a full grid, the first hyperparameters with the most levels.

        Levels are added one hyperparameter at a time, in order, while the grid stays within `size`; each numeric
        hyperparameter without a level of its own stays at its default.
        """
        levels = {hp.name: 1 for hp in self.hyperparameters}
        grew = True
        while grew:
            grew = False
            for hp in self.hyperparameters:
                limit = len(hp.choices) if isinstance(hp, Categorical) else size
                trial = {**levels, hp.name: levels[hp.name] + 1}
                if trial[hp.name] <= limit and len(self._product(trial)) <= size:
                    levels, grew = trial, True
        return self._product(levels)

    def _product(self, levels: Mapping[str, int]) -> list[Configuration]:
        axes = [_levels(hp, levels[hp.name]) for hp in self.hyperparameters]
        distinct: dict[str, Configuration] = {}
        for values in itertools.product(*axes):
            configuration = self._keep_active(dict(zip(self.names, values, strict=True)))
            distinct.setdefault(configuration_id(configuration), configuration)
        return list(distinct.values())

    def to_json(self) -> list[dict[str, Any]]:
        """Return the space as JSON-ready values; `from_json` inverts it."""
        return [hyperparameter_to_json(hp) for hp in self.hyperparameters]

    @classmethod
    def from_json(cls, items: Iterable[Mapping[str, Any]]) -> "SearchSpace":
        """Build a space from what `to_json` returned.

        Raises:
            SearchSpaceMismatchError: If an item has no known `type`, misses a field or holds a bad range.
        """
        return cls(tuple(hyperparameter_from_json(item) for item in items))

    @classmethod
    def read(cls, values: "SearchSpace | Mapping[str, Any] | Iterable[Any]") -> "SearchSpace":
        """Build a space from what a person writes down.

        Args:
            values: A mapping by name, in any order (`{lr: {type: float, low: 1e-5, high: 0.1, log: true}, optimizer:
                [sgd, adam]}`), a JSON list as `to_json` returns it, or a list of hyperparameters.

        Raises:
            SearchSpaceMismatchError: If an entry misses a field, has an unknown one, or holds a bad range.
        """
        if isinstance(values, SearchSpace):
            return values
        if isinstance(values, Mapping):
            return cls(_parents_first([hyperparameter_from_yaml(str(name), item) for name, item in values.items()]))
        items = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
        if not items or not all(isinstance(item, Mapping | Hyperparameter) for item in items):
            raise SearchSpaceMismatchError(
                "Expected a search space as {name: {type, low, high}, name: [choices]} or a list of hyperparameters; "
                f"got {values!r}."
            )
        return cls(tuple(hyperparameter_from_json(i) if isinstance(i, Mapping) else i for i in items))


def configuration_id(configuration: Configuration) -> str:
    """Return 12 hexadecimal digits that name a configuration by its content, on every machine."""
    canonical = json.dumps(dict(configuration), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _parents_first(hyperparameters: Sequence[Hyperparameter]) -> tuple[Hyperparameter, ...]:
    """Return hyperparameters in their order, but for those whose parent stands behind them."""
    waiting, ordered = list(hyperparameters), []
    while waiting:
        later = {hp.name for hp in waiting}
        ready = next((hp for hp in waiting if hp.condition is None or hp.condition.parent not in later), None)
        if ready is None:
            names = ", ".join(hp.name for hp in waiting)
            raise SearchSpaceMismatchError(f"The conditions of {names} depend on each other.")
        waiting.remove(ready)
        ordered.append(ready)
    return tuple(ordered)


def _is_active(hp: Hyperparameter, configuration: Configuration) -> bool:
    return hp.condition is None or hp.condition.holds(configuration)


def _encoded_names(hp: Hyperparameter) -> list[str]:
    names = [f"{hp.name}={choice}" for choice in hp.choices] if isinstance(hp, Categorical) else [hp.name]
    return [*names, f"{hp.name}?"] if _may_be_absent(hp) else names


def _encode(hp: Hyperparameter, configuration: Configuration) -> list[float]:
    active = hp.name in configuration
    value = configuration.get(hp.name, hp.default)
    if isinstance(hp, Categorical):
        place = hp.place(value)
        numbers = [float(active and place == number) for number in range(len(hp.choices))]
    else:
        numbers = [hp.to_unit(value)]
    return [*numbers, float(active)] if _may_be_absent(hp) else numbers


def _may_be_absent(hp: Hyperparameter) -> bool:
    return hp.condition is not None or hp.optional


def _levels(hp: Hyperparameter, count: int) -> list[Value]:
    if isinstance(hp, Categorical):
        first = hp.place(hp.default)
        return [hp.default, *hp.choices[:first], *hp.choices[first + 1 :]][:count]
    if count == 1:
        return [hp.default]
    return list(dict.fromkeys(hp.from_unit((i + 0.5) / count) for i in range(count)))
