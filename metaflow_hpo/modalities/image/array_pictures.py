"""Arrays as pictures: which axis is what, and what the numbers mean. What cannot be told is refused, never guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError

_CHANNELS = (1, 3, 4)
_LAYOUTS = ("nhwc", "nchw")


def is_picture_shape(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Tell whether an array may hold pictures by its shape and type."""
    if dtype.kind not in "bfiu" or len(shape) not in {3, 4} or min(shape, default=0) < 1:
        return False
    if len(shape) == 3:  # other numbers are rather series (n, channels, steps), unless their number is the same
        return min(shape[1:]) > 1 and (dtype in (np.dtype(np.uint8), np.dtype(bool)) or shape[1] == shape[2])
    return bool(_axes_of_channels(shape))


def as_pictures(x: NDArray[Any], source: Path, options: Mapping[str, Any]) -> tuple[NDArray[np.uint8], list[str]]:
    """Return an array as pictures `(n, h, w, c)` of 8 bits, c being 1 or 3, and what was taken for what.

    Args:
        x: `(n, h, w)`, `(n, h, w, c)` or `(n, c, h, w)`; of bytes, of 16 bits, truth values, or numbers in [0, 1] or
            [0, 255].
        source: For messages.
        options: `layout`, where the axis of channels cannot be told; `range`, what black and white are, where numbers
            are others.

    Raises:
        InvalidTaskError: If it cannot be told what is what, or a number is missing.
    """
    if x.dtype.kind not in "bfiu" or x.ndim not in {3, 4} or 0 in x.shape:
        raise InvalidTaskError(
            f"Expected pictures as numbers (n, h, w), (n, h, w, c) or (n, c, h, w) in {source.name}; found the shape "
            f"{x.shape} of {x.dtype}. Reshape them, or give them as a table."
        )
    last, notes = _put_channels_last(x, source, options)
    scaled, said = _to_bytes(last, source, options)
    if scaled.shape[3] < 4:
        return scaled, [*notes, *said]
    opacity = scaled[..., 3:].astype(np.float32) / 255
    on_white = np.rint(scaled[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return on_white, [*notes, *said, "Laid the pictures on white where they are transparent."]


def _axes_of_channels(shape: tuple[int, ...]) -> list[str]:
    """Return in which layouts the shape `(n, a, b, c)` makes sense."""
    return [layout for layout, axis in zip(_LAYOUTS, (3, 1), strict=True) if shape[axis] in _CHANNELS]


def _put_channels_last(x: NDArray[Any], source: Path, options: Mapping[str, Any]) -> tuple[NDArray[Any], list[str]]:
    said = options.get("layout")
    if said is not None and said not in _LAYOUTS:
        raise InvalidTaskError(f"Expected the option layout to be nhwc or nchw; found {said!r}.")
    if x.ndim == 3:
        return x[..., None], []
    possible = _axes_of_channels(x.shape)
    if (said not in possible) if said else (len(possible) != 1):
        found = "both could be channels" if len(possible) > 1 else "neither has 1, 3 or 4 channels"
        raise InvalidTaskError(
            f"Expected channels in the second or last axis in {source.name}; found the shape {x.shape}: {found}. Write "
            "`options: {layout: nhwc}` (or nchw) into its sidecar, or reshape the array."
        )
    layout = said or possible[0]
    if layout == "nhwc":
        return x, []
    return np.moveaxis(x, 1, -1), [f"Took the second axis of {x.shape} as channels."]


def _to_bytes(x: NDArray[Any], source: Path, options: Mapping[str, Any]) -> tuple[NDArray[np.uint8], list[str]]:
    if x.dtype == np.uint8 and "range" not in options:
        return np.ascontiguousarray(x), []
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InvalidTaskError(f"Expected a number for every pixel in {source.name}; some are missing or infinite.")
    black, white = _find_range(x.dtype, low, high, source, options)
    scaled = np.clip((x.astype(np.float32) - black) * (255.0 / (white - black)), 0, 255)
    return np.rint(scaled).astype(np.uint8), [f"Took {black:g} as black and {white:g} as white."]


def _find_range(
    dtype: np.dtype[Any], low: float, high: float, source: Path, options: Mapping[str, Any]
) -> tuple[float, float]:
    """Return which numbers are black and white."""
    said = options.get("range")
    if said is not None:
        if not isinstance(said, list | tuple) or len(said) != 2 or not said[0] < said[1]:
            raise InvalidTaskError(f"Expected the option range as [black, white]; found {said!r}.")
        if low < said[0] or high > said[1]:
            raise InvalidTaskError(f"Expected numbers within {list(said)} in {source.name}; found {low:g} to {high:g}.")
        return float(said[0]), float(said[1])
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high <= 255 and (dtype.kind in "iu" or high > 16):
        return 0.0, 255.0
    if dtype == np.uint16:
        return 0.0, 65_535.0
    raise InvalidTaskError(
        f"Expected pixels as bytes, of 16 bits (uint16), or in [0, 1] or [0, 255] in {source.name}; found {low:g} to "
        f"{high:g}. Write `options: {{range: [{low:g}, {high:g}]}}`, black and white, into its sidecar."
    )
