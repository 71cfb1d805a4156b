"""Past tasks on configurations they never tried: every past task's scores carried over by one shared kernel.

The one thing to know: on the pool itself nothing changes. Elsewhere a past task's score is what the mean over tasks
predicts there, plus the task's own deviation from that mean, shrunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from metaflow_hpo.gaussian_process import GaussianProcess, matern, squared_distances
from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.space import Configuration

_OWN_NOISE = 0.5
"""Variance of a task's own deviations that no kernel explains, in units of the kernel's."""


@dataclass(frozen=True)
class PoolKernel:
    """How scores at new configurations follow from those of a pool.

    Attributes:
        past: Past tasks on a pool of P configurations.
        mean: Process of the mean score over tasks; its lengths serve all tasks.
        solved: `(T, P)` the kernel's inverse applied to each task's deviations from the mean.
    """

    past: PastTasks
    mean: GaussianProcess
    solved: Array

    @classmethod
    def fit(cls, past: PastTasks, *, most: int | None = None) -> "PoolKernel":
        """Learn the lengths from the mean over tasks: it has the least noise.

        Args:
            past: The past tasks.
            most: From how many configurations, where time is short; from all unless given.
        """
        center = past.scores.mean(axis=0)
        process = GaussianProcess.fit(past.points[:most], center[:most])
        if most is not None:
            process = process.like(past.points, center)
        scaled = past.points / process.lengths
        covariance = matern(squared_distances(scaled, scaled)) + _OWN_NOISE * np.eye(len(scaled))
        return cls(past, process, cho_solve(cho_factor(covariance), (past.scores - center).T).T)

    def extend(self, configurations: Sequence[Configuration]) -> PastTasks:
        """Return the past tasks on the pool and some more configurations, one at least, which come last."""
        past = self.past
        points = past.space.encode(configurations)
        scaled = points / self.mean.lengths
        cross = matern(squared_distances(scaled, past.points / self.mean.lengths))  # (P', P)
        scores = self.mean.predict(points)[0] + self.solved @ cross.T  # (T, P')
        return replace(
            past,
            configurations=(*past.configurations, *configurations),
            points=np.concatenate([past.points, points]),
            scores=np.concatenate([past.scores, scores], axis=1),
            deviation=np.concatenate([past.deviation, np.zeros_like(scores)], axis=1),
            regret=np.concatenate([past.regret, carry_over(past.scores, past.regret, scores)], axis=1),
        )


def carry_over(known: Array, values: Array, new: Array) -> Array:
    """Return for new scores `(T, P')` the values that go with such scores among known ones, both `(T, P)`."""
    order = np.argsort(known, axis=1, kind="stable")
    rows = zip(new, np.take_along_axis(known, order, 1), np.take_along_axis(values, order, 1), strict=True)
    return np.stack([np.interp(x, at, y) for x, at, y in rows])
