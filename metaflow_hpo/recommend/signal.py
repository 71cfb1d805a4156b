"""Whether anything in a task can be predicted at all, as far as the landmarks tell.

The one thing to know: where no cheap learner is clearly better than guessing, a table of meta-features says little of
which configuration will be, and recommending as for a learnable task is worse than the default and the portfolio
(measured on held-out families: see `tests/bench/bench_closed_loop.py`).
"""

from collections.abc import Mapping

import numpy as np

from metaflow_hpo.modalities.table.landmark_names import COLUMNS

_NEEDED = ("mf_log_rows", "mf_is_regression", "mf_log_classes", "mf_minority_fraction")
_PROBED_ROWS = 2_000
_HELD_OUT = 3
"""Landmarks are scored on every third of at most `_PROBED_ROWS` rows."""

_ERRORS = 3.0
"""Standard errors above guessing that the best of nine landmarks must reach."""

_R2_ROWS = 20.0
"""The best R2 of nine landmarks on noise is below this over the held-out rows."""


def lacks_signal(meta_features: Mapping[str, float]) -> bool:
    """Tell whether the best landmark may be guessing.

    Args:
        meta_features: By name; without the landmarks and sizes nothing is known, and the answer is False.
    """
    scores = [meta_features[name] for name in COLUMNS if name in meta_features]
    if not scores or any(name not in meta_features for name in _NEEDED):
        return False
    rows = min(10.0 ** meta_features["mf_log_rows"], _PROBED_ROWS) / _HELD_OUT
    if meta_features["mf_is_regression"] == 1.0:
        return bool(max(scores) < _R2_ROWS / rows)
    classes = max(round(10.0 ** meta_features["mf_log_classes"]), 2)
    chance = 1.0 / classes
    # Balanced accuracy is a mean of recalls, each as sure as its class has rows: the rarest, and the others alike.
    rarest = min(max(meta_features["mf_minority_fraction"], 1.0 / rows), chance)
    spread = (1.0 / rarest + (classes - 1) ** 2 / (1.0 - rarest)) / classes**2
    return bool(max(scores) < chance + _ERRORS * np.sqrt(chance * (1.0 - chance) * spread / rows))
