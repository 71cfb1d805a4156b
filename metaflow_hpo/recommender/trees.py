"""Grown trees as plain arrays: which leaf a point ends in, without the library that grew them.

The one thing to know: a saved forest must answer the same for years, so what is kept is the splits, not a pickle of the
library's objects, and no forest is grown again when it is loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.history import Array, IntArray

if TYPE_CHECKING:
    from sklearn.tree import ExtraTreeRegressor

_LEAF = -1


@dataclass(frozen=True)
class Trees:
    """The splits of all trees one after the other, V nodes.

    Attributes:
        roots: `(trees,)` position of each tree's root.
        feature: `(V,)` which feature a node asks for; -1 in a leaf.
        threshold: `(V,)` a point whose feature is at most this goes left.
        children: `(V, 2)` positions of the left and the right child; a leaf's are the leaf itself.
    """

    roots: IntArray
    feature: IntArray
    threshold: Array
    children: IntArray

    @classmethod
    def none(cls) -> "Trees":
        """Return no trees."""
        empty = np.empty(0, dtype=np.int64)
        return cls(empty, empty, np.empty(0), np.empty((0, 2), dtype=np.int64))

    @classmethod
    def of(cls, forest: "Sequence[ExtraTreeRegressor]") -> "Trees":
        """Take the splits out of fitted trees."""
        grown = [estimator.tree_ for estimator in forest]
        sizes = [tree.node_count for tree in grown]
        roots = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        leaf = np.concatenate([tree.children_left == _LEAF for tree in grown])
        offsets = np.repeat(roots, sizes)
        sides = [np.concatenate([getattr(t, side) for t in grown]) for side in ("children_left", "children_right")]
        own = np.arange(len(leaf))
        return cls(
            roots=roots,
            feature=np.where(leaf, _LEAF, np.concatenate([tree.feature for tree in grown])).astype(np.int64),
            threshold=np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in grown])),
            children=np.stack([np.where(leaf, own, offsets + side) for side in sides], axis=1).astype(np.int64),
        )

    def apply(self, points: Array) -> IntArray:
        """Return `(N, trees)` the positions of the leaves that points `(N, M)` end in."""
        # Splits are made on numbers in single precision: compared otherwise, a point on a threshold could change sides.
        values: NDArray[np.float32] = points.astype(np.float32)
        rows = np.arange(len(points))[:, None]
        at = np.tile(self.roots, (len(points), 1))  # (N, trees)
        while (self.feature[at] != _LEAF).any():
            right = values[rows, self.feature[at]] > self.threshold[at]
            at = self.children[at, right.astype(np.int64)]
        return at

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the splits by name, integers in half the space."""
        whole = {name: getattr(self, name).astype(np.int32) for name in ("roots", "feature", "children")}
        return {**whole, "threshold": self.threshold}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Trees":
        """Build trees from what `to_arrays` returned."""
        roots, feature, children = (arrays[name].astype(np.int64) for name in ("roots", "feature", "children"))
        threshold, nodes = arrays["threshold"].astype(np.float64), np.arange(len(feature))
        leads_on = np.where((feature == _LEAF)[:, None], children == nodes[:, None], children > nodes[:, None])
        if not (leads_on.all() and (children < len(nodes)).all() and np.isin(roots, nodes).all()):
            raise ValueError("trees of which each node leads on to others, or ends, were expected")
        if not (np.isfinite(threshold).all() and threshold.shape == nodes.shape and (feature >= _LEAF).all()):
            raise ValueError("a finite threshold of each node was expected")
        return cls(roots, feature, threshold, children)
