"""Where the worst and the best performance of a task are looked for: what guessing gives, and its best landmark.

A network that learns how far the ends lie from here needs far fewer tasks than one that learns the ends themselves.
"""

from collections.abc import Sequence

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.modalities.roles import Roles

_UNKNOWN = (0.3, 0.8)
"""Of tasks that are described without landmarks."""


def find_anchors(meta_features: Array, names: Sequence[str]) -> Array:
    """Return where to look for worst and best performance, `(T, 2)`, as fractions of the metric's natural range.

    Args:
        meta_features: `(T, M)` raw.
        names: `(M,)` their names, `mf_` prefix included.
    """
    roles = Roles.of(names)
    best, worst = roles.best_landmark(meta_features), roles.chance(meta_features)
    worst = np.where(np.isnan(best) | np.isnan(worst), _UNKNOWN[0], worst)
    best = np.where(np.isnan(best), _UNKNOWN[1], np.clip(best, 0.0, 1.0))
    return np.column_stack([np.minimum(worst, best), best])
