"""Which past tasks a new one resembles, learned: a forest from meta-features to regrets over configurations.

The one thing to know: it has a say only as far as leave-family-out on the past tasks themselves shows that it helps;
where meta-features tell nothing its share is 0 and all past tasks weigh the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.history import Array, IntArray
from metaflow_hpo.recommender.portfolio import select_greedily, weigh_by_distance
from metaflow_hpo.recommender.task_distance import square_distances
from metaflow_hpo.recommender.trees import Trees
from metaflow_hpo.surrogate.splits import assign_folds

SHARES = (0.3, 0.6, 0.9)
"""Shares of the weights that are tried; the rest is uniform."""
REQUIRED_GAIN = 0.5
"""Standard errors by which the first picks must get better."""
JUDGED_PICKS = 2
"""Picks of a portfolio on which a share is judged, by their mean regret."""
_FOLDS = 5
_MIN_TASKS = 40
"""A forest on fewer passes by luck: on 38 tasks its first picks were worse than those it was to improve."""
_TREES = 100
_COMPONENTS = 12


@dataclass(frozen=True)
class TaskForest:
    """Weights for past tasks, given a new task's meta-features.

    Attributes:
        share: Its share of the weights, in [0, 1); 0 where it did not pass.
        count: Number of past tasks.
        trees: The grown trees; none where the share is 0.
        leaves: `(T, trees)` where the past tasks end.

    References:
        Lin, Jeon 2006, Random forests and adaptive nearest neighbors, for the weights of a forest.
    """

    share: float
    count: int
    trees: Trees
    leaves: IntArray

    @classmethod
    def without_say(cls, count: int) -> "TaskForest":
        """Return what weighs `count` past tasks alike."""
        return cls(0.0, count, Trees.none(), np.empty((count, 0), dtype=np.int64))

    @classmethod
    def fit(
        cls,
        features: Array,
        regret: Array,
        families: Sequence[str],
        shares: Sequence[float] = SHARES,
        order: IntArray | None = None,
        width: float | None = None,
    ) -> "TaskForest":
        """Fit on past tasks and decide the share.

        Args:
            features: `(T, M)` standardised meta-features.
            regret: `(T, P)` normalised regret; NaN (never tried) counts as 1.
            families: `(T,)` families, held out together; empty where every task is its own.
            shares: Shares that are tried, each in (0, 1).
            order: `(T,)` in which the trees see the tasks, as they depend on it; as they are given, unless given.
            width: Of the nearness in meta-features that `weigh` will be given; None where it will not.
        """
        families = families or [str(t) for t in range(len(regret))]
        if len(set(families)) < _FOLDS or len(regret) < _MIN_TASKS or not np.ptp(features, axis=0).any():
            return cls.without_say(len(regret))
        seen = np.arange(len(regret)) if order is None else order
        known = np.nan_to_num(regret, nan=1.0)
        share = _choose_share(features[seen], known[seen], [families[t] for t in seen], shares, width)
        return cls.grow(features, known, share, seen)

    @classmethod
    def grow(cls, features: Array, regret: Array, share: float, order: IntArray | None = None) -> "TaskForest":
        """Fit on past tasks with a share that is decided already; arguments are those of `fit`."""
        if share == 0:
            return cls.without_say(len(regret))
        seen = np.arange(len(regret)) if order is None else order
        trees = _grow(features[seen], np.nan_to_num(regret, nan=1.0)[seen])
        return cls(share, len(regret), trees, trees.apply(features))

    def weigh(self, features: Array, nearness: Array | None = None, share: float | None = None) -> Array:
        """Return weights `(T,)` that sum to 1.

        Args:
            features: `(M,)` standardised meta-features of the new task.
            nearness: `(T,)` factors by which the forest's weights are multiplied, see `weigh_by_distance`.
            share: In place of the chosen share, where that is not 0.
        """
        uniform = np.full(self.count, 1.0 / self.count)
        if self.share == 0:
            return uniform
        alike = _alike(self.leaves, self.trees.apply(features[None, :]))[0]
        if nearness is not None:
            alike = _both(alike, nearness)
        own = self.share if share is None else share
        return np.asarray((1.0 - own) * uniform + own * alike)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything by name, for safetensors; `from_arrays` builds it again."""
        return {"share": np.array([self.share]), "leaves": self.leaves.astype(np.int32), **self.trees.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "TaskForest":
        """Build a forest from what `to_arrays` returned."""
        leaves, trees, share = arrays["leaves"].astype(np.int64), Trees.from_arrays(arrays), float(arrays["share"][0])
        if not 0 <= share <= 1 or leaves.ndim != 2 or (share and leaves.shape[1] != len(trees.roots)):
            raise ValueError(f"a share from 0 to 1 and a leaf of each tree were expected; found {share}")
        return cls(share, len(leaves), trees, leaves)


def _grow(features: Array, regret: Array) -> Trees:
    from sklearn.tree import ExtraTreeRegressor
    from sklearn.utils.extmath import randomized_svd

    # A few directions hold what tells tasks apart, and trees with thousands of outputs are slow.
    centred = regret - regret.mean(axis=0)
    count = min(_COMPONENTS, *centred.shape)
    u, s, _ = randomized_svd(centred, n_components=count, random_state=0)
    # The trees of scikit-learn's `ExtraTreesRegressor`, which spends as long on cloning estimators as on growing them.
    seeds = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=_TREES)
    points, directions = np.ascontiguousarray(features, np.float32), np.ascontiguousarray(u * s)
    grown = [ExtraTreeRegressor(min_samples_leaf=2, max_features=0.5, random_state=int(seed)) for seed in seeds]
    return Trees.of([tree.fit(points, directions, check_input=False) for tree in grown])


def _alike(leaves: IntArray, reached: IntArray) -> Array:
    """Return weights `(N, T)`: how often a past task `(T, trees)` is in the leaf that a new one `(N, trees)` reached.

    Every tree has one vote, shared by the past tasks in the leaf.
    """
    weights = np.empty((len(reached), len(leaves)))
    for n, ends in enumerate(reached):  # one at a time: all at once would fill the memory
        same = leaves == ends  # (T, trees)
        weights[n] = (same / same.sum(axis=0)).mean(axis=1)
    return weights


def _both(alike: Array, nearness: Array) -> Array:
    """Return weights `(T,)` of tasks that are alike to the forest and near in meta-features, summing to 1."""
    weights = alike * nearness
    total = float(weights.sum())
    return np.asarray(weights / total) if total > 0 else alike


def _choose_share(
    features: Array, regret: Array, families: Sequence[str], shares: Sequence[float], width: float | None
) -> float:
    """Return the share whose portfolio does best on held-out families, 0 unless it is better by enough."""
    assignment = assign_folds(families, _FOLDS)
    fold = np.array([assignment[family] for family in families])
    tried = (0.0, *shares)
    reached = np.empty((len(regret), len(tried)))
    for f in range(_FOLDS):
        learned, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        trees = _grow(features[learned], regret[learned])
        alike = _alike(trees.apply(features[learned]), trees.apply(features[held]))
        for t, near in zip(held, alike, strict=True):
            similar = near
            if width is not None:
                squared = square_distances(features[learned], features[t])
                similar = _both(near, weigh_by_distance(squared, share=1.0, width=width))
            for j, share in enumerate(tried):
                weights = (1.0 - share) / len(learned) + share * similar
                picked = select_greedily(regret[learned], weights, JUDGED_PICKS)
                reached[t, j] = np.minimum.accumulate(regret[t, picked]).mean()
    change = reached[:, 1:] - reached[:, :1]
    error = change.std(axis=0) / np.sqrt(len(change))
    best = int(np.argmin(change.mean(axis=0)))
    return tried[best + 1] if change[:, best].mean() < -REQUIRED_GAIN * error[best] else 0.0
