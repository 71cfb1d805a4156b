"""How unlike all past tasks a task is, as a percentile of the distances between past families."""

from dataclasses import dataclass

import numpy as np

from metaflow_hpo.surrogate.meta_dataset import Array, MetaDataset
from metaflow_hpo.surrogate.targets import Standardiser

THRESHOLD = 95.0
"""Percentile above which a recommendation falls back to the portfolio, the learner's default first."""


@dataclass(frozen=True)
class Novelty:
    """Reference distances.

    Attributes:
        standardiser: Fitted on past tasks.
        meta_features: `(T, M)` standardised meta-features of past tasks.
        reference: `(T,)` sorted distance of each past task to its nearest task of another family.
    """

    standardiser: Standardiser
    meta_features: Array
    reference: Array

    @classmethod
    def fit(cls, meta: MetaDataset) -> "Novelty":
        """Measure past tasks against each other, leaving each one's family out."""
        standardiser = Standardiser.fit(meta.meta_features)
        points = standardiser.transform(meta.meta_features)
        families = np.array(meta.families)
        distances = np.sqrt(((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=-1))
        distances[families[:, None] == families[None, :]] = np.inf
        return cls(standardiser, points, np.sort(distances.min(axis=1)))

    def distances(self, meta_features: Array) -> Array:
        """Return the distance `(T,)` of a task `(M,)` to every past task."""
        query = self._query(meta_features)
        return np.asarray(np.sqrt(((self.meta_features - query) ** 2).sum(axis=1)))

    def percentile(self, meta_features: Array) -> float:
        """Return the share of past tasks, in percent, that are nearer to their nearest relative than this task is."""
        return float(100.0 * np.mean(self.reference < self.distances(meta_features).min()))

    def _query(self, meta_features: Array) -> Array:
        return np.asarray(self.standardiser.transform(meta_features[None, :])[0])
