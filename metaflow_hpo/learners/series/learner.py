"""The learner `series`: FCN, ResNet, Inception-like networks or a GRU that put series into classes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from numpy.typing import NDArray

from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.networks.encoder import Encoder
from metaflow_hpo.learners.networks.network_learner import NetworkLearner
from metaflow_hpo.learners.networks.space import join_space
from metaflow_hpo.learners.series.encoding import PER_SERIES, PER_TASK, SeriesEncoder
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer
from metaflow_hpo.task import SERIES

if TYPE_CHECKING:
    import torch

MAX_EPOCHS = 30

_CONVOLUTIONS = Condition("encoder", ("convolution", "inception"))

SPACE = join_space(
    (
        Categorical("encoder", ("convolution", "inception", "gru"), "inception"),
        Integer("filters", 16, 64, 32, log=True),
        Integer("resolution", 48, 192, 128, log=True),
        Integer("depth", 2, 9, 3, log=True, condition=_CONVOLUTIONS),
        Integer("kernel", 8, 64, 16, log=True, condition=_CONVOLUTIONS),
        Categorical("residual", (True, False), True, condition=_CONVOLUTIONS),
        Integer("layers", 1, 2, 1, condition=Condition("encoder", ("gru",))),
        Categorical("normalise", (PER_SERIES, PER_TASK), PER_SERIES),
        Categorical("differences", (True, False), True),
        Float("jitter", 0.0, 0.3, 0.05),
        Float("crop", 0.0, 0.5, 0.1),
    ),
    {"batch_size": 16},
)


class SeriesLearner(NetworkLearner):
    """Networks over the steps of series; see `SPACE`.

    A convolution's first kernel has `kernel` steps, the n-th an n-th of them; `inception` has kernels of that, of a
    half and of a quarter in each layer. Series of more steps than `resolution` are shortened by a layer that is learned.
    """

    name: ClassVar[str] = "series"
    modalities: ClassVar[tuple[str, ...]] = (SERIES,)
    space = SPACE
    fidelity = Fidelity("epochs", MAX_EPOCHS)
    encoded_by: ClassVar[tuple[str, ...]] = ("normalise", "differences")
    clip: ClassVar[float] = 5.0

    def fit_encoder(self, x_train: NDArray[Any], configuration: Configuration) -> SeriesEncoder:
        """Learn means and deviations."""
        return SeriesEncoder.fit(x_train, configuration["normalise"], configuration["differences"])

    def read_encoder(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SeriesEncoder:
        """Return the encoder whose `to_state` this was."""
        return SeriesEncoder.from_state(values, arrays)

    def build(self, configuration: Configuration, encoder: Encoder, classes: int) -> "torch.nn.Module":
        """Build the network."""
        from metaflow_hpo.learners.series.network import SeriesNetwork

        fitted = cast(SeriesEncoder, encoder)
        return SeriesNetwork(configuration, fitted.count_channels(), fitted.steps, classes)

    def augment(self, x: "torch.Tensor", configuration: Configuration, generator: "torch.Generator") -> "torch.Tensor":
        """Return series changed at random."""
        from metaflow_hpo.learners.series.augmentation import augment_series

        return augment_series(x, configuration["jitter"], configuration["crop"], generator)

    def measure_cost(self, configuration: Configuration, shape: tuple[int, ...], classes: int) -> float:
        """Return about how many multiplications an item takes."""
        channels, steps = shape
        width, kept = configuration["filters"], min(steps, int(configuration["resolution"]))
        if configuration["encoder"] == "gru":
            return float(kept / 2 * configuration["layers"] * (3 * width * width + 40_000))
        kernel, depth = configuration["kernel"], configuration["depth"]
        if configuration["encoder"] == "inception":
            layer = (width / 4) ** 2 * kernel * 1.75 + 2 * width * width / 4
            return float(kept * depth * (layer + 40 * width))
        later = sum(max(3, kernel / (1 + layer)) for layer in range(1, depth))
        return float(kept * (channels * width * kernel + width * width * later + 20 * width * depth))
