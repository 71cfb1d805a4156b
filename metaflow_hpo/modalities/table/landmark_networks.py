"""The landmark networks: a small multi-layer perceptron trained for some epochs, in plain numpy.

Every bit of chance (initial values, order of the rows, dropout) is drawn here from a fixed recipe, so that the scores
do not depend on the machine. They are those of PyTorch, which once trained these networks, down to its dropout masks:
the shipped meta-features were measured with it.

References:
    Kingma and Ba 2015, Adam: a method for stochastic optimization, arXiv:1412.6980.
"""

import hashlib
import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.caps import single_threaded_blas
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Value, configuration_id

FloatArray = NDArray[np.float32]

MAX_LOSS = 1e6
"""A validation loss above this is divergence."""

_WIDTH, _LAYERS = 128, 2
_BATCH = 64
_DROPOUT = 0.1
_WEIGHT_DECAY = 1e-4
_MEAN, _SQUARE, _EPSILON = 0.9, 0.999, 1e-8
_RECIPE: dict[str, Value] = {
    "batch_size": _BATCH, "optimizer": "adam", "weight_decay": _WEIGHT_DECAY, "dropout": _DROPOUT, "layers": _LAYERS,
    "width": _WIDTH, "shape": "rectangular", "activation": "relu", "schedule": "constant",
}  # fmt: skip
"""What the draws are named after, learning rate apart: the default of the learner `mlp`."""

_MANTISSA = np.uint64(2**53 - 1)


def train_network(fold: Fold, learning_rate: float, epochs: int) -> NDArray[np.float64]:
    """Train a network and score it on the validation rows.

    Returns:
        `(E',)` balanced accuracy or R2 after each epoch; fewer than `epochs` where it diverged.
    """
    widths = (fold.x_train.shape[1], *[_WIDTH] * _LAYERS, fold.classes or 1)
    parameters, order, dropout = _draw(widths, len(fold.x_train), learning_rate, epochs)
    network = _Network(widths, parameters)
    optimizer = _Adam(network.parameters, learning_rate)
    weights = _weigh(fold)
    scores: list[float] = []
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
        for epoch in order:
            for start in range(0, len(epoch), _BATCH):
                chosen = epoch[start : start + _BATCH]
                outputs = network.forward(fold.x_train[chosen], dropout)
                optimizer.step(network.backward(_differentiate(outputs, fold.y_train[chosen], fold.classes)))
            outputs = network.forward(fold.x_valid)
            if not _measure_loss(outputs, fold.y_valid, fold.classes) <= MAX_LOSS:
                break
            scores.append(_score(outputs, fold, weights))
    return np.array(scores)


class _Dropout:
    """PyTorch's dropout masks on a processor."""

    def __init__(self, seed: int) -> None:
        self._twister = np.random.MT19937()
        self._twister._legacy_seeding(seed)

    def draw(self, shape: tuple[int, int]) -> FloatArray:
        """Return what values are multiplied with: 0, or one over the share that is kept."""
        drawn = np.asarray(self._twister.random_raw(2 * shape[0] * shape[1]), np.uint64)
        uniform = (((drawn[::2] << np.uint64(32)) | drawn[1::2]) & _MANTISSA) * 2.0**-53
        return (uniform < 1 - _DROPOUT).astype(np.float32).reshape(shape) / np.float32(1 - _DROPOUT)


class _Network:
    """Linear layers with rectifiers between them."""

    def __init__(self, widths: tuple[int, ...], parameters: FloatArray) -> None:
        self.parameters = parameters
        self._gradient = np.empty_like(parameters)
        self._layers = _cut(parameters, widths)
        self._gradients = _cut(self._gradient, widths)
        self._inputs: list[FloatArray] = []
        self._masks: list[FloatArray] = []

    def forward(self, x: FloatArray, dropout: _Dropout | None = None) -> FloatArray:
        """Return the outputs `(B, k)`; with `dropout` for training, remembering what `backward` needs."""
        self._inputs, self._masks = [], []
        for weight, bias in self._layers[:-1]:
            self._inputs.append(x)
            x = x @ weight + bias
            mask = (x > 0).astype(np.float32)
            if dropout is not None:
                mask *= dropout.draw(x.shape)
            x = x * mask
            self._masks.append(mask)
        self._inputs.append(x)
        weight, bias = self._layers[-1]
        return x @ weight + bias

    def backward(self, error: FloatArray) -> FloatArray:
        """Return the flat gradient for the gradient `(B, k)` of the outputs."""
        for layer in reversed(range(len(self._layers))):
            weight, bias = self._gradients[layer]
            np.matmul(self._inputs[layer].T, error, out=weight)
            np.sum(error, axis=0, out=bias)
            if layer > 0:
                error = (error @ self._layers[layer][0].T) * self._masks[layer - 1]
        return self._gradient


def _cut(flat: FloatArray, widths: tuple[int, ...]) -> list[tuple[FloatArray, FloatArray]]:
    """Return views of the weights `(in, out)` and the bias `(out,)` of each layer."""
    layers, position = [], 0
    for inputs, outputs in pairwise(widths):
        middle, end = position + inputs * outputs, position + (inputs + 1) * outputs
        layers.append((flat[position:middle].reshape(inputs, outputs), flat[middle:end]))
        position = end
    return layers


class _Adam:
    """Adam with L2 in the gradient."""

    def __init__(self, parameters: FloatArray, learning_rate: float) -> None:
        self._parameters, self._rate, self._steps = parameters, learning_rate, 0
        self._mean, self._square = np.zeros_like(parameters), np.zeros_like(parameters)

    def step(self, gradient: FloatArray) -> None:
        """Update the parameters in place; the gradient is overwritten."""
        self._steps += 1
        gradient += np.float32(_WEIGHT_DECAY) * self._parameters
        self._mean += np.float32(1 - _MEAN) * (gradient - self._mean)
        self._square *= np.float32(_SQUARE)
        self._square += np.float32(1 - _SQUARE) * gradient * gradient
        divisor = np.sqrt(self._square)
        divisor /= np.float32(math.sqrt(1 - _SQUARE**self._steps))
        divisor += np.float32(_EPSILON)
        self._parameters -= np.float32(self._rate / (1 - _MEAN**self._steps)) * self._mean / divisor


def _draw(
    widths: tuple[int, ...], rows: int, learning_rate: float, epochs: int
) -> tuple[FloatArray, NDArray[np.int32], _Dropout]:
    """Draw initial values (uniform in +-1/sqrt(inputs)), the order of the rows `(E, n)`, and the seed of dropout."""
    key = f"0|{configuration_id({**_RECIPE, 'learning_rate': learning_rate})}|0"
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))
    layers = []
    for inputs, outputs in pairwise(widths):
        bound = np.float32(1 / math.sqrt(inputs))
        layers.append((2 * rng.random((inputs + 1) * outputs, dtype=np.float32) - 1) * bound)
    dropout = _Dropout(int(rng.integers(2**32)))
    order = rng.permuted(np.tile(np.arange(rows, dtype=np.int32), (epochs, 1)), axis=1)
    return np.concatenate(layers), order, dropout


def _differentiate(outputs: FloatArray, y: NDArray[Any], classes: int) -> FloatArray:
    """Return the gradient of the mean loss, `(B, k)`: cross entropy, or squared error."""
    if classes == 0:
        return np.asarray(np.float32(2 / len(y)) * (outputs - y.astype(np.float32)[:, None]))
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    error = raised / raised.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    return np.asarray(error / np.float32(len(y)))


def _measure_loss(outputs: FloatArray, y: NDArray[Any], classes: int) -> float:
    if classes == 0:
        return float(np.mean((outputs[:, 0] - y) ** 2))
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(y)), y]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def _weigh(fold: Fold) -> NDArray[np.float64]:
    """Return one weight a validation row: weighted hits sum to the balanced accuracy, squared errors to 1 - R2."""
    y = fold.y_valid
    if fold.classes == 0:
        spread = float(np.sum((y.astype(np.float64) - y.mean(dtype=np.float64)) ** 2))
        return np.full(len(y), 1 / spread if spread > 0 else 0.0)
    counts = np.bincount(y, minlength=fold.classes)
    return np.asarray(1.0 / (counts[y] * np.count_nonzero(counts)))


def _score(outputs: FloatArray, fold: Fold, weights: NDArray[np.float64]) -> float:
    if fold.classes == 0:
        return float(1 - (weights * (outputs[:, 0] - fold.y_valid) ** 2).sum())
    return float(weights[outputs.argmax(axis=1) == fold.y_valid].sum())
