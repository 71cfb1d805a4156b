"""The kernels of the numba engine: one small network trained with the GIL released, BLAS for the products.

The one thing to know: everything in a kernel is float32, constants included; one Python float would turn a whole loop
into float64. Numba caches the compiled code beside this file or, where that is read-only, in the user's cache folder
(`NUMBA_CACHE_DIR` overrides both); without a cache the first use in a process compiles for 10 to 20 seconds.
"""

# ruff: noqa: N803, N806, PLR0124 - matrices have upper-case names; numba takes positions, and x == x is "not NaN"
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from metaflow_hpo.learners.fold import MAX_LOSS

_log = logging.getLogger(__name__)

f4, u4, i4 = np.float32, np.uint32, np.int32
SGD, ADAM, ADAMW = 0, 1, 2
RELU, TANH, LINEAR = 0, 1, 2
ZERO, ONE, TINY, EPS = f4(0), f4(1), f4(1e-30), f4(1e-8)
CHUNK = 512  # validation rows passed at once

# The kernels loop where np.diff, .max() or the assignment of a slice would do: those take seconds each to compile.
# No nnan and no ninf: a diverged training must show as NaN. error_model="numpy": no branches for ZeroDivisionError.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with numba at the first call, from the cache where there is a writable folder for one."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:  # "cannot cache function ...: no locator available"
        _log.warning("Numba cannot cache its code, each process compiles it: set NUMBA_CACHE_DIR (%s)", error)
        return njit(**_OPTIONS)(function)


@compiled
def tanh(x: Any) -> Any:
    """Odd rational approximation (|error| < 1e-6) that vectorises, unlike tanhf of libm; NaN stays NaN."""
    c = min(max(x, f4(-7.9)), f4(7.9))
    q = c * c
    p = f4(2.00018790482477e-13) - q * f4(2.76076847742355e-16)
    p = f4(5.12229709037114e-8) + q * (f4(-8.60467152213735e-11) + q * p)
    p = f4(4.89352455891786e-3) + q * (f4(6.37261928875436e-4) + q * (f4(1.48572235717979e-5) + q * p))
    r = f4(1.18534705686654e-4) + q * f4(1.19825839466702e-6)
    return c * p / (f4(4.89352518554385e-3) + q * (f4(2.26843463243900e-3) + q * r)) if x == x else x


@compiled
def exp(x: Any) -> Any:
    """Exponential of x <= 0, relative error about 1e-7, vectorises; NaN stays NaN."""
    t = max(x, f4(-87)) * f4(1.4426950408889634)
    k = i4(t - f4(0.5))
    r = (t - f4(k)) * f4(0.6931471805599453)
    p = f4(1 / 24) + r * (f4(1 / 120) + r * (f4(1 / 720) + r * f4(1 / 5040)))
    p = ONE + r * (ONE + r * (f4(0.5) + r * (f4(1 / 6) + r * p)))
    return p * i4((k + i4(127)) << i4(23)).view(f4) if x == x else x


@compiled
def hash32(x: Any) -> Any:
    """Mix 32 bits (lowbias32 by C. Wellons): neighbouring counters give unrelated numbers."""
    x = u4((x ^ (x >> u4(16))) * u4(0x7FEB352D))
    x = u4((x ^ (x >> u4(15))) * u4(0x846CA68B))
    return u4(x ^ (x >> u4(16)))


@compiled
def activate(h: Any, b: Any, act: Any) -> None:
    """Add the bias and apply the activation in place; `h <= 0` rather than `max` keeps NaN."""
    for i in range(h.shape[0]):
        for j in range(b.size):
            z = h[i, j] + b[j]
            h[i, j] = z if act == LINEAR else (tanh(z) if act == TANH else (ZERO if z <= ZERO else z))


@compiled
def drop(h: Any, rate: Any, scale: Any, key: Any) -> None:
    """Zero entries where a hash of (key, position) is small, scale the rest; the zeros are the mask of `backprop`."""
    limit = u4(rate * 4294967295.0)
    for j in range(h.size):
        h[j] = ZERO if hash32(u4(key + u4(j))) < limit else h[j] * scale


@compiled
def backprop(d: Any, h: Any, act: Any, scale: Any, dropped: Any) -> None:
    """Multiply `d` by the derivative of the activation in place, with the dropout scale folded in."""
    inverse = ONE / scale
    for j in range(d.size):
        if act == RELU:
            d[j] = d[j] * scale if h[j] > ZERO else ZERO
        else:
            t = h[j] * inverse
            d[j] = ZERO if dropped and h[j] == ZERO else d[j] * (ONE - t * t) * scale


@compiled
def update(p: Any, g: Any, m: Any, v: Any, kind: Any, lr: Any, mom: Any, wd: Any, c1: Any, c2: Any) -> None:
    """Step one layer's weights and bias. Moments below TINY become 0: dead units decay them into slow denormals."""
    if kind == SGD:
        for i in range(p.size):
            mi = mom * m[i] + (g[i] + wd * p[i])
            m[i] = ZERO if abs(mi) < TINY else mi
            p[i] -= lr * mi
    else:
        l2, keep, a = (wd if kind == ADAM else ZERO), (ONE - lr * wd if kind == ADAMW else ONE), lr * c1
        for i in range(p.size):
            gi = g[i] + l2 * p[i]
            mi, vi = f4(0.9) * m[i] + f4(0.1) * gi, f4(0.999) * v[i] + f4(0.001) * gi * gi
            m[i], v[i] = (ZERO if abs(mi) < TINY else mi), (ZERO if vi < TINY else vi)
            p[i] = p[i] * keep - a * mi / (np.sqrt(vi) * c2 + EPS)


@compiled
def error_of(z: Any, t: Any, d: Any, regression: Any) -> None:
    """Write the gradient of the mean loss of outputs `z` into `d`; the loss itself is not needed in training."""
    n, k = z.shape
    for i in range(n):
        if regression:
            d[i, 0] = (z[i, 0] - t[i]) * f4(2 / n)
        else:
            top, label, total = z[i, 0], int(t[i]), ZERO
            for j in range(1, k):  # a NaN that is passed over here comes back through `exp`
                top = max(top, z[i, j])
            for j in range(k):
                d[i, j] = exp(z[i, j] - top)
                total += d[i, j]
            scale = ONE / (total * f4(n))
            for j in range(k):
                d[i, j] *= scale
            d[i, label] -= ONE / f4(n)


@compiled
def measure(z: Any, t: Any, weights: Any, regression: Any) -> Any:
    """Return the summed loss of outputs `z`, and the sum of weights of hits or of weighted squared errors."""
    (n, k), loss, score = z.shape, 0.0, 0.0
    for i in range(n):
        if regression:
            r = z[i, 0] - t[i]
            loss += r * r
            score += weights[i] * r**2
        else:
            top, label, total = 0, int(t[i]), ZERO
            for j in range(1, k):
                top = j if z[i, j] > z[i, top] else top
            for j in range(k):
                total += exp(z[i, j] - z[i, top])
            loss += math.log(total) - (z[i, label] - z[i, top])
            if top == label:
                score += weights[i]
    return loss, score


@compiled
def forward(P: Any, po: Any, x: Any, H: Any, ho: Any, w: Any, act: Any, rate: Any, scale: Any, key: Any) -> Any:
    """Pass the rows `x` `(n, D)`; the outputs of layer `l` go to `H[ho[l]:]`. Returns those of the last, `(n, k)`."""
    n, last = x.shape[0], w.size - 2
    for layer in range(last + 1):
        i, o = w[layer], w[layer + 1]
        flat = H[ho[layer] : ho[layer] + n * o]
        weights = P[po[layer] : po[layer] + i * o].reshape(i, o)
        h = np.dot(x, weights, flat.reshape(n, o))
        activate(h, P[po[layer] + i * o : po[layer + 1]], LINEAR if layer == last else act)
        if rate > 0 and layer < last:
            drop(flat, rate, scale, hash32(u4(key + u4(layer))))
        x = h
    return x


@compiled
def add_rows(d: Any, out: Any) -> None:
    """Sum the rows of `d` `(n, o)` into `out` `(o,)`: the gradient of a bias."""
    out[:] = ZERO
    for r in range(d.shape[0]):
        for j in range(out.size):
            out[j] += d[r, j]


@compiled
def validate(P: Any, po: Any, X: Any, y: Any, weights: Any, H: Any, ho: Any, w: Any, act: Any, Z: Any) -> Any:
    """Pass all validation rows into `Z` `(m, k)`; return (mean loss, weighted hits, or 1 - weighted squared errors)."""
    m, k, loss, score, regression = X.shape[0], Z.shape[1], 0.0, 0.0, Z.shape[1] == 1
    for b in range(0, m, CHUNK):
        z = forward(P, po, X[b : b + CHUNK], H, ho, w, act, 0.0, ONE, u4(0))
        n = z.shape[0]
        part = measure(z, y[b : b + n], weights[b : b + n], regression)
        loss, score = loss + part[0], score + part[1]
        for i in range(n):
            for j in range(k):
                Z[b + i, j] = z[i, j]
    return loss / m, 1 - score if regression else score


@compiled
def backward(
    P: Any, po: Any, x: Any, H: Any, ho: Any, w: Any, act: Any, scale: Any, dropped: Any, D: Any, G: Any, M: Any,
    V: Any, optimizer: Any, lr: Any, mom: Any, wd: Any, steps: Any,
) -> None:  # fmt: skip
    """Backpropagate the gradient of the outputs in `D[0]` from the last layer to the first; update each on the way."""
    size, last = x.shape[0], w.size - 2
    c1, c2 = f4(1 / (1 - 0.9**steps)), f4(1 / math.sqrt(1 - 0.999**steps))
    d = D[0, : size * w[last + 1]].reshape(size, w[last + 1])
    for layer in range(last, -1, -1):
        i, o, here = w[layer], w[layer + 1], slice(po[layer], po[layer + 1])
        g = G[: (i + 1) * o]
        a = H[ho[layer - 1] : ho[layer - 1] + size * i].reshape(size, i) if layer > 0 else x
        np.dot(a.T, d, g[: i * o].reshape(i, o))
        add_rows(d, g[i * o :])
        if layer > 0:  # before the update: this needs the old weights
            weights, flat = P[po[layer] : po[layer] + i * o].reshape(i, o), D[(last - layer + 1) % 2, : size * i]
            d = np.dot(d, weights.T, flat.reshape(size, i))
            backprop(flat, a.reshape(size * i), act, scale, dropped)
        update(P[here], g, M[here], V[here], optimizer, lr, mom, wd, c1, c2)


@compiled
def find_offsets(w: Any, rows: Any) -> Any:
    """Return where parameters and outputs of each layer start, `(L + 1,)` both, and the most of both in one layer."""
    po, ho = np.zeros(w.size, np.int64), np.zeros(w.size, np.int64)
    most_parameters = most_outputs = 0
    for layer in range(w.size - 1):
        po[layer + 1] = po[layer] + (w[layer] + 1) * w[layer + 1]
        ho[layer + 1] = ho[layer] + rows * w[layer + 1]
        most_parameters = max(most_parameters, po[layer + 1] - po[layer])
        most_outputs = max(most_outputs, rows * w[layer + 1])
    return po, ho, most_parameters, most_outputs


@compiled
def train(
    P: Any, w: Any, X: Any, y: Any, Xv: Any, yv: Any, weights: Any, order: Any, lrs: Any, optimizer: Any, mom: Any,
    wd: Any, rate: Any, act: Any, batch: Any, seed: Any, Z: Any, curve: Any, losses: Any, stop: Any,
    M: Any, V: Any, first: Any, last: Any,
) -> Any:  # fmt: skip
    """Train the flat parameters `P` in place from epoch `first` up to, not with, `last`; return the epochs trained.

    Fills `Z` `(m, k)`, and `curve` and `losses` `(E,)` of these epochs. What goes on from a pause is in `P` and the
    moments `M` and `V`, of the size of `P`. Another thread ends the training before the next mini-batch by writing to
    `stop` `(1,)`.
    """
    n, k, L = order.shape[1], Z.shape[1], w.size - 1
    rows = max(batch, min(Xv.shape[0], CHUNK))
    po, ho, most_parameters, most_outputs = find_offsets(w, rows)
    H, D = np.empty(ho[L], f4), np.empty((2, most_outputs), f4)
    G = np.empty(most_parameters, f4)
    xs, ts = np.empty((batch, w[0]), f4), np.empty(batch, f4)
    scale, steps = f4(1 / (1 - rate)), first * ((n + batch - 1) // batch)
    for e in range(first, last):
        for s in range(0, n, batch):
            if stop[0] != 0:
                return e
            size = min(batch, n - s)
            x, t = xs[:size], ts[:size]
            for i in range(size):
                row = order[e, s + i]
                t[i] = y[row]
                for j in range(w[0]):
                    x[i, j] = X[row, j]
            steps += 1
            z = forward(P, po, x, H, ho, w, act, rate, scale, hash32(u4(seed + u4(steps))))
            error_of(z, t, D[0, : size * k].reshape(size, k), k == 1)
            backward(P, po, x, H, ho, w, act, scale, rate > 0, D, G, M, V, optimizer, lrs[e], mom, wd, steps)
        losses[e], curve[e] = validate(P, po, Xv, yv, weights, H, ho, w, act, Z)
        if not losses[e] <= MAX_LOSS:
            return e + 1
    return last
