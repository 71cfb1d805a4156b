"""A network of `realmlp` after its training, passed in plain numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import FloatArray
from metaflow_hpo.learners.realmlp.encoder import Encoder
from metaflow_hpo.learners.realmlp.recipe import Shape
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration


@dataclass(frozen=True)
class Network:
    """A network of `realmlp`; see `RowNetwork`.

    Attributes:
        encoder: Scales the columns.
        shape: Of the network.
        activation: After each hidden layer.
        span: Least and largest target of the training rows, standardised; no regression goes beyond.
        parameters: Flat float32, see `Shape.blocks`.
    """

    encoder: Encoder
    shape: Shape
    activation: str
    span: tuple[float, float]
    parameters: FloatArray

    def compute(self, x: FloatArray) -> NDArray[np.float32]:
        """Return log probabilities, the mean over members, or targets, of prepared rows `(n, D)`."""
        from scipy.special import logsumexp

        embedding, scale, *layers = self._split()
        h = self._embed(self.encoder.encode(x), embedding) * scale[:, None, :]  # (members, n, D1)
        hidden = 2 * len(self.shape.hidden)
        for weights, bias in zip(layers[:hidden:2], layers[1:hidden:2], strict=True):
            h = _activate(h @ weights + bias, self.activation)
        heads = zip(h, layers[hidden::2], layers[hidden + 1 :: 2], strict=True)
        outputs = np.stack([part @ weights + bias for part, weights, bias in heads]).astype(np.float64)
        if self.shape.outputs == 1:
            return np.asarray(np.clip(outputs.mean(axis=0), *self.span), np.float32)
        shares = outputs - logsumexp(outputs, axis=2, keepdims=True)
        return np.asarray(logsumexp(shares, axis=0) - np.log(len(shares)), np.float32)

    def _split(self) -> list[FloatArray]:
        blocks = self.shape.blocks
        ends = np.cumsum([0, *(block.size for block in blocks)])
        parts = [self.parameters[start:end] for start, end in pairwise(ends)]
        return [part.reshape(block.shape) for part, block in zip(parts, blocks, strict=True)]

    def _embed(self, x: FloatArray, embedding: FloatArray) -> FloatArray:
        shape, q = self.shape, self.shape.waves
        numbers, others = x[:, : shape.numbers, None], x[:, shape.numbers :]
        if q:
            turns = embedding[:, :q] * numbers + embedding[:, q : 2 * q]  # (n, numbers, waves)
            waves = np.cos(2 * np.pi * (turns - np.floor(turns)))
            weights = embedding[:, 2 * q : (2 + shape.sums) * q].reshape(-1, shape.sums, q)
            sums = np.einsum("nfq,feq->nfe", waves, weights) + embedding[:, (2 + shape.sums) * q :]
            numbers = np.concatenate([numbers, sums], axis=2)
        return np.concatenate([numbers.reshape(len(x), -1), others], axis=1).astype(np.float32)

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what `read` reads."""
        values, arrays = self.encoder.to_state()
        described = {**values, "shape": self.shape.to_json(), "activation": self.activation, "span": list(self.span)}
        return described, {**arrays, "parameters": self.parameters}


def _activate(z: NDArray[Any], activation: str) -> NDArray[Any]:
    match activation:
        case "relu":
            return np.asarray(np.maximum(z, 0))
        case "selu":
            below = np.float32(1.6732632423543772) * np.expm1(np.minimum(z, 0))
            return np.asarray(np.float32(1.0507009873554805) * np.where(z > 0, z, below))
        case "silu":
            return np.asarray(z * (0.5 + 0.5 * np.tanh(z / 2)))
        case "mish":
            return np.asarray(z * np.tanh(np.logaddexp(z, 0)))
        case _:
            raise ValueError(f"an activation was expected; found {activation!r}")


def fit(fold: Fold, configuration: Configuration, *, seed: int, epochs: int) -> Network | None:
    """Train on the training rows of a fold; None where that diverges."""
    from metaflow_hpo.learners.realmlp import engine

    engine.warm_up()
    training = engine.Training(fold, configuration, seed=seed, epochs=epochs)
    outcome = training.advance(epochs, np.zeros(1, np.int64))
    if outcome is None or outcome.reason:
        return None
    return Network(
        training.encoder, training.recipe.shape, training.recipe.activation, training.span, training.parameters
    )


def read(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Network:
    """Read back what `to_state` returned."""
    encoder = Encoder(values["scaling"], arrays["numbers"], arrays["others"], arrays["table"])
    low, high = values["span"]
    return Network(encoder, Shape.from_json(values["shape"]), values["activation"], (low, high), arrays["parameters"])
