"""What a table of meta-features says by role: sizes, chance, landmarks; whatever the columns are called."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.meta_features import Array, Columns, MetaFeatureGroup, Role
from metaflow_hpo.modalities.registry import known_groups

_Answer = TypeVar("_Answer", bound=NDArray[Any])


@dataclass(frozen=True)
class Roles:
    """The columns of a table of meta-features by role; a column that no group knows has none.

    Attributes:
        names: `(M,)` columns.
        groups: The groups among them, each with the positions of the columns that are there by the feature's name.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[MetaFeatureGroup, Mapping[str, int]], ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Roles":
        """Find the groups among columns."""
        return _find(tuple(names), known_groups())

    def positions(self, role: Role) -> list[int]:
        """Return the positions of the columns with a role, in order."""
        return sorted(at for group, there in self.groups for n, at in there.items() if group.features[n].role == role)

    def sizes(self, meta_features: Array) -> Array:
        """Return how large tasks `(T, M)` are in every way that is known, `(T, S)`, in logarithms."""
        more = self._ask(meta_features, lambda group: group.more_sizes)
        return np.concatenate([meta_features[:, self.positions("size")], *more], axis=1)

    def chance(self, meta_features: Array) -> Array:
        """Return the performance of guessing on tasks `(T, M)`, `(T,)`; NaN where it is not known."""
        known = np.full(len(meta_features), np.nan)
        for found in self._ask(meta_features, lambda group: group.chance or partial(_read_chance, group)):
            known = np.where(np.isnan(known), found, known)
        return known

    def best_landmark(self, meta_features: Array) -> Array:
        """Return the best landmark of tasks `(T, M)`, `(T,)`; NaN where there is none."""
        landmarks = meta_features[:, self.positions("landmark")]
        return np.asarray(np.fmax.reduce(landmarks, axis=1, initial=np.nan))

    def finds_nothing(self, meta_features: Array) -> NDArray[np.bool_]:
        """Tell of tasks `(T, M)`, `(T,)`, whether some group finds nothing better than guessing."""
        found = self._ask(meta_features, lambda group: group.finds_nothing)
        return np.asarray(np.any([np.zeros(len(meta_features), dtype=bool), *found], axis=0))

    def told_by_one(self, meta_features: Array) -> Array:
        """Return how much of the target one input alone tells, of tasks `(T, M)`, `(T,)`; NaN where it is not known."""
        known = np.full(len(meta_features), np.nan)
        for found in self._ask(meta_features, lambda group: group.told_by_one):
            known = np.fmax(known, found)
        return known

    def metric(self, meta_features: Array) -> Metric | None:
        """Return what chance and landmarks of a task `(M,)` are measured in; None where it is not known."""
        for group, there in self.groups:
            values = {name: float(meta_features[at]) for name, at in there.items()}
            found = None if group.metric is None else group.metric(values)
            if found is not None:
                return found
        return None

    def _ask(
        self, meta_features: Array, choose: Callable[[MetaFeatureGroup], Callable[[Columns], _Answer | None] | None]
    ) -> list[_Answer]:
        """Return what the groups answer to a question, those left out that do not."""
        answers = []
        for group, there in self.groups:
            question = choose(group)
            if question is not None:
                answers.append(question({name: meta_features[:, at] for name, at in there.items()}))
        return [answer for answer in answers if answer is not None]


def _read_chance(group: MetaFeatureGroup, columns: Columns) -> Array | None:
    return next((columns[name] for name in columns if group.features[name].role == "chance"), None)


@lru_cache(maxsize=64)
def _find(names: tuple[str, ...], known: tuple[MetaFeatureGroup, ...]) -> Roles:
    at = {name: position for position, name in enumerate(names)}
    groups = [
        (group, {name: at[group.prefix + name] for name in group.features if group.prefix + name in at})
        for group in known
    ]
    return Roles(names, tuple((group, there) for group, there in groups if there))


def _owner(column: str) -> MetaFeatureGroup | None:
    return next((group for group in known_groups() if column in group.columns), None)


def select_features(values: Mapping[str, float], names: Sequence[str]) -> Array:
    """Return the meta-features that something was learned with, `(M,)`; others that were given are left out.

    Args:
        values: Of one task, by column.
        names: `(M,)` columns that are needed.

    Raises:
        InvalidTableError: If one is missing or not a finite number; the message names its group.
    """
    missing = [name for name in names if name not in values]
    if missing:
        whose = "".join(f" of the group {group}" for group in dict.fromkeys(map(_owner, missing)) if group is not None)
        raise InvalidTableError(
            f"Expected the {len(names)} meta-features that this learned from; missing {listed(missing)}{whose}. "
            "Describe the task with the groups and versions of that time, or fit again with those there are now."
        )
    row = np.array([values[name] for name in names], dtype=np.float64)
    broken = [name for name, value in zip(names, row, strict=True) if not np.isfinite(value)]
    if broken:
        raise InvalidTableError(f"Meta-features must be finite numbers; {listed(broken)} are not.")
    return row
