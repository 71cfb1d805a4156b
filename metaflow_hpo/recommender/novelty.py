"""How unlike all past tasks a task is, as a percentile of the distances between past families.

A task whose size lies outside what past tasks had (rows a column, rows a class, ...) counts as
unlike all of them whatever its distance, in which one of many numbers is easily lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.modalities.roles import Roles
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.task_distance import TaskDistance, square_distances

THRESHOLD = 95.0
"""Percentile above which a recommendation relies on past tasks alone, without the surrogate."""

_MARGIN = 0.75
"""How far outside the range of past tasks a size must lie, in standard deviations over them."""
_OTHER_SOURCE = 1.15
"""How much farther tasks of another source lie from all past ones than those of another family do.

With both, 2 to 4 % of the tasks of a source of the catalogue are unlike all those of the others (without: 13 to 37 %).
"""


@dataclass(frozen=True)
class Novelty:
    """Reference distances.

    Attributes:
        distance: To the past tasks.
        reference: `(T,)` sorted: how far each past task would be from the nearest one, were that of another source.
        names: `(M,)` names of the meta-features.
        sizes: `(2, S)` least and greatest size that counts as known.
    """

    distance: TaskDistance
    reference: Array
    names: tuple[str, ...]
    sizes: Array

    @classmethod
    def fit(cls, past: PastTasks, distance: TaskDistance, *, described: bool) -> "Novelty":
        """Measure past tasks against each other, leaving each one's family out.

        Args:
            past: The past tasks.
            distance: Fitted on them.
            described: Whether the names of the meta-features say which are sizes.
        """
        names = past.meta_feature_names if described else ()
        sizes = Roles.of(names).sizes(past.meta_features)  # (T, S)
        margin = _MARGIN * np.nanstd(sizes, axis=0)
        known = np.stack([np.fmin.reduce(sizes) - margin, np.fmax.reduce(sizes) + margin])
        reference = _OTHER_SOURCE * np.sort(np.sqrt(square_to_nearest_family(distance.standardised, past.families)))
        return cls(distance, reference, names, known)

    def distances(self, meta_features: Array) -> Array:
        """Return the distance `(T,)` of a task `(M,)` to every past task."""
        return np.asarray(np.sqrt(self.distance.squared(meta_features)))

    def percentile(self, meta_features: Array) -> float | None:
        """Return the share of past tasks, in percent, that are nearer to their nearest relative than this task is.

        It is 100 where the task's size lies outside that of all past tasks; None where nothing is known of it.
        """
        if not np.isfinite(meta_features).any():
            return None
        if self.is_outside(meta_features):
            return 100.0
        return float(100.0 * np.mean(self.reference < self.distances(meta_features).min()))

    def is_outside(self, meta_features: Array) -> bool:
        """Tell whether the task `(M,)` is smaller or larger, in some way, than anything that was learned from."""
        sizes = Roles.of(self.names).sizes(meta_features[None, :])[0]
        return bool(((sizes < self.sizes[0]) | (sizes > self.sizes[1])).any())


def is_beyond(percentile: float | None) -> bool:
    """Tell whether a task of this percentile, None where nothing is known of it, is unlike all past ones."""
    return percentile is not None and percentile > THRESHOLD


def square_to_nearest_family(points: Array, families: Sequence[str]) -> Array:
    """Return the squared distance `(T,)` of each task `(T, M)` to the nearest task of another family.

    One task at a time: all pairs at once would fill the memory where there are thousands.
    """
    own = np.array(families)
    squared = np.empty(len(points))
    for t, point in enumerate(points):
        squared[t] = square_distances(points, point).min(initial=np.inf, where=own != own[t])
    return squared
