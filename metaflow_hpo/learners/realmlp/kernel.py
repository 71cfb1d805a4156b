"""The compiled kernels of `realmlp`: one network trained with the GIL released, BLAS for the products.

The one thing to know: all is float32, and the members of an ensemble are more rows. Rows `(B, D)` pass the embedding
once; member `m` scales them by its own row of `scale`, and rows `m * B` to `(m + 1) * B` of all hidden layers are its.
Only the last layer belongs to one member again. Gradients of all parameters are made first, then all are stepped.
"""

# ruff: noqa: N803, N806 - matrices have upper-case names
import math
from typing import Any

import numpy as np

from metaflow_hpo.learners.fold import MAX_LOSS
from metaflow_hpo.learners.mlp.kernel import add_rows, compiled, exp, hash32

f4, u4 = np.float32, np.uint32
RELU, SELU, SILU, MISH = 0, 1, 2, 3
ZERO, ONE, TWO, TINY, EPS = f4(0), f4(1), f4(2), f4(1e-30), f4(1e-8)
SELU_SCALE, SELU_ALPHA = f4(1.0507009873554805), f4(1.6732632423543772)
TURN = f4(2 * math.pi)
CHUNK = 512  # validation rows passed at once


@compiled
def cos_turns(t: Any) -> Any:
    """Cosine of 2 pi t, |error| < 1e-6 for |t| < 1e4; it vectorises."""
    t = abs(t - np.floor(t + f4(0.5)))  # in [0, 1/2]
    u = f4(0.25) - t  # cos(2 pi t) = sin(2 pi u), odd in u
    v = TURN * u
    q = v * v
    p = f4(-1 / 39916800) * q + f4(1 / 362880)
    p = f4(-1 / 5040) + q * p
    return v + v * q * (f4(-1 / 6) + q * (f4(1 / 120) + q * p))


@compiled
def embed(P: Any, w: Any, x: Any, A: Any, C: Any) -> None:
    """Write `(B, D1)` into `A`: each number, and `e` sums of `q` waves of it; then the columns that are no numbers.

    The waves `(B, numbers, q)` stay in `C` for `embed_back`. `w` is that of `train`; the parameters of each number are
    those of `Shape.blocks`.
    """
    numbers, q, e = w[0], w[1], w[2]
    size, own = q * (2 + e) + e, 1 + e
    for i in range(x.shape[0]):
        for f in range(numbers):
            A[i, f * own] = x[i, f]
            if q > 0:
                o = f * size
                for j in range(q):
                    C[i, f, j] = cos_turns(P[o + j] * x[i, f] + P[o + q + j])
                for s in range(e):
                    total, row = P[o + q * (2 + e) + s], o + q * (2 + s)
                    for j in range(q):
                        total += P[row + j] * C[i, f, j]
                    A[i, f * own + 1 + s] = total
        for f in range(numbers, x.shape[1]):
            A[i, numbers * own + f - numbers] = x[i, f]


@compiled
def embed_back(P: Any, w: Any, x: Any, C: Any, dA: Any, G: Any) -> None:
    """Add the gradients of the embedding's parameters to `G`, from that of its outputs `dA` `(B, D1)`."""
    numbers, q, e = w[0], w[1], w[2]
    size, own = q * (2 + e) + e, 1 + e
    for i in range(x.shape[0]):
        for f in range(numbers):
            o, value = f * size, x[i, f]
            for s in range(e):
                d, row = dA[i, f * own + 1 + s], o + q * (2 + s)
                G[o + q * (2 + e) + s] += d
                for j in range(q):
                    G[row + j] += d * C[i, f, j]
            for j in range(q):
                d = ZERO
                for s in range(e):
                    d += dA[i, f * own + 1 + s] * P[o + q * (2 + s) + j]
                # cos' = -sin, and sin(2 pi t) = cos(2 pi (t - 1/4))
                d *= -TURN * cos_turns(P[o + j] * value + P[o + q + j] - f4(0.25))
                G[o + j] += d * value
                G[o + q + j] += d


@compiled
def activate(h: Any, slope: Any, b: Any, act: Any, limit: Any, scale: Any, key: Any) -> None:
    """Add the bias, apply activation and dropout in place, and write what the gradient is multiplied with."""
    n, width = h.shape
    for i in range(n):
        for j in range(width):
            z = h[i, j] + b[j]
            if act == RELU:
                a, s = (ZERO, ZERO) if z <= ZERO else (z, ONE)  # `<=` rather than `max` keeps NaN
            elif act == SELU:
                t = SELU_SCALE * SELU_ALPHA * exp(min(z, ZERO))
                a, s = (t - SELU_SCALE * SELU_ALPHA, t) if z <= ZERO else (SELU_SCALE * z, SELU_SCALE)
            else:
                u = exp(-abs(z))  # e^z is u below 0, 1/u above
                if act == SILU:
                    g = (ONE if z > ZERO else u) / (ONE + u)
                    a, s = z * g, g * (ONE + z * (ONE - g))
                else:  # z tanh(log(1 + e^z))
                    top = ONE + TWO * u if z > ZERO else u * (u + TWO)
                    t = top / (top + (TWO * u * u if z > ZERO else TWO))
                    g = (ONE if z > ZERO else u) / (ONE + u)
                    a, s = z * t, t + z * g * (ONE - t * t)
            h[i, j], slope[i, j] = a, s
    if limit > 0:
        flat, flat_slope = h.reshape(n * width), slope.reshape(n * width)
        for j in range(n * width):
            keep = ZERO if hash32(u4(key + u4(j))) < limit else scale
            flat[j] *= keep
            flat_slope[j] *= keep


@compiled
def forward(P: Any, at: Any, w: Any, x: Any, A: Any, C: Any, H: Any, S: Any, Y: Any, act: Any, limit: Any,
            scale: Any, key: Any) -> None:  # fmt: skip
    """Pass rows `(B, D)`; fills the buffers, of which `Y` `(K, B, k)` are the outputs. Shapes: see `train`."""
    K, L, B = w[3], w.size - 6, x.shape[0]
    embed(P, w, x, A, C)
    D1 = w[5]
    scaled = H[0, : K * B * D1].reshape(K * B, D1)
    for m in range(K):
        for i in range(B):
            for j in range(D1):
                scaled[m * B + i, j] = A[i, j] * P[at[1] + m * D1 + j]
    h = scaled
    for layer in range(L):
        i, o = w[5 + layer], w[6 + layer]
        h_next = H[layer + 1, : K * B * o].reshape(K * B, o)
        np.dot(h, P[at[2 + 2 * layer] : at[3 + 2 * layer]].reshape(i, o), h_next)
        b = P[at[3 + 2 * layer] : at[4 + 2 * layer]]
        activate(h_next, S[layer, : K * B * o].reshape(K * B, o), b, act, limit, scale, hash32(u4(key + u4(layer))))
        h = h_next
    i, k = w[5 + L], w[4]
    for m in range(K):
        head = 2 + 2 * (L + m)
        z = Y[m * B * k : (m + 1) * B * k].reshape(B, k)
        np.dot(h[m * B : (m + 1) * B], P[at[head] : at[head + 1]].reshape(i, k), z)
        for r in range(B):
            for j in range(k):
                z[r, j] += P[at[head + 1] + j]


@compiled
def backward(P: Any, at: Any, w: Any, x: Any, A: Any, C: Any, H: Any, S: Any, Y: Any, T: Any, G: Any) -> None:
    """Fill the gradients `G` from those of the outputs, in `Y`; the buffers are as `forward` left them."""
    K, L, B, k = w[3], w.size - 6, x.shape[0], w[4]
    i = w[5 + L]
    h = H[L, : K * B * i].reshape(K * B, i)
    d = T[0, : K * B * i].reshape(K * B, i)
    for m in range(K):
        head = 2 + 2 * (L + m)
        dz = Y[m * B * k : (m + 1) * B * k].reshape(B, k)
        np.dot(h[m * B : (m + 1) * B].T, dz, G[at[head] : at[head + 1]].reshape(i, k))
        add_rows(dz, G[at[head + 1] : at[head + 2]])
        np.dot(dz, P[at[head] : at[head + 1]].reshape(i, k).T, d[m * B : (m + 1) * B])
    for layer in range(L - 1, -1, -1):
        i, o = w[5 + layer], w[6 + layer]
        flat, slope = d.reshape(K * B * o), S[layer, : K * B * o]
        for j in range(flat.size):
            flat[j] *= slope[j]
        h, weights = H[layer, : K * B * i].reshape(K * B, i), P[at[2 + 2 * layer] : at[3 + 2 * layer]].reshape(i, o)
        np.dot(h.T, d, G[at[2 + 2 * layer] : at[3 + 2 * layer]].reshape(i, o))
        add_rows(d, G[at[3 + 2 * layer] : at[4 + 2 * layer]])
        d_next = T[(L - layer) % 2, : K * B * i].reshape(K * B, i)
        np.dot(d, weights.T, d_next)
        d = d_next
    D1 = w[5]
    dA = T[(L + 1) % 2, : B * D1].reshape(B, D1)
    dA[:] = ZERO
    G[: at[2]] = ZERO
    for m in range(K):
        row = at[1] + m * D1
        for r in range(B):
            for j in range(D1):
                G[row + j] += d[m * B + r, j] * A[r, j]
                dA[r, j] += d[m * B + r, j] * P[row + j]
    if w[1] > 0:
        embed_back(P, w, x, C, dA, G)


@compiled
def error_of(Y: Any, t: Any, K: Any, k: Any, smoothing: Any, class_weights: Any) -> None:
    """Replace outputs `(K, B, k)` by the gradient of the loss, a mean over rows and members."""
    B = t.size
    for m in range(K):
        for i in range(B):
            start = (m * B + i) * k
            if k == 1:
                Y[start] = (Y[start] - t[i]) * f4(2 / (B * K))
            else:
                top, label, total = Y[start], int(t[i]), ZERO
                for j in range(1, k):
                    top = max(top, Y[start + j])
                for j in range(k):
                    Y[start + j] = exp(Y[start + j] - top)
                    total += Y[start + j]
                for j in range(k):
                    Y[start + j] = Y[start + j] / total - smoothing / f4(k)
                Y[start + label] -= ONE - smoothing
                for j in range(k):
                    Y[start + j] *= class_weights[label] / f4(B * K)


@compiled
def update(P: Any, G: Any, M: Any, V: Any, lr: Any, decay: Any, beta1: Any, beta2: Any, c1: Any, c2: Any) -> None:
    """Step AdamW. Moments below TINY become 0: they decay into slow denormals."""
    keep, a, new1, new2 = ONE - lr * decay, lr * c1, ONE - beta1, ONE - beta2
    for i in range(P.size):
        mi, vi = beta1 * M[i] + new1 * G[i], beta2 * V[i] + new2 * G[i] * G[i]
        M[i], V[i] = (ZERO if abs(mi) < TINY else mi), (ZERO if vi < TINY else vi)
        P[i] = P[i] * keep - a * mi / (np.sqrt(vi) * c2 + EPS)


@compiled
def average(Y: Any, Z: Any, K: Any) -> None:
    """Write the mean over members of probabilities, or of the output of a regression, into `Z` `(n, k)`."""
    n, k = Z.shape
    for i in range(n):
        for j in range(k):
            Z[i, j] = ZERO
        for m in range(K):
            start = (m * n + i) * k
            if k == 1:
                Z[i, 0] += Y[start] / f4(K)
            else:
                top, total = Y[start], ZERO
                for j in range(1, k):
                    top = max(top, Y[start + j])
                for j in range(k):
                    total += exp(Y[start + j] - top)
                for j in range(k):
                    Z[i, j] += exp(Y[start + j] - top) / (total * f4(K))


@compiled
def measure(Z: Any, t: Any, weights: Any) -> Any:
    """Return the summed loss of predictions `(n, k)`, and the sum of weights of hits or of weighted squared errors."""
    (n, k), loss, score = Z.shape, 0.0, 0.0
    for i in range(n):
        if k == 1:
            r = Z[i, 0] - t[i]
            loss += r * r
            score += weights[i] * r**2
        else:
            top, label = 0, int(t[i])
            for j in range(1, k):
                top = j if Z[i, j] > Z[i, top] else top
            p = Z[i, label]
            loss -= math.log(max(p, f4(1e-30))) if p == p else math.nan  # noqa: PLR0124 - NaN is unlike itself
            if top == label:
                score += weights[i]
    return loss, score


@compiled
def train(
    P: Any, at: Any, w: Any, rates: Any, decays: Any, X: Any, y: Any, Xv: Any, yv: Any, weights: Any, order: Any,
    lrs: Any, class_weights: Any, dropout: Any, smoothing: Any, beta1: Any, beta2: Any, act: Any, batch: Any, seed: Any,
    Z: Any, curve: Any, losses: Any, stop: Any, M: Any, V: Any, first: Any, last: Any,
) -> Any:  # fmt: skip
    """Train the flat parameters `P` in place from epoch `first` up to, not with, `last`; return the epochs trained.

    Fills `Z` `(m, k)`, and `curve` and `losses` `(E,)` of these epochs. What goes on from a pause is in `P` and the
    moments `M` and `V`. Another thread ends the training before the next mini-batch by writing to `stop` `(1,)`.

    `at` `(blocks + 1,)` tells where the blocks of `Shape.blocks` start, and where the last ends; `rates` and `decays`
    are their learning rates relative to `lrs` `(E, steps)`, and their weight decay. `w` is: numbers, waves, sums,
    members K, outputs k, then the widths of what the hidden layers get and give.
    """
    n, L, K, k = order.shape[1], w.size - 6, w[3], w[4]
    rows, widest = max(batch, min(Xv.shape[0], CHUNK)), 0
    for layer in range(L + 1):
        widest = max(widest, w[5 + layer])
    A, C = np.empty((rows, w[5]), f4), np.empty((rows, w[0], w[1]), f4)
    H, S = np.empty((L + 1, rows * K * widest), f4), np.empty((L, rows * K * widest), f4)
    Y, T, G = np.empty(rows * K * k, f4), np.empty((2, batch * K * widest), f4), np.empty(P.size, f4)
    xs, ts = np.empty((batch, X.shape[1]), f4), np.empty(batch, f4)
    limit, scale = u4(dropout * 4294967295.0), f4(1 / (1 - dropout))
    for e in range(first, last):
        for i in range(lrs.shape[1]):
            if stop[0] != 0:
                return e
            size = min(batch, n - i * batch)
            x, t = xs[:size], ts[:size]
            for r in range(size):
                row = order[e, i * batch + r]
                t[r] = y[row]
                for j in range(X.shape[1]):
                    x[r, j] = X[row, j]
            step = e * lrs.shape[1] + i + 1
            forward(P, at, w, x, A, C, H, S, Y, act, limit, scale, hash32(u4(seed + u4(step))))
            error_of(Y, t, K, k, smoothing, class_weights)
            backward(P, at, w, x, A, C, H, S, Y, T, G)
            c1, c2 = f4(1 / (1 - beta1**step)), f4(1 / math.sqrt(1 - beta2**step))
            for b in range(rates.size):
                block = slice(at[b], at[b + 1])
                update(P[block], G[block], M[block], V[block], lrs[e, i] * rates[b], decays[b], beta1, beta2, c1, c2)
        loss = score = 0.0
        for s in range(0, Xv.shape[0], CHUNK):
            x = Xv[s : s + CHUNK]
            forward(P, at, w, x, A, C, H, S, Y, act, u4(0), ONE, u4(0))
            part = Z[s : s + x.shape[0]]
            average(Y, part, K)
            found = measure(part, yv[s : s + x.shape[0]], weights[s : s + x.shape[0]])
            loss, score = loss + found[0], score + found[1]
        losses[e], curve[e] = loss / Xv.shape[0], 1 - score if k == 1 else score
        if not losses[e] <= MAX_LOSS:
            return e + 1
    return last
