"""The multi-layer perceptron: its search space, and how a configuration becomes a recipe that all engines follow.

The one thing to know: whatever is random (initialisation, mini-batch order, dropout masks) is drawn from a hash of the
seed, the configuration and the fold number. A result never depends on what else is trained in the call, nor on the
number of threads (with the stacked engine: but for rounding).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray, FoldOutcome, make_rng
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer, SearchSpace

SPACE = SearchSpace(
    (
        Float("learning_rate", 1e-4, 1e-1, 1e-3, log=True),
        Integer("batch_size", 32, 256, 64, log=True),
        Categorical("optimizer", ("sgd", "adam", "adamw"), "adam"),
        Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",))),
        Float("weight_decay", 1e-6, 1e-1, 1e-4, log=True),
        Float("dropout", 0.0, 0.6, 0.1),
        Integer("layers", 1, 4, 2),
        Integer("width", 16, 256, 128, log=True),
        Categorical("shape", ("rectangular", "funnel"), "rectangular"),
        Categorical("activation", ("relu", "tanh"), "relu"),
        Categorical("schedule", ("constant", "cosine", "step"), "constant"),
    )
)


@dataclass(frozen=True)
class Recipe:
    """A configuration made concrete for one fold.

    Attributes:
        widths: `(D, hidden..., outputs)`; outputs is the number of classes, or 1 for regression.
        activation: `relu` or `tanh`, after each hidden layer, followed by dropout.
        optimizer: `sgd`, `adam` or `adamw`, as in PyTorch.
        momentum: Of SGD; 0 for the others.
        weight_decay: On weights and biases; L2 in the gradient, decoupled for AdamW.
        dropout: Fraction of hidden units zeroed in training.
        batch: Rows in a mini-batch; the last, incomplete one of an epoch is used too.
        learning_rates: `(E,)`, one an epoch.
        regression: Mean squared error on one output, else cross entropy.
    """

    widths: tuple[int, ...]
    activation: str
    optimizer: str
    momentum: float
    weight_decay: float
    dropout: float
    batch: int
    learning_rates: NDArray[np.float64]
    regression: bool

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum((a + 1) * b for a, b in zip(self.widths[:-1], self.widths[1:], strict=True))

    @property
    def cost(self) -> float:
        """Multiplications to pass one row once, plus a share for the work around them."""
        products = sum(a * b for a, b in zip(self.widths[:-1], self.widths[1:], strict=True))
        return products + 30.0 * sum(self.widths[1:])


@dataclass(frozen=True)
class Start:
    """All that is random in one training, drawn beforehand and shared by all engines.

    Attributes:
        parameters: Flat float32: for each layer the weights `(in, out)` row by row, then the bias `(out,)`.
        order: Row numbers in the order of training, `(E, n)` int32; fewer epochs see a prefix.
        dropout_seed: Unsigned 32-bit seed of the dropout masks.
    """

    parameters: FloatArray
    order: NDArray[np.int32]
    dropout_seed: int


Trained = tuple[FloatArray, FloatArray, NDArray[np.float64]]
"""What an engine measures on the validation rows: outputs after the last epoch `(m, outputs)`; balanced accuracy or R2,
and the loss, after each epoch trained, `(E',)` both; `E'` is smaller than `E` where it diverged or was stopped."""


def make_recipe(configuration: Configuration, fold: Fold, epochs: int) -> Recipe:
    """Make a configuration concrete for the shapes of one fold."""
    width, layers = int(configuration["width"]), int(configuration["layers"])
    funnel = configuration["shape"] == "funnel"
    hidden = [max(width >> layer, 8) if funnel else width for layer in range(layers)]
    return Recipe(
        widths=(fold.x_train.shape[1], *hidden, fold.classes or 1),
        activation=str(configuration["activation"]),
        optimizer=str(configuration["optimizer"]),
        momentum=float(configuration.get("momentum", 0.0)),
        weight_decay=float(configuration["weight_decay"]),
        dropout=float(configuration["dropout"]),
        batch=min(int(configuration["batch_size"]), len(fold.x_train)),
        learning_rates=learning_rates(float(configuration["learning_rate"]), str(configuration["schedule"]), epochs),
        regression=fold.classes == 0,
    )


def learning_rates(initial: float, schedule: str, epochs: int) -> NDArray[np.float64]:
    """Return the learning rate of each epoch, `(E,)`.

    A schedule spans the epochs that are trained, so that a low fidelity is a complete, shorter training: `cosine` falls
    from `initial` towards 0, `step` multiplies by 0.1 after 50 % and after 75 % of the epochs.
    """
    progress = np.arange(epochs) / epochs
    match schedule:
        case "cosine":
            return np.asarray(initial * 0.5 * (1 + np.cos(math.pi * progress)))
        case "step":
            return initial * np.where(progress >= 0.75, 0.01, np.where(progress >= 0.5, 0.1, 1.0))
        case _:
            return np.full(epochs, initial)


def draw_start(recipe: Recipe, rows: int, seed: int, configuration: Configuration, fold_number: int) -> Start:
    """Draw initial parameters (as `torch.nn.Linear` does: uniform in +-1/sqrt(inputs)), row order and dropout seed."""
    rng = make_rng(seed, configuration, fold_number)
    layers = []
    for inputs, outputs in zip(recipe.widths[:-1], recipe.widths[1:], strict=True):
        bound = np.float32(1 / math.sqrt(inputs))
        layers.append((2 * rng.random((inputs + 1) * outputs, dtype=np.float32) - 1) * bound)
    dropout_seed = int(rng.integers(2**32))
    epochs = len(recipe.learning_rates)
    order = rng.permuted(np.tile(np.arange(rows, dtype=np.int32), (epochs, 1)), axis=1)
    return Start(np.concatenate(layers), order, dropout_seed)


def to_outcome(trained: Trained, recipe: Recipe, duration_s: float, limits: Limits = NO_LIMITS) -> FoldOutcome:
    """Turn what an engine returned into an outcome.

    It failed if the last loss is not finite or is above `MAX_LOSS`, or if training was stopped at the time limit.
    """
    outputs, curve, losses = trained
    where = f"after epoch {len(losses)} of {len(recipe.learning_rates)}"
    if len(losses) > 0 and not losses[-1] <= MAX_LOSS:
        return FoldOutcome.failed(f"diverged: validation loss {losses[-1]:.3g} {where}", duration_s, curve)
    if len(losses) < len(recipe.learning_rates):
        return FoldOutcome.failed(limits.describe_time(where), duration_s, curve)
    if recipe.regression:
        return FoldOutcome(outputs[:, 0].copy(), curve, duration_s)
    from scipy.special import softmax

    return FoldOutcome(softmax(outputs.astype(np.float64), axis=1).astype(np.float32), curve, duration_s)
