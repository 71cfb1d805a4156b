"""Features of pictures that are learned from nothing: how strongly random patches of theirs answer, and where.

References:
    Coates, Lee & Ng 2011, An analysis of single-layer networks in unsupervised feature learning, AISTATS.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

PATCHES = 80
_SIDE = 5
_LARGEST = 32
"""Pixels of a side that pictures are averaged down to."""
_STRIDE = 2
_POOLED = 2
"""Answers are averaged over as many by as many parts of a picture."""
_CHUNK = 250
_FLOOR = 0.04
"""Contrast, of 1, below which a patch counts as flat."""

Floats = NDArray[np.float32]


def describe_patches(pixels: NDArray[np.uint8]) -> Floats:
    """Return features of pictures.

    Args:
        pixels: `(n, h, w, c)`; patches are drawn from them, with a fixed seed.

    Returns:
        `(n, d)`: of each patch the mean of what answers it above average and below, in each part of a picture, and the
        mean brightness there.
    """
    small = _shrink(pixels)
    side = min(_SIDE, *small.shape[1:3])
    filters = _draw(small, side)
    return np.concatenate([_answer(small[s : s + _CHUNK], filters, side) for s in range(0, len(small), _CHUNK)])


def _shrink(pixels: NDArray[np.uint8]) -> Floats:
    """Return pictures in [0, 1], averaged over whole blocks so that no side is above the largest by much."""
    step = max(1, round(max(pixels.shape[1:3]) / _LARGEST))
    height, width = (max(size // step, 1) * step for size in pixels.shape[1:3])
    if step == 1 or min(pixels.shape[1:3]) < step:
        return pixels.astype(np.float32) / np.float32(255)
    parts = pixels[:, :height, :width].reshape(len(pixels), height // step, step, width // step, step, -1)
    return np.asarray(parts.mean(axis=(2, 4), dtype=np.float32) / np.float32(255))


def _windows(small: Floats, side: int, stride: int) -> Floats:
    """Return the patches of pictures, `(n, rows, columns, side * side * c)`, each of mean 0 and length 1 (or flat)."""
    windows = np.lib.stride_tricks.sliding_window_view(small, (side, side), axis=(1, 2))[:, ::stride, ::stride]
    flat = np.ascontiguousarray(windows).reshape(*windows.shape[:3], -1)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    length = np.sqrt(np.einsum("nrcd,nrcd->nrc", flat, flat))
    flat /= np.maximum(length, _FLOOR * side)[..., None]
    return np.asarray(flat, dtype=np.float32)


def _draw(small: Floats, side: int) -> Floats:
    """Return `(d, PATCHES)` random patches, rather such with contrast."""
    rng = np.random.default_rng(0)
    chosen = small[rng.integers(len(small), size=4 * PATCHES)]
    windows = _windows(chosen, side, 1)
    rows, columns = (rng.integers(size, size=len(chosen)) for size in windows.shape[1:3])
    drawn = windows[np.arange(len(chosen)), rows, columns]
    strong = np.argsort(-np.einsum("nd,nd->n", drawn, drawn), kind="stable")[: 2 * PATCHES]
    return np.ascontiguousarray(drawn[np.sort(strong)[::2]].T)


def _answer(small: Floats, filters: Floats, side: int) -> Floats:
    answers = _windows(small, side, _STRIDE) @ filters  # (n, rows, columns, PATCHES)
    answers -= 0.25 * np.sign(answers)  # weak answers say little
    rows, columns = (_edges(size) for size in answers.shape[1:3])
    pooled = []
    for top, bottom in rows:
        for left, right in columns:
            part = answers[:, top:bottom, left:right]
            pooled += [np.maximum(part, 0).mean(axis=(1, 2)), np.maximum(-part, 0).mean(axis=(1, 2))]
    height, width = small.shape[1:3]
    light = [small[:, t:b, left:right].mean(axis=(1, 2)) for t, b in _edges(height) for left, right in _edges(width)]
    return np.concatenate([*pooled, *light], axis=1)


def _edges(size: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, size, min(_POOLED, size) + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))
