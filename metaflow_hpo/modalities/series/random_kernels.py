"""Features of series that are learned from nothing: what random kernels find in them, for probes.

References:
    Dempster, Petitjean and Webb 2020, ROCKET, arXiv 1910.13051: the share of positive values, and the largest.
"""

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.series.series import Series, shorten

KERNELS = 288
MAX_STEPS = 256
"""Longer series are averaged down to as many steps."""
_LENGTH = 9
_CHANNELS_A_KERNEL = 4
_TOGETHER = 2_000_000
"""Numbers that are held at once for a kernel's values, times the kernels of one dilation."""

Floats = NDArray[np.float32]


def measure_features(series: Series) -> Floats:
    """Return features `(n, d)`: shares, then largest values of all kernels; logarithms of mean, deviation, length."""
    short = shorten(series, MAX_STEPS)
    filled, level = fill_and_normalise(short)
    found = [_convolve(filled, short.lengths, kernels, dilation) for dilation, kernels in _draw_kernels(filled)]
    plain = np.concatenate([level, np.log1p(series.lengths)[:, None]], axis=1)
    shares, tops = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    return np.concatenate([shares, tops, plain], axis=1, dtype=np.float32)


def fill_and_normalise(series: Series) -> tuple[Floats, NDArray[np.float64]]:
    """Return each series by its own mean and deviation, and these.

    Returns:
        `(n, c, t)`, lines across gaps and 0 after the end; and `(n, 2 c)`, symmetric logarithms.
    """
    values = series.values.astype(np.float64)
    there = ~np.isnan(values)
    counts = np.maximum(there.sum(axis=2, keepdims=True), 1)
    mean = np.where(there, values, 0).sum(axis=2, keepdims=True) / counts
    deviation = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=2, keepdims=True) / counts)
    scaled = np.where(there, values - mean, 0) / np.where(deviation > 1e-7 * np.abs(mean), deviation, np.inf)
    live = np.arange(values.shape[2]) < series.lengths[:, None]
    for item, channel in np.argwhere((~there & live[:, None]).any(axis=2) & there.any(axis=2)):
        steps, end = np.flatnonzero(there[item, channel]), series.lengths[item]
        scaled[item, channel, :end] = np.interp(np.arange(end), steps, scaled[item, channel, steps])
    level = np.concatenate([mean[:, :, 0], deviation[:, :, 0]], axis=1)
    return scaled.astype(np.float32), np.sign(level) * np.log1p(np.abs(level))


def _draw_kernels(filled: Floats) -> list[tuple[int, tuple[Floats, Floats]]]:
    """Return weights `(c * length, k)` and biases `(k,)` for each dilation; the same for all tasks of a shape."""
    _, channels, steps = filled.shape
    longest = max((steps - 1) // (_LENGTH - 1), 1)
    dilations = sorted({int(2**power) for power in np.linspace(0, np.log2(longest), 5)})
    rng = np.random.default_rng(0)
    drawn = []
    for kernels, dilation in zip(np.array_split(np.arange(KERNELS), len(dilations)), dilations, strict=True):
        weights = rng.normal(size=(len(kernels), channels, _LENGTH))
        weights -= weights.mean(axis=2, keepdims=True)
        used = np.argsort(rng.random((len(kernels), channels)), axis=1) < _CHANNELS_A_KERNEL
        weights *= used[:, :, None] / np.sqrt(used.sum(axis=1))[:, None, None]
        biases = rng.uniform(-1, 1, len(kernels)).astype(np.float32)
        drawn.append((dilation, (weights.reshape(len(kernels), -1).T.astype(np.float32), biases)))
    return drawn


def _convolve(
    filled: Floats, lengths: NDArray[np.int64], kernels: tuple[Floats, Floats], dilation: int
) -> tuple[Floats, Floats]:
    """Return the share of positive values and the largest value of each kernel, both `(n, k)`."""
    (n, channels, steps), (weights, biases) = filled.shape, kernels
    reach = (_LENGTH // 2) * dilation
    padded = np.pad(filled, ((0, 0), (0, 0), (reach, reach)))
    place = np.arange(steps)[:, None] + np.arange(_LENGTH) * dilation
    shares, tops = (np.empty((n, len(biases)), np.float32) for _ in range(2))
    together = max(_TOGETHER // (steps * max(len(biases), channels * _LENGTH)), 1)
    for start in range(0, n, together):
        part = slice(start, start + together)
        windows = padded[part][:, :, place].transpose(0, 2, 1, 3).reshape(-1, channels * _LENGTH)
        values = (windows @ weights).reshape(-1, steps, len(biases)) + biases
        live = (np.arange(steps) < lengths[part, None])[:, :, None]
        shares[part] = ((values > 0) & live).sum(axis=1) / lengths[part, None]
        tops[part] = np.where(live, values, -np.inf).max(axis=1)
    return shares, tops
