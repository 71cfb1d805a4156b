"""The learner `series`: FCN, ResNet, Inception-like networks or a GRU that put series into classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.networks.network_learner import NetworkLearner
from metaflow_hpo.learners.networks.space import join_space
from metaflow_hpo.learners.series.encoding import PER_SERIES, PER_TASK, SeriesEncoder
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer, SearchSpace
from metaflow_hpo.task import SERIES

if TYPE_CHECKING:
    import torch

MAX_EPOCHS = 30
STEPS = 128
"""Steps that convolutions see at most; longer series cost more than they bring."""
GRU_STEPS = 64
"""The same for a GRU, which takes them one after the other."""

_CONVOLUTIONS = Condition("encoder", ("convolution", "inception"))

SPACE = join_space(
    (
        Categorical("encoder", ("convolution", "inception", "gru"), "convolution"),
        Integer("filters", 16, 64, 32, log=True),
        Integer("depth", 2, 6, 3, log=True, condition=_CONVOLUTIONS),
        Integer("kernel", 8, 40, 8, log=True, condition=_CONVOLUTIONS),
        Categorical("normalise", (PER_SERIES, PER_TASK), PER_TASK),
        Categorical("differences", (False, True), True),
        Float("augmentation", 0.0, 1.0, 0.2),
    ),
    {"batch_size": 16, "learning_rate": 6e-3},
)


@dataclass(frozen=True)
class SeriesLearner(NetworkLearner[SeriesEncoder]):
    """Networks over the steps of series; see `SPACE`.

    Series are shortened to `STEPS` by a layer that is learned. A convolution's first kernel has `kernel` steps, the
    n-th an n-th of them; `inception` has kernels of that, of a half and of a quarter in each layer.
    """

    name: ClassVar[str] = "series"
    modalities: ClassVar[tuple[str, ...]] = (SERIES,)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity("epochs", MAX_EPOCHS)
    encoded_by: ClassVar[tuple[str, ...]] = ("normalise", "differences")
    clip: ClassVar[float] = 5.0

    def fit_encoder(self, x_train: NDArray[Any], configuration: Configuration) -> SeriesEncoder:
        """Learn means and deviations."""
        return SeriesEncoder.fit(x_train, configuration["normalise"], configuration["differences"])

    def read_encoder(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SeriesEncoder:
        """Return the encoder whose `to_state` this was."""
        return SeriesEncoder.from_state(values, arrays)

    def build(self, configuration: Configuration, encoder: SeriesEncoder, classes: int) -> "torch.nn.Module":
        """Build the network."""
        from metaflow_hpo.learners.series.network import SeriesNetwork

        return SeriesNetwork(configuration, encoder.count_channels(), _block(configuration, encoder.steps), classes)

    def augment(self, x: "torch.Tensor", configuration: Configuration, generator: "torch.Generator") -> "torch.Tensor":
        """Return series changed at random."""
        from metaflow_hpo.learners.series.augmentation import augment_series

        return augment_series(x, float(configuration["augmentation"]), generator)

    def measure_cost(self, configuration: Configuration, shape: tuple[int, ...], classes: int) -> float:
        """Return about how many multiplications an item takes; see `NetworkLearner.measure_cost`."""
        channels, steps = shape
        width, kept = int(configuration["filters"]), steps / _block(configuration, steps)
        around = 3e6 / int(configuration["batch_size"])
        if configuration["encoder"] == "gru":
            return kept * (6 * width * width + 20_000) + around
        kernel, depth = int(configuration["kernel"]), int(configuration["depth"])
        if configuration["encoder"] == "inception":
            return kept * depth * (width * width * (kernel / 9 + 1) + 100 * width) + around
        later = sum(max(kernel / (1 + layer), 3) for layer in range(1, depth))
        return kept * width * (2 * channels * kernel + width * later + 50 * depth) + around


def _block(configuration: Configuration, steps: int) -> int:
    """Return how many neighbouring steps become one."""
    return -(-steps // (GRU_STEPS if configuration["encoder"] == "gru" else STEPS))
