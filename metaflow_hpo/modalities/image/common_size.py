"""The size that all pictures of a task get."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metaflow_hpo.errors import InvalidTaskError

LARGEST, SMALLEST = 64, 8
"""Pixels of a side, unless a person says otherwise."""
_LIMIT = 1024

Size = tuple[int, int]


def choose_size(sizes: Sequence[Size], options: Mapping[str, Any]) -> Size:
    """Return height and width for all pictures: the median of each, made smaller alike where a side is above 64.

    Args:
        sizes: `(height, width)` of each picture.
        options: `size`, a number or `[height, width]`, wins.

    Raises:
        InvalidTaskError: If the size that was said is none.
    """
    if "size" in options:
        return _read_size(options["size"])
    height, width = np.median(np.array(sizes, dtype=np.float64), axis=0)
    scale = min(1.0, LARGEST / max(height, width))
    return max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale))


def _read_size(said: Any) -> Size:
    pair = said if isinstance(said, list | tuple) else (said, said)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or not 1 < n <= _LIMIT for n in pair):
        raise InvalidTaskError(
            f"Expected the option size as pixels of a side from 2 to {_LIMIT}, or as [height, width]; found {said!r}."
        )
    return int(pair[0]), int(pair[1])
