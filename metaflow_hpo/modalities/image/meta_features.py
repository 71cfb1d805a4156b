"""Meta-features of pictures: their size, colours, edges and detail, from training items only."""

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.meta_features import MetaFeature, MetaFeatureGroup
from metaflow_hpo.task import IMAGE

MAX_ITEMS = 500
"""Pictures that are looked at: the first in the order of digests, which is random; fewer where they are large."""
_MAX_VALUES = 8_000_000
_PACKED = 100
_BACKGROUND = 0.02
_RED_GREEN_BLUE = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Floats = NDArray[np.float32]


def measure(data: ItemData) -> dict[str, float]:
    """Compute the meta-features of pictures.

    Args:
        data: The task; its test items are not looked at.

    Returns:
        Finite values by name.
    """
    training = np.flatnonzero(~data.is_test)
    count = min(MAX_ITEMS, max(1, _MAX_VALUES // data.items[training[:1]].size))
    pixels: NDArray[np.uint8] = data.items[training[:count]]
    colour = pixels.astype(np.float32) / np.float32(255)
    grey: Floats = np.asarray(colour[..., 0] if colour.shape[3] == 1 else colour @ _RED_GREEN_BLUE, np.float32)
    down, across = np.diff(grey, axis=1), np.diff(grey, axis=2)
    height, width = grey.shape[1:]
    return {
        "log_height": math.log2(height),
        "log_width": math.log2(width),
        "channels": float(pixels.shape[3]),
        "brightness": float(grey.mean()),
        "contrast": float(grey.std(axis=(1, 2)).mean()),
        "contrast_between": float(grey.mean(axis=0).std() / max(float(grey.std()), 1e-6)),
        "brightness_between": float(grey.mean(axis=(1, 2)).std()),
        "edge_energy": float(np.sqrt((down**2).mean() + (across**2).mean())),
        "spectral_slope": _find_slope(grey),
        "colourfulness": _find_colourfulness(colour),
        "background": _find_background(grey),
        "packed_bytes_per_pixel": float(
            np.mean([len(zlib.compress(one.tobytes(), 6)) / (height * width) for one in pixels[:_PACKED]])
        ),
    }


def _find_slope(grey: Floats) -> float:
    """Return the slope of log power over log frequency, about -2 for photographs."""
    power = (np.abs(np.fft.rfft2(grey - grey.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    rows, columns = np.fft.fftfreq(grey.shape[1]), np.fft.rfftfreq(grey.shape[2])
    frequency = np.hypot(rows[:, None], columns[None, :])
    there = (frequency > 0) & (frequency <= 0.5) & (power > 1e-12)
    if np.count_nonzero(there) < 3:
        return 0.0
    x, y = np.log(frequency[there]), np.log(power[there])
    x = x - x.mean()
    return float((x * y).sum() / max(float((x**2).sum()), 1e-12))


def _find_colourfulness(colour: Floats) -> float:
    """Return how far colours are from grey and from each other; Hasler & Suesstrunk 2003, doi:10.1117/12.477378."""
    if colour.shape[3] == 1:
        return 0.0
    red, green, blue = (colour[..., channel] for channel in range(3))
    one, other = red - green, (red + green) / 2 - blue
    return float(math.hypot(one.std(), other.std()) + 0.3 * math.hypot(one.mean(), other.mean()))


def _find_background(grey: Floats) -> float:
    """Return the share of pixels like the median of the border of their picture."""
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    return float((np.abs(grey - np.median(border, axis=1)[:, None, None]) < _BACKGROUND).mean())


IMAGE_GROUP = MetaFeatureGroup(
    name="image",
    version=1,
    features={
        "log_height": MetaFeature("log2 of the height in pixels"),
        "log_width": MetaFeature("log2 of the width in pixels"),
        "channels": MetaFeature("1 for grey, 3 for RGB"),
        "brightness": MetaFeature("mean of all pixels, in [0, 1]"),
        "contrast": MetaFeature("mean over pictures of the standard deviation of their pixels"),
        "contrast_between": MetaFeature("standard deviation of the mean picture, over that of all pixels"),
        "brightness_between": MetaFeature("standard deviation of the mean brightness of pictures"),
        "edge_energy": MetaFeature("root mean square of the differences between neighbouring pixels"),
        "spectral_slope": MetaFeature("slope of log power over log frequency"),
        "colourfulness": MetaFeature("how far colours are from grey and from each other"),
        "background": MetaFeature("share of pixels like the border of their picture"),
        "packed_bytes_per_pixel": MetaFeature("bytes per pixel after zlib has packed a picture"),
    },
    modalities=(IMAGE,),
    measure=measure,
)
"""What describes tasks of pictures alone."""
