"""A multi-layer perceptron after its training, passed in plain numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray
from metaflow_hpo.learners.mlp.recipe import draw_start, make_recipe
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron; see `RowNetwork`.

    Attributes:
        widths: `(D, hidden..., outputs)`.
        activation: `relu` or `tanh`.
        parameters: Flat float32: for each layer the weights `(in, out)` row by row, then the bias `(out,)`.
    """

    widths: tuple[int, ...]
    activation: str
    parameters: FloatArray

    def compute(self, x: FloatArray) -> NDArray[np.float32]:
        """Pass rows `(n, D)` through the layers, without dropout; return `(n, outputs)`."""
        position, last = 0, len(self.widths) - 2
        for layer, (inputs, outputs) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            weights = self.parameters[position : position + inputs * outputs].reshape(inputs, outputs)
            position += inputs * outputs
            x = x @ weights + self.parameters[position : position + outputs]
            position += outputs
            if layer < last:
                x = np.maximum(x, 0) if self.activation == "relu" else np.tanh(x)
        return x

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what `read` reads."""
        return {"widths": list(self.widths), "activation": self.activation}, {"parameters": self.parameters}


def fit(fold: Fold, configuration: Configuration, *, seed: int, epochs: int) -> Network | None:
    """Train on the training rows of a fold; None where that diverges."""
    from metaflow_hpo.learners.mlp import numba_engine

    recipe = make_recipe(configuration, fold, epochs)
    start = draw_start(recipe, len(fold.x_train), seed, configuration, fold.number)
    numba_engine.warm_up()
    _, _, losses = numba_engine.train_parameters(start.parameters, fold, recipe, start)
    return Network(recipe.widths, recipe.activation, start.parameters) if losses[-1] <= MAX_LOSS else None


def read(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Network:
    """Read back what `to_state` returned."""
    if values["activation"] not in {"relu", "tanh"}:
        raise ValueError(f"the activation relu or tanh was expected; found {values['activation']!r}")
    return Network(tuple(values["widths"]), values["activation"], arrays["parameters"])
