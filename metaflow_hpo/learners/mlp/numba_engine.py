"""The numba engine: one small network is trained by compiled kernels, on one processor with the GIL released.

The one thing to know: `warm_up` comes before threads start; kernels that are in no cache take 10 to 20 seconds.
"""

import numpy as np

from metaflow_hpo.learners import compiling
from metaflow_hpo.learners.fold import FloatArray, score_weights
from metaflow_hpo.learners.limits import Flag
from metaflow_hpo.learners.mlp.kernel import ADAM, ADAMW, CHUNK, RELU, SGD, TANH, f4, train, u4
from metaflow_hpo.learners.mlp.recipe import (
    SPACE,
    Recipe,
    Start,
    Trained,
    draw_start,
    make_recipe,
)
from metaflow_hpo.modalities.modality import Fold


def train_network(fold: Fold, recipe: Recipe, start: Start, stop: Flag | None = None) -> Trained:
    """Train one network; it ends before the next mini-batch where `stop` is not 0.

    Returns:
        Outputs on the validation rows after the last epoch `(m, outputs)`, and for each epoch trained the balanced
        accuracy or R2 and the loss on the validation rows, `(E',)`; `E'` is smaller where training diverged or was
        stopped.
    """
    return train_parameters(start.parameters.copy(), fold, recipe, start, stop)


def train_parameters(
    parameters: FloatArray, fold: Fold, recipe: Recipe, start: Start, stop: Flag | None = None
) -> Trained:
    """Train flat parameters (see `Start.parameters`) in place; the rest is as in `train_network`."""
    training = PausedTraining(parameters, fold, recipe, start)
    training.advance(len(recipe.learning_rates), stop)
    return training.measured


class PausedTraining:
    """A network between two epochs of its training; going on from here gives the bits of never having paused.

    Attributes:
        epochs: Epochs trained.
    """

    def __init__(self, parameters: FloatArray, fold: Fold, recipe: Recipe, start: Start) -> None:
        """Begin.

        Args:
            parameters: Trained in place, see `Start.parameters`.
            fold: The rows.
            recipe: The network, and how it is trained.
            start: What was drawn for it.
        """
        epochs = len(recipe.learning_rates)
        self.epochs = 0
        self._outputs = np.empty((len(fold.x_valid), recipe.widths[-1]), f4)
        self._curve, self._losses = np.empty(epochs, f4), np.empty(epochs)
        self._request = (
            parameters,
            np.array(recipe.widths, np.int64),
            *(np.require(a, f4, ("C", "W")) for a in (fold.x_train, fold.y_train, fold.x_valid, fold.y_valid)),
            score_weights(fold),
            start.order,
            recipe.learning_rates.astype(f4),
            {"sgd": SGD, "adam": ADAM, "adamw": ADAMW}[recipe.optimizer],
            f4(recipe.momentum),
            f4(recipe.weight_decay),
            recipe.dropout,
            {"relu": RELU, "tanh": TANH}[recipe.activation],
            recipe.batch,
            u4(start.dropout_seed),
            self._outputs,
            self._curve,
            self._losses,
        )
        self._moments = np.zeros((2, len(parameters)), f4)

    def advance(self, epochs: int, stop: Flag | None = None) -> None:
        """Train until so many epochs are done, or it diverges, or `stop` is not 0."""
        flag = np.zeros(1, np.int64) if stop is None else stop
        self.epochs = train(*self._request, flag, *self._moments, self.epochs, epochs)

    @property
    def measured(self) -> Trained:
        """What was measured so far, see `train_network`."""
        return self._outputs, self._curve[: self.epochs], self._losses[: self.epochs]


def measure_mb(fold: Fold, recipe: Recipe) -> float:
    """Return the memory that `train_network` and the drawing of its start take at most, in MB, without the fold."""
    (rows, columns), (scored, outputs) = fold.x_train.shape, (len(fold.x_valid), recipe.widths[-1])
    passed = max(recipe.batch, min(scored, CHUNK))
    numbers = 6 * recipe.parameters  # drawn, joined, trained, two moments, gradient
    numbers += 2 * len(recipe.learning_rates) * rows + rows  # the row order while it is drawn, the target
    numbers += passed * (sum(recipe.widths) + 2 * max(recipe.widths) + columns)
    numbers += scored * (8 * outputs + 3)  # float64 on the way to probabilities
    return float(numbers * 4 / 1e6)


def warm_up() -> None:
    """Make the kernels ready, once a process and before threads start."""
    compiling.warm_up(train, __name__)


def train_tiny() -> None:
    """Train a network on two rows, which compiles or loads every kernel."""
    x, y = np.zeros((2, 1), f4), np.array([0, 1])
    fold = Fold(x, y, x, y, 2)
    recipe = make_recipe(SPACE.default, fold, 1)
    train_network(fold, recipe, draw_start(recipe, 2, 0, SPACE.default, 0))
