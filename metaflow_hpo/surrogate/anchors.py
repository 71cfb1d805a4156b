"""Where the worst and the best performance of a task are looked for: what guessing gives, and its best landmark.

The one thing to know: a network that learns how far the ends lie from here needs far fewer tasks than one that learns
the ends themselves, and it cannot believe in a performance above 1. The nearest neighbour does not count: where rows
repeat, it is better than anything that is learned.
"""

from collections.abc import Sequence

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.modalities.table.landmark_names import COLUMNS

_LANDMARKS = tuple(name for name in COLUMNS if name != "mf_landmark_nearest_neighbour")
_UNKNOWN = (0.3, 0.8)
"""Of tasks that are described without landmarks."""


def find_anchors(meta_features: Array, names: Sequence[str]) -> Array:
    """Return where to look for worst and best performance, `(T, 2)`, as fractions of the metric's natural range.

    Args:
        meta_features: `(T, M)` raw.
        names: `(M,)` their names, `mf_` prefix included.
    """
    column = {name: meta_features[:, i] for i, name in enumerate(names)}
    landmarks = [column[name] for name in _LANDMARKS if name in column]
    nothing = np.zeros(len(meta_features))
    worst, best = (np.full(len(meta_features), value) for value in _UNKNOWN)
    if landmarks:
        best = np.clip(np.max(landmarks, axis=0), 0.0, 1.0)
        is_regression = column.get("mf_is_regression", nothing) > 0.5
        worst = np.where(is_regression, 0.0, 10.0 ** -column.get("mf_log_classes", nothing))
    return np.column_stack([np.minimum(worst, best), best])
