"""Find pictures that are nearly the same: saved again, made lossy, or a little brighter; not those that look alike.

Two pictures are so when their pixels, each picture's mean taken off and its contrast made one, correlate by more than
`MIN_CORRELATION`, and mean and contrast are about the same.
"""

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.groups import renumber

MIN_CORRELATION = 0.9965
MAX_SHIFT = 6.0
"""Levels of 255 by which means and contrasts may differ."""
_GRID = 8
_DIRECTIONS = 10
_RADIUS = 0.05
"""Root mean square between coarse pictures of one contrast, up to which pairs are looked at closely."""
_MAX_PAIRS = 2_000_000
_CHUNK = 1_000
_FLAT = 1.0

Floats = NDArray[np.float32]


def number_near(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return a number for each picture `(n, h, w, c)`, equal where pictures are nearly the same."""
    from scipy.spatial import cKDTree

    coarse, mean, spread = _summarise(pixels)
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(coarse.shape[1], _DIRECTIONS)))[0]
    tree = cKDTree(coarse @ directions.astype(np.float32))
    alone = np.arange(len(pixels), dtype=np.int64)
    radius = _RADIUS * _GRID  # of the sum of squares over the grid; along fewer directions it is no longer
    if tree.count_neighbors(tree, radius) - len(pixels) > 2 * _MAX_PAIRS:
        return alone  # nearly all are alike, which is how these pictures are
    pairs = tree.query_pairs(radius, output_type="ndarray")
    close = (np.abs(mean[pairs[:, 0]] - mean[pairs[:, 1]]) < MAX_SHIFT) & (
        np.abs(spread[pairs[:, 0]] - spread[pairs[:, 1]]) < MAX_SHIFT
    )
    pairs = pairs[close]
    kept = [pairs[s : s + _CHUNK][_is_near(pixels, pairs[s : s + _CHUNK])] for s in range(0, len(pairs), _CHUNK)]
    return _join(alone, np.concatenate(kept)) if kept else alone


def _summarise(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Return coarse grey pictures of one contrast `(n, 64)`, means and contrasts `(n,)`."""
    height, width = pixels.shape[1:3]
    rows, columns = _average_over(height), _average_over(width)
    coarse = np.empty((len(pixels), _GRID * _GRID), dtype=np.float32)
    mean, spread = np.empty(len(pixels), np.float32), np.empty(len(pixels), np.float32)
    for start in range(0, len(pixels), _CHUNK):
        part = slice(start, start + _CHUNK)
        grey = pixels[part].astype(np.float32).mean(axis=3)
        mean[part], spread[part] = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
        small = rows @ (grey - mean[part, None, None]) @ columns.T
        coarse[part] = small.reshape(len(small), -1) / np.maximum(spread[part], _FLAT)[:, None]
    return coarse, mean, spread


def _average_over(size: int) -> Floats:
    """Return the matrix `(8, size)` that averages over eighths of a side."""
    edges = np.linspace(0, size, _GRID + 1)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    weights = np.maximum(overlap, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _is_near(pixels: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell of pairs `(p, 2)` whether their pixels, all channels together, correlate as those of one picture do."""
    one, other = (pixels[pairs[:, side]].reshape(len(pairs), -1).astype(np.float32) for side in (0, 1))
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
