"""What a recording sounds like in a few numbers, which are learned from nothing."""

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.audio.mel import MelFrontEnd, Pictures
from metaflow_hpo.modalities.audio.recordings import Recordings, read_lines

_BANDS, _WINDOW_MS, _HOP_MS = 40, 32.0, 16.0
_AT_ONCE = 256

_COARSE_BANDS, _COARSE_FRAMES = 16, 16
_COARSE_RANGE_DB = 40.0
_ALIKE_DB = 1.0
"""Root mean square difference of two recordings of the same sound, whatever their loudness, format and rate."""

Features = NDArray[np.float32]


def draw_pictures(recordings: Recordings, bands: int = _BANDS, window_ms: float = _WINDOW_MS) -> list[Pictures]:
    """Return pictures of recordings, some hundred at once, in their order."""
    front_end = MelFrontEnd.of(recordings.rate, bands, window_ms, _HOP_MS)
    parts = np.array_split(np.arange(len(recordings)), -(-len(recordings) // _AT_ONCE) or 1)
    lines = [read_lines(recordings[part].to_lines()) for part in parts if len(part)]
    return [front_end.draw(part.waves, part.lengths) for part in lines]


def describe_sounds(recordings: Recordings) -> Features:
    """Return features of recordings, `(n, 121)`: mean, deviation and change of each band, and the duration."""
    parts = [_describe_pictures(pictures) for pictures in draw_pictures(recordings)]
    durations = np.log(recordings.durations_s + 1e-3)[:, None]
    return np.concatenate([np.concatenate([np.empty((0, 3 * _BANDS)), *parts]), durations], axis=1).astype(np.float32)


def find_alike(recordings: Recordings) -> NDArray[np.int64]:
    """Return numbers `(n,)` that are equal for recordings of the same sound."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    coarse = np.concatenate(
        [
            np.empty((0, _COARSE_FRAMES, _COARSE_BANDS)),
            *(_coarsen(p) for p in draw_pictures(recordings, _COARSE_BANDS, 4 * _HOP_MS)),
        ]
    )
    cells = coarse.reshape(len(coarse), -1)
    distinct, place = np.unique(np.round(cells, 2), axis=0, return_inverse=True)
    # Means over frames are never farther apart than the cells are: few pairs are left to be looked at whole.
    means = distinct.reshape(-1, _COARSE_FRAMES, _COARSE_BANDS).mean(axis=1)
    pairs = cKDTree(means).query_pairs(_ALIKE_DB * _COARSE_BANDS**0.5, output_type="ndarray")
    near = np.square(distinct[pairs[:, 0]] - distinct[pairs[:, 1]]).mean(axis=1) <= _ALIKE_DB**2
    ones = np.ones(np.count_nonzero(near), bool)
    graph = coo_array((ones, tuple(pairs[near].T)), shape=(len(distinct), len(distinct)))
    return np.asarray(connected_components(graph, directed=False)[1][place.ravel()], np.int64)


def _describe_pictures(pictures: Pictures) -> NDArray[np.float64]:
    powers, there = pictures.powers.astype(np.float64), pictures.is_there[:, :, None]
    mean = powers.mean(axis=1, where=there)
    deviation = np.sqrt(np.square(powers - mean[:, None]).mean(axis=1, where=there))
    change = np.abs(np.diff(powers, axis=1, append=0)) * there
    change[np.arange(len(powers)), pictures.is_there.sum(axis=1) - 1] = 0  # there is none after the last frame
    return np.concatenate([mean, deviation, change.sum(axis=1) / there.sum(axis=1)], axis=1)


def _coarsen(pictures: Pictures) -> NDArray[np.float64]:
    """Return pictures in a few cells, `(n, 16 frames, 16 bands)` decibels below the loudest place."""
    decibels = 10 * pictures.powers.astype(np.float64)
    frames = pictures.is_there.sum(axis=1)
    loudest = decibels.max(axis=(1, 2), where=pictures.is_there[:, :, None], initial=-np.inf)
    decibels = np.maximum(decibels - loudest[:, None, None], -_COARSE_RANGE_DB)
    # (n, 17) where the cells begin, and where the last one ends; a short recording has frames in several of them
    edges = (np.arange(_COARSE_FRAMES + 1)[None, :] * frames[:, None]) // _COARSE_FRAMES
    ends = np.maximum(edges[:, 1:], edges[:, :-1] + 1)
    sums = np.concatenate([np.zeros((len(frames), 1, _COARSE_BANDS)), np.cumsum(decibels, axis=1)], axis=1)
    items = np.arange(len(frames))[:, None]
    means = (sums[items, ends] - sums[items, edges[:, :-1]]) / (ends - edges[:, :-1])[:, :, None]
    return np.asarray(means, np.float64)
