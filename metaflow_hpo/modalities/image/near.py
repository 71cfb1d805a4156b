"""Find pictures that are nearly the same: kept again in another format, or made lossy; not those that look alike.

Two pictures are so when their grey pixels, each picture's mean taken off and its contrast made one, correlate by more
than `MIN_CORRELATION`, and mean, contrast and mean colour are about the same.
"""

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.groups import renumber

MIN_CORRELATION = 0.9965
MAX_SHIFT = 2.0
"""Levels of 255 by which means, contrasts and colours may differ."""
_GRID = 8
_DIRECTIONS = 10
_RADIUS = 0.05
"""Root mean square between coarse pictures of one contrast, up to which pairs are looked at closely."""
_MAX_PAIRS = 2_000_000
_CHUNK_VALUES = 16_000_000
"""Pixels, channels counted, that are looked at at once: 64 MB in float32."""
_FLAT = 1.0

Floats = NDArray[np.float32]


def number_near(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return a number for each picture `(n, h, w, c)`, equal where pictures are nearly the same."""
    from scipy.spatial import cKDTree

    coarse, tones = _summarise(pixels)
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(coarse.shape[1], _DIRECTIONS)))[0]
    tree = cKDTree(coarse @ directions.astype(np.float32))
    alone = np.arange(len(pixels), dtype=np.int64)
    radius = _RADIUS * _GRID  # of the sum of squares over the grid; along fewer directions it is no longer
    if tree.count_neighbors(tree, radius) - len(pixels) > 2 * _MAX_PAIRS:
        return alone  # nearly all are alike, which is how these pictures are
    pairs = tree.query_pairs(radius, output_type="ndarray")
    pairs = pairs[(np.abs(tones[pairs[:, 0]] - tones[pairs[:, 1]]) < MAX_SHIFT).all(axis=1)]
    step = _chunk_of(pixels)
    kept = [pairs[s : s + step][_correlate(pixels, pairs[s : s + step])] for s in range(0, len(pairs), step)]
    return _join(alone, np.concatenate(kept)) if kept else alone


def _summarise(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return coarse grey pictures of one contrast `(n, 64)`, and contrast and mean of every channel `(n, 1 + c)`."""
    rows, columns = (_average_over(size) for size in pixels.shape[1:3])
    coarse = np.empty((len(pixels), _GRID * _GRID), dtype=np.float32)
    tones = np.empty((len(pixels), 1 + pixels.shape[3]), dtype=np.float32)
    step = _chunk_of(pixels)
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        colour = pixels[part].astype(np.float32)
        grey = _to_grey(colour)
        tones[part, 0], tones[part, 1:] = grey.std(axis=(1, 2)), colour.mean(axis=(1, 2))
        small = rows @ (grey - grey.mean(axis=(1, 2), keepdims=True)) @ columns.T
        coarse[part] = small.reshape(len(small), -1) / np.maximum(tones[part, :1], _FLAT)
    return coarse, tones


def _chunk_of(pixels: NDArray[np.uint8]) -> int:
    """Return how many pictures are looked at at once."""
    return int(max(1, _CHUNK_VALUES // pixels[0].size))


def _to_grey(colour: Floats) -> Floats:
    """Return the mean of the channels, `(n, h, w)`; channel by channel, which is much faster than over an axis."""
    channels = colour.shape[3]
    return np.asarray(sum(colour[..., channel] for channel in range(channels)) / np.float32(channels))


def _average_over(size: int) -> Floats:
    """Return the matrix `(8, size)` that averages over eighths of a side."""
    edges = np.linspace(0, size, _GRID + 1)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    weights = np.maximum(overlap, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _correlate(pixels: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell of pairs `(p, 2)` whether their grey pixels correlate as those of one picture do, or both are flat."""
    one, other = (_to_grey(pixels[pairs[:, side]].astype(np.float32)).reshape(len(pairs), -1) for side in (0, 1))
    one -= one.mean(axis=1, keepdims=True)
    other -= other.mean(axis=1, keepdims=True)
    size = np.sqrt((one**2).mean(axis=1) * (other**2).mean(axis=1))
    return np.asarray((size <= _FLAT) | ((one * other).mean(axis=1) > MIN_CORRELATION * size))


def _join(alone: NDArray[np.int64], pairs: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the groups that pairs make."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(alone)
    links = coo_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return renumber(connected_components(links, directed=False)[1].astype(np.int64))
