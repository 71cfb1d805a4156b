"""Meta-features of series, from the training items only: sizes, shapes of curves, and how far the nearest one tells.

References:
    Lubba et al. 2019, catch22, doi 10.1007/s10618-019-00647-x: which features of a curve say most.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup
from metaflow_hpo.modalities.series.random_kernels import fill_and_normalise
from metaflow_hpo.modalities.series.series import Series, shorten
from metaflow_hpo.task import SERIES

MAX_ITEMS = 500
"""Items that are looked at."""
MAX_STEPS = 256
_BINS = 5
_TINY = 1e-12

Floats = NDArray[np.float64]

FEATURES = {
    "log_steps": MetaFeature("log10 of the steps of the longest series", "size"),
    "log_channels": MetaFeature("log10 of the channels", "size"),
    "length_spread": MetaFeature("standard deviation of the lengths divided by their mean"),
    "missing_fraction": MetaFeature("share of values missing before the end of a series"),
    "level_between": MetaFeature("share of the variance that is between the means of series"),
    "scale_spread": MetaFeature("standard deviation over series of the logarithm of their own deviation"),
    "autocorrelation_1": MetaFeature("mean autocorrelation at lag 1"),
    "autocorrelation_tenth": MetaFeature("mean autocorrelation at a tenth of the length"),
    "decorrelation": MetaFeature("share of the length at which the autocorrelation falls below 1/e"),
    "seasonality": MetaFeature("mean of the largest autocorrelation after its first fall below 0"),
    "period": MetaFeature("lag of that, as a share of the length"),
    "spectral_centroid": MetaFeature("mean frequency, in [0, 1], 1 being half of the sampling rate"),
    "spectral_entropy": MetaFeature("entropy of the spectrum divided by its maximum"),
    "low_power": MetaFeature("share of the power in the lowest fifth of the frequencies"),
    "trend": MetaFeature("mean absolute correlation of values with time"),
    "roughness": MetaFeature("mean deviation of differences divided by that of values"),
    "outliers": MetaFeature("share of values more than 3 deviations from the mean of their series"),
    "skewness": MetaFeature("mean absolute skewness of values"),
    "kurtosis": MetaFeature("mean of arcsinh(excess kurtosis) of values"),
    "mode": MetaFeature("middle of the fullest of 5 bins of normalised values, averaged"),
    "stretch_above_mean": MetaFeature("longest run above the mean, as a share of the length"),
    "constant_steps": MetaFeature("share of steps that repeat the value before"),
    "reversibility": MetaFeature("mean absolute skewness of differences"),
    "halves_differ": MetaFeature("mean absolute difference of the means of both halves, in deviations"),
    "channel_correlation": MetaFeature("mean absolute correlation of channels; 0 for one"),
    "class_separation": MetaFeature("share of the variance of normalised series that is between the means of classes"),
    "nearest_neighbour": MetaFeature(
        "1 nearest neighbour, Euclidean distance of normalised series, one left out: balanced accuracy", "landmark"
    ),
    "nearest_neighbour_raw": MetaFeature("the same with the values as they are", "landmark"),
    "nearest_neighbour_differences": MetaFeature("the same with differences of normalised series", "landmark"),
}


def measure(data: ItemData) -> Mapping[str, float]:
    """Return the meta-features of a task of series."""
    items, target = data.train_items, data.train_target
    chosen = np.sort(np.random.default_rng(0).permutation(len(items))[:MAX_ITEMS])
    series, target = items[chosen], target[chosen]
    short = shorten(series, MAX_STEPS)
    curves, _ = fill_and_normalise(short)
    values = curves.astype(np.float64)
    live = np.arange(values.shape[2]) < short.lengths[:, None]
    described = {
        **_describe_sizes(series),
        **_describe_levels(series),
        **_describe_time(values, short.lengths),
        **_describe_values(values, live),
        **_describe_classes(values, target),
        "nearest_neighbour": _neighbour(values, target),
        "nearest_neighbour_raw": _neighbour(_raw(short), target),
        "nearest_neighbour_differences": _neighbour(np.diff(values, axis=2, prepend=0), target),
    }
    return {name: float(np.nan_to_num(described[name])) for name in FEATURES}


SERIES_GROUP = MetaFeatureGroup("series", 1, FEATURES, (SERIES,), measure)
"""What is measured of series alone."""


def _describe_sizes(series: Series) -> dict[str, float]:
    lengths = series.lengths.astype(np.float64)
    inside = (np.arange(series.values.shape[2]) < series.lengths[:, None])[:, None]
    missing = (np.isnan(series.values) & inside).sum() / (lengths.sum() * series.values.shape[1])
    return {
        "log_steps": np.log10(lengths.max()),
        "log_channels": np.log10(series.values.shape[1]),
        "length_spread": lengths.std() / lengths.mean(),
        "missing_fraction": missing,
    }


def _describe_levels(series: Series) -> dict[str, float]:
    values = series.values.astype(np.float64)
    there = ~np.isnan(values)
    counts = np.maximum(there.sum(axis=2), 1)
    mean = np.where(there, values, 0).sum(axis=2) / counts
    variance = (np.where(there, values - mean[:, :, None], 0) ** 2).sum(axis=2) / counts
    between = mean.var(axis=0)
    scale = np.where(variance > 0, np.log10(np.sqrt(np.maximum(variance, _TINY))), np.nan)
    spread = [one[~np.isnan(one)].std() for one in scale.T if (~np.isnan(one)).sum() > 1]
    return {
        "level_between": float(np.mean(between / np.maximum(between + variance.mean(axis=0), _TINY))),
        "scale_spread": float(np.mean(spread)) if spread else 0.0,
    }


def _describe_time(values: Floats, lengths: NDArray[np.int64]) -> dict[str, float]:
    """Describe autocorrelations and spectra; what follows an end is 0 and adds nothing."""
    steps = values.shape[2]
    power = np.abs(np.fft.rfft(values, 2 * steps, axis=2)) ** 2
    correlation = np.fft.irfft(power, axis=2)[:, :, :steps]
    correlation = (correlation / np.maximum(correlation[:, :, :1], _TINY)).mean(axis=1)  # (n, t)
    tenth = correlation[np.arange(len(values)), np.maximum(lengths // 10, 1) - (lengths < 2)]
    fallen = np.argmax(np.column_stack([correlation < np.exp(-1), np.ones(len(values), bool)]), axis=1)
    below = np.argmax(np.column_stack([correlation < 0, np.ones(len(values), bool)]), axis=1)
    lag = np.arange(steps)
    later = np.where((lag > below[:, None]) & (lag < lengths[:, None]), correlation, 0)
    spectrum = (np.abs(np.fft.rfft(values, axis=2)) ** 2).mean(axis=1)[:, 1:]
    if not spectrum.shape[1]:
        spectrum = np.ones((len(values), 1))
    share = spectrum / np.maximum(spectrum.sum(axis=1, keepdims=True), _TINY)
    frequency = np.linspace(0, 1, share.shape[1] + 1)[1:]
    entropy = -(share * np.log(np.maximum(share, _TINY))).sum(axis=1)
    return {
        "autocorrelation_1": float(correlation[:, min(1, steps - 1)].mean()),
        "autocorrelation_tenth": float(tenth.mean()),
        "decorrelation": float((fallen / lengths).mean()),
        "seasonality": float(later.max(axis=1).mean()),
        "period": float((later.argmax(axis=1) / lengths).mean()),
        "spectral_centroid": float((share * frequency).sum(axis=1).mean()),
        "spectral_entropy": float(entropy.mean() / np.log(max(share.shape[1], 2))),
        "low_power": float(share[:, frequency <= 0.2].sum(axis=1).mean()),
    }


def _describe_values(values: Floats, live: NDArray[np.bool_]) -> dict[str, float]:
    """Describe normalised values `(n, c, t)` of the steps that are there `(n, t)`."""
    weight = live[:, None] / live.sum(axis=1)[:, None, None]
    step = np.diff(values, axis=2, prepend=values[:, :, :1])
    moving = live[:, None] & (np.arange(values.shape[2]) > 0)
    roughness = np.sqrt((step**2 * weight).sum(axis=2))
    time = np.cumsum(live, axis=1) - 1.0
    time = time - (time * live).sum(axis=1, keepdims=True) / live.sum(axis=1, keepdims=True)
    time /= np.sqrt((time**2 * live).sum(axis=1, keepdims=True) / live.sum(axis=1, keepdims=True) + _TINY)
    above = (values > 0) & live[:, None]
    first = live & (np.cumsum(live, axis=1) * 2 <= live.sum(axis=1, keepdims=True))
    second = live & ~first
    halves = [(values * one[:, None]).sum(axis=2) / np.maximum(one.sum(axis=1), 1)[:, None] for one in (first, second)]
    scaled = step / np.maximum(roughness, _TINY)[:, :, None]
    return {
        "trend": float(np.abs((values * time[:, None] * weight).sum(axis=2)).mean()),
        "roughness": float(roughness.mean()),
        "outliers": float(((np.abs(values) > 3) * weight).sum(axis=2).mean()),
        "skewness": float(np.abs((values**3 * weight).sum(axis=2)).mean()),
        "kurtosis": float(np.arcsinh((values**4 * weight).sum(axis=2) - 3).mean()),
        "mode": float(_find_modes(values, live).mean()),
        "stretch_above_mean": float((_longest_run(above) / live.sum(axis=1)[:, None]).mean()),
        "constant_steps": float(((step == 0) & moving).sum() / max(int(moving.sum() * values.shape[1]), 1)),
        "reversibility": float(np.abs((scaled**3 * weight).sum(axis=2)).mean()),
        "halves_differ": float(np.abs(halves[0] - halves[1]).mean()),
        "channel_correlation": _correlate_channels(values, weight),
    }


def _find_modes(values: Floats, live: NDArray[np.bool_]) -> Floats:
    """Return the middle of the fullest of `_BINS` equal bins of each curve, `(n * c,)`."""
    curves = [one[there] for item, there in zip(values, live, strict=True) for one in item]
    modes = []
    for curve in curves:
        low, high = float(curve.min()), float(curve.max())
        counts = np.histogram(curve, _BINS, (low, high))[0] if high > low else np.ones(1)
        modes.append(low + (int(counts.argmax()) + 0.5) * (high - low) / _BINS)
    return np.array(modes)


def _longest_run(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the longest run of True along the last axis."""
    count = np.cumsum(flags, axis=-1)
    reset = np.maximum.accumulate(np.where(flags, 0, count), axis=-1)
    return np.asarray((count - reset).max(axis=-1))


def _correlate_channels(values: Floats, weight: Floats) -> float:
    channels = values.shape[1]
    if channels == 1:
        return 0.0
    correlation = np.einsum("nct,ndt->ncd", values * weight, values)
    return float(np.abs(correlation[:, *np.triu_indices(channels, 1)]).mean())


def _describe_classes(values: Floats, target: NDArray[np.int64]) -> dict[str, float]:
    flat = values.reshape(len(values), -1)
    total = float(((flat - flat.mean(axis=0)) ** 2).sum())
    means = [(flat[target == one].mean(axis=0), int((target == one).sum())) for one in np.unique(target)]
    between = sum(count * float(((mean - flat.mean(axis=0)) ** 2).sum()) for mean, count in means)
    return {"class_separation": between / max(total, _TINY)}


def _raw(series: Series) -> Floats:
    """Return the values, each channel by its mean and deviation over all series, 0 where there is none."""
    values = series.values.astype(np.float64)
    there = ~np.isnan(values)
    counts = np.maximum(there.sum(axis=(0, 2)), 1)[:, None]
    mean = np.where(there, values, 0).sum(axis=(0, 2))[:, None] / counts
    deviation = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=(0, 2))[:, None] / counts)
    scaled: Floats = np.where(there, values - mean, 0) / np.maximum(deviation, _TINY)
    return scaled


def _neighbour(values: Floats, target: NDArray[np.int64]) -> float:
    """Return the balanced accuracy of the nearest other series, over classes with two or more."""
    flat = values.reshape(len(values), -1)
    square = (flat**2).sum(axis=1)
    distance = square[:, None] + square[None] - 2 * flat @ flat.T
    np.fill_diagonal(distance, np.inf)
    hit = target[distance.argmin(axis=1)] == target
    several = [one for one in np.unique(target) if (target == one).sum() > 1]
    return float(np.mean([hit[target == one].mean() for one in several])) if several else 0.0
