"""Groups of meta-features: numbers that describe a task from its training rows only, each with a role."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError, listed
from metaflow_hpo.metric import Metric
from metaflow_hpo.tables import META_PREFIX
from metaflow_hpo.task import TaskData

Role = Literal["size", "chance", "landmark", "plain"]
"""`size`: how large, in logarithms, beyond which nothing is known. `chance`: what guessing gives. `landmark`: a
performance that a learner may be expected to reach, in the metric that learning curves are measured in."""

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
"""Values of T tasks, `(T,)` by the feature's name."""


@dataclass(frozen=True)
class MetaFeature:
    """What one number means."""

    description: str
    role: Role = "plain"


@dataclass(frozen=True)
class MetaFeatureGroup:
    """Meta-features that are measured together; a change of what one of them means is a new version.

    Attributes:
        name: Name of the group, part of the names of its columns.
        version: From 1.
        features: What there is, by name; empty where only the data can tell.
        modalities: Whose tasks it describes; empty for all.
        measure: Returns the finite values of `features` for a task, whose test rows it does not look at.
        prefix: What the names of its columns begin with; made of name and version unless given.
        chance: Returns the performance of guessing `(T,)`, in [0, 1]; the feature with that role unless given. This and
            the next ones get the columns that are there, and return None where these do not tell.
        more_sizes: Returns sizes `(T, S)` that follow from features, to be known beside those with that role.
        finds_nothing: Tells `(T,)` whether nothing that was tried is better than guessing; unknown unless given.
        told_by_one: Returns how much of the target one input alone tells, `(T,)` in [0, 1]; unknown unless given.
        metric: Returns what chance and landmarks of one task are measured in, by the values of its features.
    """

    name: str
    version: int
    features: Mapping[str, MetaFeature] = field(hash=False)
    modalities: tuple[str, ...]
    measure: Callable[[Any], Mapping[str, float]]
    prefix: str = ""
    chance: Callable[[Columns], Array | None] | None = None
    more_sizes: Callable[[Columns], Array | None] | None = None
    finds_nothing: Callable[[Columns], NDArray[np.bool_] | None] | None = None
    told_by_one: Callable[[Columns], Array | None] | None = None
    metric: Callable[[Mapping[str, float]], Metric | None] | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.version < 1:
            raise MetaflowHPOError(
                f"Expected a group of meta-features with a name and a version from 1; got {self.name!r} version "
                f"{self.version}."
            )
        wrong = [name for name, feature in self.features.items() if feature.role not in get_args(Role)]
        if wrong:
            raise MetaflowHPOError(
                f"{self}: expected a role among {', '.join(get_args(Role))}; {listed(wrong)} has another one."
            )
        if not self.prefix:
            version = "" if self.version == 1 else f"v{self.version}."
            object.__setattr__(self, "prefix", f"{META_PREFIX}{self.name}.{version}")

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns in a table of meta-features, in order."""
        return tuple(self.prefix + name for name in self.features)

    def describes(self, modality: str) -> bool:
        """Tell whether it is for tasks of a modality."""
        return not self.modalities or modality in self.modalities

    def describe(self, data: TaskData) -> dict[str, float]:
        """Return the meta-features of a task by their columns, in order.

        Raises:
            MetaflowHPOError: If the group does not return its features, finite.
        """
        values = self.measure(data)
        names = tuple(self.features) or tuple(values)
        if set(values) != set(names):
            raise MetaflowHPOError(
                f"Expected the meta-features {listed(list(names))} of the group {self}; found {listed(list(values))}."
            )
        described = {self.prefix + name: float(values[name]) for name in names}
        broken = [name for name, value in described.items() if not math.isfinite(value)]
        if broken:
            raise MetaflowHPOError(
                f"{data.task.task_id}: expected finite numbers of the group {self}; {listed(broken)} are not."
            )
        return described
