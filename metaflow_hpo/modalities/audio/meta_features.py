"""Meta-features of recordings: how long and loud they are, and what their mel pictures look like."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.audio.features import draw_pictures
from metaflow_hpo.modalities.audio.mel import Pictures
from metaflow_hpo.modalities.audio.recordings import Recordings
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup
from metaflow_hpo.task import AUDIO

_MOST_ITEMS = 500
"""Training items that are looked at; their order is random but fixed."""
_SILENT = 4.0
"""Powers of ten below its recording's loudest frame at which a frame is silent."""
_LATER = 8
"""Frames between two that are compared: an eighth of a second."""

Array = NDArray[np.float64]

_FEATURES = {
    "log_rate": MetaFeature("Logarithm of the samples a second."),
    "log_duration": MetaFeature("Logarithm of the median of seconds."),
    "duration_spread": MetaFeature("Deviation of the logarithms of seconds."),
    "loudness": MetaFeature("Mean power of a recording, in powers of ten."),
    "loudness_spread": MetaFeature("Deviation of that between recordings."),
    "silence": MetaFeature("Share of frames that are silent beside the loudest of their recording."),
    "attack": MetaFeature("Mean place of the loudest frame, from 0 at the beginning to 1."),
    "centroid": MetaFeature("Mean of where the power lies among the bands, from 0 to 1."),
    "centroid_spread": MetaFeature("Deviation of a recording's mean centroid between recordings."),
    "centroid_motion": MetaFeature("Mean deviation of the centroid within a recording."),
    "flatness": MetaFeature("Mean ratio of geometric to arithmetic mean over the bands: 0 for a tone, 1 for noise."),
    "band_spread": MetaFeature("Deviation between the bands of their mean powers."),
    "change": MetaFeature("Mean difference of a frame from the one before, in powers of ten."),
    "memory": MetaFeature("Correlation of frames with those an eighth of a second later."),
    "between": MetaFeature("Share of the variance of a band that lies between recordings, not within them."),
}


def _measure(data: ItemData) -> Mapping[str, float]:
    items: Recordings = data.train_items
    looked_at = items[np.arange(min(len(items), _MOST_ITEMS))]
    parts = [_describe_pictures(pictures) for pictures in draw_pictures(looked_at)]
    of_items = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    seconds = np.log(looked_at.durations_s)
    means, within = of_items["means"], float(of_items["variance"].mean())
    between = float(means.var(axis=0).mean())
    return {
        "log_rate": float(np.log(looked_at.rate)),
        "log_duration": float(np.median(seconds)),
        "duration_spread": float(seconds.std()),
        "loudness": float(of_items["loudness"].mean()),
        "loudness_spread": float(of_items["loudness"].std()),
        "silence": float(of_items["silence"].mean()),
        "attack": float(of_items["attack"].mean()),
        "centroid": float(of_items["centroid"].mean()),
        "centroid_spread": float(of_items["centroid"].std()),
        "centroid_motion": float(of_items["centroid_motion"].mean()),
        "flatness": float(of_items["flatness"].mean()),
        "band_spread": float(means.mean(axis=0).std()),
        "change": float(of_items["change"].mean()),
        "memory": float(of_items["memory"].mean()),
        "between": between / (between + within) if between + within > 0 else 0.0,
    }


AUDIO_GROUP = MetaFeatureGroup("audio", 1, _FEATURES, (AUDIO,), _measure)


def _describe_pictures(pictures: Pictures) -> dict[str, Array]:
    """Return numbers of each recording by name, `(n,)`, and the means of its bands, `(n, bands)`."""
    each = [_describe_picture(row[there]) for row, there in zip(pictures.powers, pictures.is_there, strict=True)]
    return {name: np.array([one[name] for one in each]) for name in each[0]}


def _describe_picture(powers: NDArray[np.float32]) -> dict[str, Array | float]:
    """Return numbers of one recording `(frames, bands)`."""
    logs = powers.astype(np.float64)
    power = 10.0**logs
    level = np.log10(power.sum(axis=1))
    centroid = power @ np.linspace(0, 1, logs.shape[1]) / power.sum(axis=1)
    loud = level > level.max() - _SILENT
    return {
        "means": logs.mean(axis=0),
        "variance": float(logs.var(axis=0).mean()),
        "loudness": float(np.log10(power.sum(axis=1).mean())),
        "silence": float(1 - loud.mean()),
        "attack": float(level.argmax() / max(len(level) - 1, 1)),
        "centroid": float(centroid[loud].mean()),
        "centroid_motion": float(centroid[loud].std()),
        "flatness": float((10 ** logs[loud].mean(axis=1) / power[loud].mean(axis=1)).mean()),
        "change": float(np.abs(np.diff(logs, axis=0)).mean()) if len(logs) > 1 else 0.0,
        "memory": _correlate(logs[:-_LATER], logs[_LATER:]),
    }


def _correlate(earlier: Array, later: Array) -> float:
    """Return the correlation of two pictures; 0 where there is nothing to correlate."""
    if not len(earlier) or earlier.std() == 0 or later.std() == 0:
        return 0.0
    a, b = earlier - earlier.mean(), later - later.mean()
    return float((a * b).mean() / (a.std() * b.std()))
