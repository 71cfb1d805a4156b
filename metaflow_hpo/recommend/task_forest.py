"""Which past tasks a new one resembles, learned: a forest from meta-features to regrets over configurations.

The one thing to know: it has a say only as far as leave-family-out on the past tasks themselves shows that it helps;
where meta-features tell nothing its share is 0 and all past tasks weigh the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaflow_hpo.recommend.portfolio import select_greedily
from metaflow_hpo.surrogate.meta_dataset import Array, IntArray
from metaflow_hpo.surrogate.splits import assign_folds

SHARES = (0.3, 0.6, 0.9)
"""Shares of the weights that are tried; the rest is uniform."""
REQUIRED_GAIN = 0.5
"""Standard errors by which the first picks must get better."""
JUDGED_PICKS = 2
"""Picks of a portfolio on which a share is judged, by their mean regret."""
_FOLDS = 5
_MIN_TASKS = 10
_TREES = 100
_COMPONENTS = 12


@dataclass(frozen=True)
class TaskForest:
    """Weights for past tasks, given a new task's meta-features.

    Attributes:
        share: Its share of the weights, in [0, 1); 0 where it did not pass.
        count: Number of past tasks.
        forest: The fitted trees; None where the share is 0.
        leaves: `(T, trees)` where the past tasks end.

    References:
        Lin, Jeon 2006, Random forests and adaptive nearest neighbors, for the weights of a forest.
    """

    share: float
    count: int
    forest: Any
    leaves: IntArray

    @classmethod
    def fit(cls, features: Array, regret: Array, families: Sequence[str]) -> "TaskForest":
        """Fit on past tasks and decide the share.

        Args:
            features: `(T, M)` standardised meta-features.
            regret: `(T, P)` normalised regret.
            families: `(T,)` families, held out together.
        """
        none = cls(0.0, len(regret), None, np.empty((len(regret), 0), dtype=np.int64))
        if len(set(families)) < _FOLDS or len(regret) < _MIN_TASKS or not np.ptp(features, axis=0).any():
            return none
        share = _choose_share(features, regret, families)
        return cls(share, len(regret), *_grow(features, regret)) if share > 0 else none

    def weigh(self, features: Array) -> Array:
        """Return weights `(T,)` that sum to 1 for a new task with standardised meta-features `(M,)`."""
        uniform = np.full(self.count, 1.0 / self.count)
        if self.share == 0:
            return uniform
        near = _alike(self.leaves, self.forest.apply(features[None, :]))[0]
        return np.asarray((1.0 - self.share) * uniform + self.share * near)


def _grow(features: Array, regret: Array) -> tuple[Any, IntArray]:
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.utils.extmath import randomized_svd

    # A few directions hold what tells tasks apart, and trees with thousands of outputs are slow.
    centred = regret - regret.mean(axis=0)
    count = min(_COMPONENTS, *centred.shape)
    u, s, _ = randomized_svd(centred, n_components=count, random_state=0)
    forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, max_features=0.5, random_state=0)
    forest.fit(features, u * s)
    return forest, np.asarray(forest.apply(features))


def _alike(leaves: IntArray, reached: IntArray) -> Array:
    """Return weights `(N, T)`: how often a past task `(T, trees)` is in the leaf that a new one `(N, trees)` reached.

    Every tree has one vote, shared by the past tasks in the leaf.
    """
    weights = np.zeros((len(reached), len(leaves)))
    for tree in range(leaves.shape[1]):  # one at a time: all trees at once would fill the memory
        same = reached[:, tree, None] == leaves[None, :, tree]
        weights += same / same.sum(axis=1, keepdims=True)
    return np.asarray(weights / leaves.shape[1])


def _choose_share(features: Array, regret: Array, families: Sequence[str]) -> float:
    """Return the share whose portfolio does best on held-out families, 0 unless it is better by enough."""
    assignment = assign_folds(list(families), _FOLDS)
    fold = np.array([assignment[family] for family in families])
    shares = (0.0, *SHARES)
    reached = np.empty((len(regret), len(shares)))
    for f in range(_FOLDS):
        learned, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        forest, leaves = _grow(features[learned], regret[learned])
        for t, near in zip(held, _alike(leaves, forest.apply(features[held])), strict=True):
            for j, share in enumerate(shares):
                weights = (1.0 - share) / len(learned) + share * near
                picked = select_greedily(regret[learned], weights, JUDGED_PICKS)
                reached[t, j] = np.minimum.accumulate(regret[t, picked]).mean()
    change = reached[:, 1:] - reached[:, :1]
    error = change.std(axis=0) / np.sqrt(len(change))
    best = int(np.argmin(change.mean(axis=0)))
    return SHARES[best] if change[:, best].mean() < -REQUIRED_GAIN * error[best] else 0.0
