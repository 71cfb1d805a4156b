"""Metrics: what a task is scored by, which way is better, between which values, and what guessing gives."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from metaflow_hpo.errors import InvalidTaskError

Direction = Literal["max", "min"]

BY_CLASSES = "1/classes"
"""The `chance` of a metric for which guessing gives one over the number of classes."""


@dataclass(frozen=True)
class Metric:
    """A score in its own orientation.

    A value becomes a *performance*, where higher is better, by `orient`.

    Attributes:
        name: Name, such as `balanced_accuracy`.
        direction: Whether a higher (`max`) or a lower (`min`) value is better.
        low: Lowest value; None where there is none.
        high: Highest value; None where there is none.
        chance: The value that guessing gives, or `BY_CLASSES`; None where it is not known.
        floored: Values on the worse side of the bounds occur, and count as the worst one.
    """

    name: str
    direction: Direction = "max"
    low: float | None = None
    high: float | None = None
    chance: float | str | None = None
    floored: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidTaskError(f"Expected the name of a metric; got {self.name!r}.")
        if self.direction not in get_args(Direction):
            raise InvalidTaskError(f"Expected direction `max` or `min` of {self.name!r}; got {self.direction!r}.")
        for field, value in (("low", self.low), ("high", self.high), ("chance", self.chance)):
            if not (value is None or _is_finite(value) or (field == "chance" and value == BY_CLASSES)):
                raise InvalidTaskError(
                    f"Expected a finite number as {field} of the metric {self.name!r}; got {value!r}."
                )
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        if not low < high:
            raise InvalidTaskError(f"Expected low < high of the metric {self.name!r}; got {self.low} and {self.high}.")
        if isinstance(self.chance, int | float) and not low <= self.chance <= high:
            raise InvalidTaskError(f"Expected chance of {self.name!r} from {low:g} to {high:g}; got {self.chance:g}.")

    def __str__(self) -> str:
        return self.name

    @property
    def lowest(self) -> float:
        """The worst performance, -inf where there is none."""
        worst = self.low if self.direction == "max" else self.high
        return -math.inf if worst is None else self._turn(worst)

    @property
    def highest(self) -> float:
        """The best performance, inf where there is none."""
        best = self.high if self.direction == "max" else self.low
        return math.inf if best is None else self._turn(best) + 0.0  # no -0

    @property
    def is_bounded(self) -> bool:
        """Whether performance has both a lowest and a highest value."""
        return self.low is not None and self.high is not None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest performance; None unless there are both."""
        return (self.lowest, self.highest) if self.is_bounded else None

    def orient(self, value: float) -> float:
        """Turn a value into a performance, where higher is better; one that is `floored` is at least `lowest`.

        Without the floor of R2, one diverged network would set the scale of a whole task.
        """
        performance = self._turn(value)
        return max(performance, self.lowest) if self.floored else performance

    def restore(self, performance: float) -> float:
        """Turn a performance back into a value of the metric."""
        return self._turn(performance)

    def admits(self, performance: float) -> bool:
        """Tell whether a performance can be of this metric."""
        return (self.floored or self.lowest <= performance) and performance <= self.highest

    def guessing(self, classes: int = 0) -> float | None:
        """Return the performance of guessing, None where it is not known.

        Args:
            classes: Number of classes of the task; 0 where it has none, or they are not known.
        """
        if self.chance is None:
            return None
        if isinstance(self.chance, str):
            return self._turn(1.0 / classes) if classes > 0 else None
        return self._turn(self.chance)

    def to_json(self) -> str | dict[str, Any]:
        """Return the name of a known metric, or else all fields, JSON-ready; `read` inverts it."""
        return self.name if KNOWN_METRICS.get(self.name) == self else asdict(self)

    def to_text(self) -> str:
        """Return what `to_json` does as one text, as it stands in a table; `read` inverts it."""
        values = self.to_json()
        return values if isinstance(values, str) else json.dumps(values, sort_keys=True)

    @classmethod
    def read(cls, values: "str | Mapping[str, Any] | Metric") -> "Metric":
        """Return a metric by its name, or by its fields.

        Args:
            values: Name of a known metric, or `{name, direction, low, high, chance}`, of which `name` and `direction`
                are needed; that as JSON text, too.

        Raises:
            InvalidTaskError: If the name is not known by itself, or a field is unknown or wrong.
        """
        if isinstance(values, Metric):
            return values
        if isinstance(values, str):
            return cls._from_fields(json.loads(values)) if values.startswith("{") else cls._by_name(values)
        return cls._from_fields(values)

    @classmethod
    def _by_name(cls, name: str) -> "Metric":
        if name not in KNOWN_METRICS:
            raise InvalidTaskError(
                f"Expected a metric among {', '.join(KNOWN_METRICS)}; got {name!r}. "
                f"Describe another one: {{name: {name}, direction: max, low: 0, high: 1}}, without bounds it has not."
            )
        return KNOWN_METRICS[name]

    @classmethod
    def _from_fields(cls, values: Any) -> "Metric":
        known = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or not {"name"} <= set(values) <= known:
            found = sorted(map(str, values)) if isinstance(values, Mapping) else repr(values)
            raise InvalidTaskError(
                f"Expected a metric as its name, or as {{name, direction, low, high, chance}}; found {found}."
            )
        if set(values) == {"name"}:
            return cls._by_name(str(values["name"]))
        if "direction" not in values:
            raise InvalidTaskError(f"Expected `direction: max` or `direction: min` of the metric {values['name']!r}.")
        return cls(**values)

    def _turn(self, value: float) -> float:
        return value if self.direction == "max" else -value


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


KNOWN_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", low=0.0, high=1.0),
        Metric("balanced_accuracy", low=0.0, high=1.0, chance=BY_CLASSES),
        Metric("log_loss", "min", low=0.0),
        Metric("r2", low=0.0, high=1.0, chance=0.0, floored=True),
        Metric("rmse", "min", low=0.0),
    )
}
"""Metrics that a name is enough for."""
