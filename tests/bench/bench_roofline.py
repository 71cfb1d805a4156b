"""The limit: operations of a training, its matrix products alone at their actual shapes, and the GEMM peak.

The one thing to know: `replay` makes the very products of a training, in order, on weights of the same size, and
nothing else: no bias, activation, loss, update or Python. No trainer can be faster with this BLAS in float32.
"""

# ruff: noqa: N803, N806 - matrices have upper-case names

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from bench_contestants import EPOCHS, Work
from numba import njit

from metaflow_hpo.caps import single_threaded_blas
from metaflow_hpo.learners.mlp.recipe import Recipe, make_recipe

_PEAK_SIZE = 1024
_CHUNK = 512


def count_operations(recipe: Recipe, rows: int, valid_rows: int, epochs: int = EPOCHS) -> float:
    """Return the operations of all matrix products of a training: forward, both gradients, validation.

    The gradient of the input of the first layer is not computed and not counted.
    """
    products = [a * b for a, b in zip(recipe.widths[:-1], recipe.widths[1:], strict=True)]
    a_row = 2.0 * (3 * sum(products) - products[0])
    return epochs * (a_row * rows + 2.0 * sum(products) * valid_rows)


@njit(nogil=True)
def _multiply(a, b, out, times):
    for _ in range(times):
        np.dot(a, b, out)


@njit(nogil=True)
def _replay_rows(P, x, H, D, G, w, n, backward):
    """Make the products of one mini-batch of `n` rows."""
    start, last = 0, w.size - 2
    a = x[:n]
    for layer in range(last + 1):
        i, o = w[layer], w[layer + 1]
        a = np.dot(a, P[start : start + i * o].reshape(i, o), H[layer, : n * o].reshape(n, o))
        start += i * o
    if not backward:
        return
    d = D[0, : n * w[last + 1]].reshape(n, w[last + 1])
    for layer in range(last, -1, -1):
        i, o = w[layer], w[layer + 1]
        start -= i * o
        a = H[layer - 1, : n * i].reshape(n, i) if layer > 0 else x[:n]
        np.dot(a.T, d, G[start : start + i * o].reshape(i, o))
        if layer > 0:
            d = np.dot(d, P[start : start + i * o].reshape(i, o).T, D[(last - layer + 1) % 2, : n * i].reshape(n, i))


@njit(nogil=True)
def _replay(P, x, H, D, G, w, batch, n, m, epochs):
    for _ in range(epochs):
        for s in range(0, n, batch):
            _replay_rows(P, x, H, D, G, w, min(batch, n - s), True)
        for s in range(0, m, _CHUNK):
            _replay_rows(P, x, H, D, G, w, min(_CHUNK, m - s), False)


def replay(recipe: Recipe, rows: int, valid_rows: int, epochs: int = EPOCHS) -> float:
    """Make all matrix products of a training; return the seconds of processor time it took."""
    rng, w = np.random.default_rng(0), np.array(recipe.widths, np.int64)
    most = max(recipe.batch, min(valid_rows, _CHUNK))
    parameters = sum(a * b for a, b in zip(recipe.widths[:-1], recipe.widths[1:], strict=True))
    P = rng.standard_normal(parameters, np.float32) * np.float32(0.05)
    x = rng.standard_normal((most, w[0]), np.float32)
    H, D = np.zeros((len(w), most * w.max()), np.float32), np.zeros((2, most * w.max()), np.float32)
    arrays = (P, x, H, D, np.zeros_like(P), w, recipe.batch, rows, valid_rows)
    _replay(*arrays, 0)
    began = time.thread_time()
    _replay(*arrays, epochs)
    return time.thread_time() - began


def time_products(work: Work) -> float:
    """Return the seconds of processor time that the matrix products of all configurations take on one thread."""
    shape = len(work.fold.x_train), len(work.fold.x_valid)
    with single_threaded_blas():
        return sum(
            replay(make_recipe(configuration, work.fold, EPOCHS), *shape) for configuration in work.configurations
        )


def measure_peak(threads: int, times: int = 20) -> float:
    """Return the GEMM peak, operations a second: large float32 products on each thread, by their processor time."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((_PEAK_SIZE, _PEAK_SIZE), np.float32) for _ in range(2))
    outs = [np.empty_like(a) for _ in range(threads)]

    def rate(out: np.ndarray) -> float:
        began = time.thread_time()
        _multiply(a, b, out, times)
        return times * 2.0 * _PEAK_SIZE**3 / (time.thread_time() - began)

    with single_threaded_blas(), ThreadPoolExecutor(threads) as pool:
        _multiply(a, b, outs[0], 1)
        return max(sum(pool.map(rate, outs)) for _ in range(3))
