"""Trains a network of `realmlp` on one processor, by compiled kernels with the GIL released; it can pause.

The one thing to know: `warm_up` comes before threads start; kernels that are in no cache take half a minute.
"""

import time

import numpy as np

from metaflow_hpo.learners import compiling
from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray, FoldOutcome, score_weights
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits
from metaflow_hpo.learners.realmlp import kernel
from metaflow_hpo.learners.realmlp.encoder import Encoder
from metaflow_hpo.learners.realmlp.kernel import CHUNK, f4, train, u4
from metaflow_hpo.learners.realmlp.recipe import BETA1, BETA2, SPACE, Recipe, draw_start, make_recipe
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration

_ACTIVATIONS = {"relu": kernel.RELU, "selu": kernel.SELU, "silu": kernel.SILU, "mish": kernel.MISH}


class Training:
    """One network on one fold, between two epochs; going on from here gives the bits of never having paused.

    Attributes:
        encoder: What was learned of the training rows.
        recipe: The network, and how it is trained.
        parameters: Flat, see `Shape.blocks`; trained in place.
        epochs: Epochs trained.
        span: Least and largest target of the training rows; no regression goes beyond.
        duration_s: Seconds of training so far.
    """

    def __init__(
        self, fold: Fold, configuration: Configuration, *, seed: int, epochs: int, limits: Limits = NO_LIMITS
    ) -> None:
        """Begin.

        Raises:
            MemoryError: If it needs more than the limit.
        """
        began = time.perf_counter()
        self.encoder = Encoder.fit(fold.x_train, str(configuration["scaling"]))
        self.recipe = recipe = make_recipe(configuration, fold, self.encoder, epochs)
        shape = recipe.shape
        if reason := limits.describe_memory(measure_mb(fold, recipe)):
            raise MemoryError(reason.removeprefix("memory: "))
        start = draw_start(recipe, len(fold.x_train), seed, configuration, fold.number)
        self.parameters, self.epochs, self._limits = start.parameters, 0, limits
        self.span = (float(fold.y_train.min()), float(fold.y_train.max()))
        self._outputs = np.empty((len(fold.x_valid), shape.outputs), f4)
        self._curve, self._losses = np.empty(epochs, f4), np.empty(epochs)
        ends = np.cumsum([0, *(block.size for block in shape.blocks)], dtype=np.int64)
        self._request = (
            self.parameters,
            ends,
            np.array([shape.numbers, shape.waves, shape.sums, shape.members, shape.outputs, *shape.widths], np.int64),
            np.array([block.rate for block in shape.blocks], f4),
            np.array([recipe.weight_decay * block.decays for block in shape.blocks], f4),
            self.encoder.encode(fold.x_train),
            np.require(fold.y_train, f4, ("C", "W")),
            self.encoder.encode(fold.x_valid),
            np.require(fold.y_valid, f4, ("C", "W")),
            score_weights(fold),
            start.order,
            recipe.learning_rates,
            recipe.class_weights,
            recipe.dropout,
            f4(recipe.label_smoothing),
            f4(BETA1),
            f4(BETA2),
            _ACTIVATIONS[recipe.activation],
            recipe.batch,
            u4(start.dropout_seed),
            self._outputs,
            self._curve,
            self._losses,
        )
        self._moments = np.zeros((2, len(self.parameters)), f4)
        self.duration_s = time.perf_counter() - began

    def advance(self, epochs: int, stop: Flag) -> FoldOutcome | None:
        """Train until so many epochs are done; see `Stageable.advance`."""
        began = time.perf_counter()
        self.epochs = train(*self._request, stop, *self._moments, self.epochs, epochs)
        self.duration_s += time.perf_counter() - began
        curve, loss = self.learning_curve.copy(), self._losses[self.epochs - 1] if self.epochs else 0.0
        where = f"after epoch {self.epochs} of {self.recipe.epochs}"
        if not loss <= MAX_LOSS:
            return FoldOutcome.failed(f"diverged: validation loss {loss:.3g} {where}", self.duration_s, curve)
        if self.epochs < epochs:
            return FoldOutcome.failed(self._limits.describe_time(where), self.duration_s, curve)
        if epochs < self.recipe.epochs:
            return None
        return FoldOutcome(self._predict(), curve, self.duration_s)

    def _predict(self) -> FloatArray:
        if self.recipe.shape.outputs > 1:
            return self._outputs
        return np.clip(self._outputs[:, 0], *self.span)

    @property
    def learning_curve(self) -> FloatArray:
        """`(e,)` so far."""
        return self._curve[: self.epochs]


def measure_mb(fold: Fold, recipe: Recipe) -> float:
    """Return the memory that a training takes at most, in MB, without the fold."""
    rows, scored, shape = len(fold.x_train), len(fold.x_valid), recipe.shape
    passed, widths, columns = max(recipe.batch, min(scored, CHUNK)), shape.widths, shape.numbers + shape.others
    numbers = 6 * sum(block.size for block in shape.blocks)  # drawn in 64 bits, joined, trained, two moments, gradient
    numbers += 2 * recipe.epochs * rows + rows  # the row order while it is drawn, the target
    numbers += (rows + scored) * columns * 3 + scored * shape.outputs  # encoded, in 64 bits on the way
    numbers += passed * (shape.numbers * (shape.waves + 1) + shape.others + widths[0])
    numbers += passed * shape.members * ((2 * len(widths) + 1) * max(widths) + shape.outputs)
    return float(numbers * 4 / 1e6)


def warm_up() -> None:
    """Make the kernels ready, once a process and before threads start."""
    compiling.warm_up(train, __name__)


def train_tiny() -> None:
    """Train a network on two rows, which compiles or loads every kernel."""
    x, y = np.zeros((2, 1), f4), np.array([0, 1])
    Training(Fold(x, y, x, y, 2), SPACE.default, seed=0, epochs=1).advance(1, np.zeros(1, np.int64))
