"""The search space of `realmlp`, and how a configuration becomes a network whose parameters and steps are drawn.

The one thing to know: the parameters of a network are one flat array, block after block as `Shape.blocks` lists them;
the kernel, the reference of the tests and the kept network all read that list.

References:
    Holzmueller, Grinsztajn and Steinwart 2024, Better by default: strong pre-tuned MLPs and boosted trees on tabular
    data, arXiv:2407.04491.
    Gorishniy, Rubachev and Babenko 2022, On embeddings for numerical features, arXiv:2203.05556.
    Gorishniy, Kotelnikov and Babenko 2024, TabM, arXiv:2410.24210.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from metaflow_hpo.learners.fold import FloatArray, make_rng
from metaflow_hpo.learners.mlp.recipe import Start
from metaflow_hpo.learners.realmlp.encoder import SCALINGS, Encoder
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer, SearchSpace

SPACE = SearchSpace(
    (
        Float("learning_rate", 3e-3, 3e-1, 4e-2, log=True),
        Categorical("schedule", ("coslog4", "cosine", "flat_cosine"), "cosine"),
        Integer("batch_size", 32, 256, 128, log=True),
        Float("weight_decay", 1e-4, 1.0, 2e-2, log=True),
        Float("dropout", 0.0, 0.5, 0.31109),
        Float("label_smoothing", 0.0, 0.3, 0.296688),
        Float("class_balance", 0.0, 1.0, 1.0),
        Integer("layers", 1, 4, 1),
        Integer("width", 32, 256, 128, log=True),
        Categorical("activation", ("relu", "selu", "silu", "mish"), "relu"),
        Categorical("scaling", SCALINGS, "robust"),
        Categorical("embedding", ("none", "periodic"), "periodic"),
        Float("frequency", 1e-2, 3.0, 0.14284, log=True, condition=Condition("embedding", ("periodic",))),
        Integer("members", 1, 8, 7, log=True),
    )
)
"""The default is the best single configuration of many tables, see data/README.md."""

WAVES, SUMS = 8, 3
"""Waves of a number in the periodic embedding, and sums of them beside the number itself."""
BETA1, BETA2 = 0.9, 0.95
_SCALE_RATE, _EMBEDDING_RATE, _BIAS_RATE = 0.5, 0.1, 0.1


@dataclass(frozen=True)
class Block:
    """Parameters that are drawn, and stepped, alike.

    Attributes:
        shape: Row by row.
        rate: Learning rate relative to that of the step; weights of a layer of n inputs have 1 / sqrt(n), which is the
            neural tangent parametrisation.
        decays: Whether weight decay applies.
    """

    shape: tuple[int, ...]
    rate: float
    decays: bool

    @property
    def size(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shape:
    """Of a network.

    Attributes:
        numbers: Columns that are numbers.
        others: Columns that are indicators.
        waves: Of each number, 0 without embedding.
        sums: Outputs of the embedding beside the number.
        members: Networks that share the hidden layers.
        hidden: Widths of the hidden layers.
        outputs: Number of classes, or 1 for regression.
    """

    numbers: int
    others: int
    waves: int
    sums: int
    members: int
    hidden: tuple[int, ...]
    outputs: int

    @property
    def widths(self) -> tuple[int, ...]:
        """What the hidden layers get and give."""
        return (self.numbers * (1 + self.sums) + self.others, *self.hidden)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All parameters in order: embedding, scale of each member, weights and bias of each layer, those of members.

        The embedding has, for each number, frequencies and phases in turns `(waves,)` both, weights `(sums, waves)`,
        biases `(sums,)`; weights are `(in, out)`.
        """
        each = self.waves * (2 + self.sums) + self.sums
        blocks = [
            Block((self.numbers, each), _EMBEDDING_RATE, True),
            Block((self.members, self.widths[0]), _SCALE_RATE, True),
        ]
        layers = [*zip(self.widths[:-1], self.hidden, strict=True), *[(self.widths[-1], self.outputs)] * self.members]
        for inputs, outputs in layers:
            blocks.append(Block((inputs, outputs), 1 / math.sqrt(max(inputs, 1)), True))
            blocks.append(Block((outputs,), _BIAS_RATE, False))
        return tuple(blocks)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; `from_json` inverts it."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Shape":
        """Build it from what `to_json` returned."""
        return cls(**{**values, "hidden": tuple(values["hidden"])})


@dataclass(frozen=True)
class Recipe:
    """A configuration made concrete for one fold.

    Attributes:
        shape: Of the network.
        frequency: Standard deviation of initial frequencies, in waves a unit of the scaled number.
        activation: After each hidden layer, followed by dropout.
        dropout: Fraction of hidden units zeroed in training.
        weight_decay: Decoupled, of all but biases.
        label_smoothing: Share of the target that goes to all classes evenly.
        class_weights: `(outputs,)` of the loss, 1 on the mean over training rows.
        batch: Rows in a mini-batch; the last, incomplete one of an epoch is used too.
        learning_rates: `(E, steps an epoch)`.
    """

    shape: Shape
    frequency: float
    activation: str
    dropout: float
    weight_decay: float
    label_smoothing: float
    class_weights: FloatArray
    batch: int
    learning_rates: FloatArray

    @property
    def epochs(self) -> int:
        """Fidelity."""
        return len(self.learning_rates)


def make_recipe(configuration: Configuration, fold: Fold, encoder: Encoder, epochs: int) -> Recipe:
    """Make a configuration concrete for one fold."""
    batch, rows = min(int(configuration["batch_size"]), len(fold.x_train)), len(fold.x_train)
    periodic = configuration["embedding"] == "periodic" and len(encoder.numbers) > 0
    shape = Shape(
        numbers=len(encoder.numbers),
        others=len(encoder.others),
        waves=WAVES if periodic else 0,
        sums=SUMS if periodic else 0,
        members=int(configuration["members"]),
        hidden=(int(configuration["width"]),) * int(configuration["layers"]),
        outputs=fold.classes or 1,
    )
    return Recipe(
        shape=shape,
        frequency=float(configuration.get("frequency", 0.0)),
        activation=str(configuration["activation"]),
        dropout=float(configuration["dropout"]),
        weight_decay=float(configuration["weight_decay"]),
        label_smoothing=float(configuration["label_smoothing"]),
        class_weights=weigh_classes(fold, float(configuration["class_balance"])),
        batch=batch,
        learning_rates=draw_schedule(
            float(configuration["learning_rate"]), str(configuration["schedule"]), epochs, -(-rows // batch)
        ),
    )


def weigh_classes(fold: Fold, balance: float) -> FloatArray:
    """Return the weight of each class in the loss, `(classes,)`: its training rows to the power of -`balance`.

    It is 1 on the mean over training rows, and `(1,)` for regression.
    """
    if fold.classes == 0:
        return np.ones(1, np.float32)
    counts = np.bincount(fold.y_train, minlength=fold.classes)
    weights = np.maximum(counts, 1.0) ** -balance
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)


def draw_schedule(initial: float, schedule: str, epochs: int, steps: int) -> FloatArray:
    """Return the learning rate of each step, `(epochs, steps)`.

    It spans the epochs that are trained. `coslog4` rises and falls four times, each longer than the last; `cosine` and
    `flat_cosine` (in its second half) fall to 0.
    """
    progress = (np.arange(epochs * steps) + 0.5) / (epochs * steps)  # a single step is one, too
    match schedule:
        case "coslog4":
            shape = 0.5 * (1 - np.cos(2 * math.pi * np.log2(1 + 15 * progress)))
        case "cosine":
            shape = 0.5 * (1 + np.cos(math.pi * progress))
        case _:
            shape = 0.5 * (1 + np.cos(math.pi * np.maximum(2 * progress - 1, 0)))
    return np.asarray(initial * shape, np.float32).reshape(epochs, steps)


def draw_start(recipe: Recipe, rows: int, seed: int, configuration: Configuration, fold_number: int) -> Start:
    """Draw initial parameters, row order and dropout seed."""
    rng, shape, waves = make_rng(seed, configuration, fold_number), recipe.shape, recipe.shape.waves
    embedding, scale, *layers = shape.blocks
    drawn = np.empty(embedding.shape)
    if waves:
        drawn[:, :waves] = rng.normal(0, recipe.frequency, (shape.numbers, waves))
        drawn[:, waves : 2 * waves] = rng.random((shape.numbers, waves))
        sums = rng.uniform(-1, 1, (shape.numbers, embedding.shape[1] - 2 * waves))
        drawn[:, 2 * waves :] = sums / math.sqrt(waves)
    parts = [drawn, np.ones(scale.shape) if shape.members == 1 else rng.choice([-1.0, 1.0], scale.shape)]
    gain = math.sqrt(2) if recipe.activation == "relu" else 1.0
    for number, block in enumerate(layers):
        is_last = number >= 2 * len(shape.hidden)
        if block.decays:
            spread = (1.0 if is_last else gain) / math.sqrt(max(block.shape[0], 1))
            parts.append(rng.normal(0, spread, block.shape))
        else:
            parts.append(np.zeros(block.shape) if is_last else rng.uniform(-0.5, 0.5, block.shape))
    dropout_seed = int(rng.integers(2**32))
    order = rng.permuted(np.tile(np.arange(rows, dtype=np.int32), (recipe.epochs, 1)), axis=1)
    return Start(np.concatenate([part.ravel() for part in parts]).astype(np.float32), order, dropout_seed)
