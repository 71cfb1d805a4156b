"""The series of a task: values by channel and step, missing where nothing was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """Series side by side.

    Attributes:
        values: `(n, c, t)` float32; NaN where a value is missing, and after the end of a series.
        lengths: `(n,)` steps of each, from 1 to `t`; 0 where nothing was measured.
        block: Steps as they were measured that one step here is the mean of.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int64]
    block: int = 1

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.values)

    def __getitem__(self, positions: NDArray[np.intp]) -> "Series":
        """Return some of them, in the order of their positions."""
        return Series(self.values[positions], self.lengths[positions], self.block)

    def one(self, position: int) -> NDArray[np.float32]:
        """Return one of them without what follows its end, `(c, length)`."""
        return self.values[position, :, : self.lengths[position]]


def find_length(one: NDArray[np.float32]) -> int:
    """Return the steps of a series `(c, t)` up to its last value; 0 where it has none."""
    there = np.flatnonzero(~np.isnan(one).all(axis=0))
    return int(there[-1]) + 1 if len(there) else 0


def pack_series(parts: Sequence[NDArray[Any]], block: int = 1) -> Series:
    """Put series `(c, t_i)` of any lengths side by side, averaged down before that.

    Steps without a value at the end are no part of a series.

    Args:
        parts: At least one, all of the same channels.
        block: How many neighbouring steps become one.
    """
    parts = [average_steps(one, block) for one in parts]
    lengths = np.array([find_length(one) for one in parts], np.int64)
    values = np.full((len(parts), len(parts[0]), int(lengths.max(initial=0))), np.nan, np.float32)
    for place, (one, length) in enumerate(zip(parts, lengths, strict=True)):
        values[place, :, :length] = one[:, :length]
    return Series(_canonical(values), lengths, block)


def _canonical(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write equal values with equal bits: there are several NaN and two zeros."""
    return np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))


def find_block(longest: int, steps: int) -> int:
    """Return how many neighbouring steps must become one, so that the longest series has at most `steps`."""
    return -(-longest // steps)


def shorten(series: Series, steps: int) -> Series:
    """Average neighbouring steps until the longest series has at most `steps`."""
    block = find_block(series.values.shape[2], steps)
    return Series(average_steps(series.values, block), -(-series.lengths // block), series.block * block)


def average_steps(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Return the means of `block` neighbouring steps each, `(..., t)`; what is missing does not count."""
    if block <= 1:
        return values
    width = -(-values.shape[-1] // block) * block
    padded = np.full((*values.shape[:-1], width), np.nan, np.float32)
    padded[..., : values.shape[-1]] = values
    blocks = padded.reshape(*values.shape[:-1], width // block, block)
    there = ~np.isnan(blocks)
    counts = there.sum(axis=-1)
    sums = np.where(there, blocks, 0).sum(axis=-1, dtype=np.float64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
