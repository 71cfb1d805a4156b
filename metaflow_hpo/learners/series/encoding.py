"""How series become one tensor: gaps filled, normalised, perhaps with their differences, and what is there marked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.learners.networks.encoder import Encoder

if TYPE_CHECKING:
    import torch

PER_SERIES, PER_TASK = "series", "task"
_LARGEST = 1e3
"""Standard deviations beyond which a value is cut: one wild value must not drown a batch."""


@dataclass(frozen=True)
class SeriesEncoder(Encoder):
    """Turns series `(n, c, t)` into `(n, k, t)`: values, their differences if asked for, gaps if there are any, an end.

    Attributes:
        normalise: `series`, each by its own mean and deviation, or `task`, by those of the training items.
        differences: Whether there is a channel of differences for each.
        marks_gaps: Whether there is a channel that says which steps were measured.
        mean: `(c,)` of the training items.
        deviation: `(c,)` of the training items, above 0.
        steps: Of the training items; it takes other numbers too.
    """

    normalise: str
    differences: bool
    marks_gaps: bool
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    steps: int

    @classmethod
    def fit(cls, x: NDArray[np.float32], normalise: str, differences: bool) -> "SeriesEncoder":
        """Learn from training items `(n, c, t)`, NaN where a value is missing and after the end."""
        there = ~np.isnan(x)
        counts = np.maximum(there.sum(axis=(0, 2)), 1)
        values = np.where(there, x, 0).astype(np.float64)
        mean = values.sum(axis=(0, 2)) / counts
        spread = np.where(there, values - mean[:, None], 0)
        deviation = np.sqrt((spread**2).sum(axis=(0, 2)) / counts)
        gaps = there.any(axis=1) != _until_end(there)
        return cls(normalise, differences, bool(gaps.any()), mean, np.where(deviation > 0, deviation, 1.0), x.shape[2])

    def encode(self, x: NDArray[Any]) -> "torch.Tensor":
        """Return `(n, k, t)`, whose last channel is 1 up to the end of a series and 0 after it.

        Raises:
            InvalidTaskError: If they have other channels than those it was fitted on.
        """
        import torch

        if x.ndim != 3 or x.shape[1] != len(self.mean):
            raise InvalidTaskError(
                f"Expected series of {len(self.mean)} channels, (n, channels, steps), as in training; got {x.shape}."
            )
        there = ~np.isnan(x)
        live = _until_end(there)
        filled = _normalise(_fill(x.astype(np.float64), there), live, self)
        parts = [filled]
        if self.differences:
            step = np.diff(filled, axis=2, prepend=filled[:, :, :1])
            spread = np.sqrt((step**2).sum(axis=2) / live.sum(axis=1)[:, None])
            parts.append(step / np.maximum(spread, 1e-6)[:, :, None])
        parts = [np.clip(one, -_LARGEST, _LARGEST) * live[:, None] for one in parts]
        if self.marks_gaps:
            parts.append(there.any(axis=1)[:, None].astype(np.float64))
        return torch.from_numpy(np.concatenate([*parts, live[:, None]], axis=1).astype(np.float32))

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what `from_state` needs."""
        values = {name: getattr(self, name) for name in ("normalise", "differences", "marks_gaps", "steps")}
        return values, {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_state(cls, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "SeriesEncoder":
        """Return the encoder whose `to_state` this was."""
        return cls(**dict(values), mean=arrays["mean"], deviation=arrays["deviation"])

    def count_channels(self) -> int:
        """Return how many channels it makes."""
        return len(self.mean) * (2 if self.differences else 1) + int(self.marks_gaps) + 1


def _until_end(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `(n, t)`: True up to the last step at which a channel has a value; the first step always is."""
    measured = np.asarray(there.any(axis=1))
    live = np.maximum.accumulate(measured[:, ::-1], axis=1)[:, ::-1].copy()
    live[:, 0] = True
    return live


def _fill(x: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Draw lines across gaps; before the first and after the last value it stays what it is there; 0 without any."""
    filled = np.where(there, x, 0)
    for item, channel in np.argwhere(~there.all(axis=2)):
        steps = np.flatnonzero(there[item, channel])
        if len(steps):
            filled[item, channel] = np.interp(np.arange(x.shape[2]), steps, x[item, channel, steps])
    return filled


def _normalise(x: NDArray[np.float64], live: NDArray[np.bool_], encoder: SeriesEncoder) -> NDArray[np.float64]:
    mean, deviation = encoder.mean[:, None], encoder.deviation[:, None]
    if encoder.normalise == PER_SERIES:
        weight = live[:, None] / live.sum(axis=1)[:, None, None]
        mean = (x * weight).sum(axis=2, keepdims=True)
        own = np.sqrt(((x - mean) ** 2 * weight).sum(axis=2, keepdims=True))
        # What a constant channel deviates by is rounding; it must not be blown up.
        deviation = np.maximum(own, 1e-6 * deviation + 1e-7 * np.abs(mean))
    normalised: NDArray[np.float64] = (x - mean) / deviation
    return normalised
