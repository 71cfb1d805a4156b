"""The learner `text`: a bag of words and n-grams, convolutions, recurrent units, or a transformer, from scratch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.networks.network_learner import NetworkLearner
from metaflow_hpo.learners.networks.space import join_space
from metaflow_hpo.learners.text.encoder import CHARACTERS_A_WORD, PADDING, UNKNOWN, Reading, TextEncoder
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer, SearchSpace
from metaflow_hpo.task import TEXT

if TYPE_CHECKING:
    import torch

_USUAL_WORDS = 5_000
"""Different words of a task of some hundred texts; n-grams are many more."""
_IN_ORDER = ("cnn", "gru", "transformer")
KERNELS = ((2, 3, 4), (4, 6, 8))
"""Sizes of the convolutions that stand side by side: over words, and over characters."""
HEADS = 2

SPACE = join_space(
    (
        Categorical("encoder", ("bag", *_IN_ORDER), "bag"),
        Integer("vocabulary", 1_000, 64_000, 32_000, log=True),
        Integer("width", 16, 64, 32, log=True),
        Float("word_dropout", 0.0, 0.5, 0.1),
        Integer("word_ngrams", 1, 3, 2, condition=Condition("encoder", ("bag",))),
        Integer("character_ngrams", 0, 6, 5, condition=Condition("encoder", ("bag",))),
        Categorical("unit", ("words", "characters"), "words", condition=Condition("encoder", _IN_ORDER)),
        Integer("max_length", 16, 96, 48, log=True, condition=Condition("encoder", _IN_ORDER)),
    ),
    {"learning_rate": 6e-3, "label_smoothing": 0.0, "dropout": 0.4},
)


@dataclass(frozen=True)
class TextLearner(NetworkLearner[TextEncoder]):
    """Networks on texts; see `NetworkLearner`."""

    name: ClassVar[str] = "text"
    modalities: ClassVar[tuple[str, ...]] = (TEXT,)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity("epochs", 15)
    encoded_by: ClassVar[tuple[str, ...]] = (
        "encoder",
        "vocabulary",
        "word_ngrams",
        "character_ngrams",
        "unit",
        "max_length",
    )
    clip: ClassVar[float] = 1.0

    def fit_encoder(self, x_train: NDArray[Any], configuration: Configuration) -> TextEncoder:
        """Learn the vocabulary."""
        return TextEncoder.fit(x_train.tolist(), read_by(configuration), int(configuration["vocabulary"]))

    def read_encoder(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> TextEncoder:
        """Return the encoder whose `to_state` this was."""
        return TextEncoder(Reading(**values), arrays["keys"], arrays["weights"])

    def build(self, configuration: Configuration, encoder: TextEncoder, classes: int) -> "torch.nn.Module":
        """Build the network."""
        import torch

        from metaflow_hpo.learners.text import networks

        width, dropout = find_width(configuration), float(configuration["dropout"])
        of_characters = configuration.get("unit") == "characters"
        if configuration["encoder"] == "bag":
            weights, kinds = torch.from_numpy(encoder.weights), torch.from_numpy(encoder.kinds)
            return networks.Bag(weights, kinds, width, dropout, classes)
        embedding = networks.Embedding(encoder.size, width, dropout)
        if configuration["encoder"] == "cnn":
            return networks.Convolutions(embedding, width, KERNELS[of_characters], dropout, classes)
        shorten = networks.Shorten(width, of_characters=of_characters)
        if configuration["encoder"] == "gru":
            return networks.Recurrent(embedding, shorten, width, dropout, classes)
        length = int(configuration["max_length"])
        return networks.Transformer(embedding, shorten, width, length, HEADS, dropout, classes)

    def augment(self, x: "torch.Tensor", configuration: Configuration, generator: "torch.Generator") -> "torch.Tensor":
        """Take tokens away: out of a bag; else what is unknown takes their place."""
        from metaflow_hpo.learners.text.networks import drop_tokens

        share = float(configuration["word_dropout"])
        instead = PADDING if configuration["encoder"] == "bag" else UNKNOWN
        return drop_tokens(x, share, instead, generator) if share > 0 else x

    def measure_cost(self, configuration: Configuration, shape: tuple[int, ...], classes: int) -> float:
        """Return about how many multiplications it takes to pass one item once, its share of a step included."""
        width, steps = find_width(configuration), int(configuration.get("max_length", 1))
        batch, words = int(configuration["batch_size"]), min(int(configuration["vocabulary"]), _USUAL_WORDS)
        is_bag, of_characters = configuration["encoder"] == "bag", configuration.get("unit") == "characters"
        tokens = int(configuration["vocabulary"]) if is_bag else words
        share_of_step = (3e6 + 8.0 * width * tokens) / batch
        match configuration["encoder"]:
            case "bag":
                passed = 500.0 * width
            case "cnn":
                length = steps * (CHARACTERS_A_WORD if of_characters else 1)
                passed = length * (0.06 * width * width * sum(KERNELS[of_characters]) + 500)
            case "gru":
                passed = steps * (7.2 * width * width + 4_000)
            case _:
                passed = steps * (0.1 * width * (8 * width + 2 * steps) + 2_600)
        return float(share_of_step + passed)


def read_by(configuration: Configuration) -> Reading:
    """Return how a configuration cuts texts."""
    if configuration["encoder"] == "bag":
        return Reading(int(configuration["word_ngrams"]), int(configuration["character_ngrams"]), 0)
    length, characters = int(configuration["max_length"]), configuration["unit"] == "characters"
    return Reading(1, int(characters), CHARACTERS_A_WORD * length if characters else length)


def find_width(configuration: Configuration) -> int:
    """Return the width of embeddings, filters and states: a multiple of the heads where there are some."""
    heads = HEADS if configuration["encoder"] == "transformer" else 1
    return int(configuration["width"]) // heads * heads
