"""Whether anything in a task can be predicted at all, as far as its meta-features tell.

Where no cheap learner is clearly better than guessing, they say little of which configuration will be, and recommending
as for a learnable task is worse than the default and the portfolio (see `tests/bench/bench_closed_loop.py`).
"""

from collections.abc import Mapping

import numpy as np

from metaflow_hpo.modalities.roles import Roles


def lacks_signal(meta_features: Mapping[str, float]) -> bool:
    """Tell whether the best landmark may be guessing.

    Args:
        meta_features: By name; where they do not tell, the answer is False.

    Raises:
        FloatingPointError: If a size is so large or so small that one cannot compute with it.
    """
    row = np.array([list(meta_features.values())], dtype=np.float64)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        return bool(Roles.of(tuple(meta_features)).finds_nothing(row)[0])
