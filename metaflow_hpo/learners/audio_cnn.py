"""The learner `audio_cnn`: small convolutional networks on log-mel pictures, whose making is tuned as well."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.networks.encoder import Encoder
from metaflow_hpo.learners.networks.network_learner import NetworkLearner
from metaflow_hpo.learners.networks.space import join_space
from metaflow_hpo.modalities.audio.mel import MelFrontEnd
from metaflow_hpo.modalities.audio.recordings import Waves, read_lines, resample_waves
from metaflow_hpo.space import Configuration, Float, Integer, SearchSpace
from metaflow_hpo.task import AUDIO

if TYPE_CHECKING:
    import torch

SPACE = join_space(
    (
        Integer("n_mels", 32, 96, 48, log=True),
        Float("window_ms", 16.0, 80.0, 32.0, log=True),
        Float("hop_ms", 8.0, 25.0, 16.0, log=True),
        Integer("depth", 2, 5, 4),
        Integer("width", 6, 24, 16, log=True),
        Float("augmentation", 0.0, 1.0, 0.25),
    ),
    {"learning_rate": 4e-3, "batch_size": 16, "label_smoothing": 0.1, "dropout": 0.2},
)

_LEAST_SCALE = 1e-3
"""Powers of ten that are added to the deviation of a band: one without any is not blown up."""
_USUAL_RATE = 8_000
_MOST_GROWTH = 8


@dataclass(frozen=True)
class Mels(Encoder):
    """Draws log-mel pictures and standardises each band.

    Attributes:
        front_end: How pictures are drawn.
        mean: `(bands,)` of the training items' frames.
        scale: `(bands,)` their standard deviation.
    """

    front_end: MelFrontEnd
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, front_end: MelFrontEnd, recordings: Waves) -> "Mels":
        """Measure the bands of training items."""
        pictures = front_end.draw(recordings.waves, recordings.lengths)
        frames = pictures.powers[pictures.is_there].astype(np.float64)  # (f, bands)
        scale = frames.std(axis=0) + _LEAST_SCALE
        return cls(front_end, frames.mean(axis=0).astype(np.float32), scale.astype(np.float32))

    def encode(self, x: NDArray[Any]) -> "torch.Tensor":
        """Return `(n, 1, bands, frames)`, all zeros after the last frame of each, where nothing is."""
        import torch

        recordings = resample_waves(read_lines(x), self.front_end.rate)
        pictures = self.front_end.draw(recordings.waves, recordings.lengths)
        standard = (pictures.powers - self.mean) / self.scale * pictures.is_there[:, :, None]
        return torch.from_numpy(np.ascontiguousarray(standard.transpose(0, 2, 1)))[:, None]

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return the front end, mean and scale."""
        return asdict(self.front_end), {"mean": self.mean, "scale": self.scale}


@dataclass(frozen=True)
class AudioCNN(NetworkLearner[Mels]):
    """Convolutions with batch norm on log-mel pictures, pooled over time with their frequencies kept apart."""

    name: ClassVar[str] = "audio_cnn"
    modalities: ClassVar[tuple[str, ...]] = (AUDIO,)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity("epochs", 20)
    encoded_by: ClassVar[tuple[str, ...]] = ("n_mels", "window_ms", "hop_ms")

    def fit_encoder(self, x_train: NDArray[Any], configuration: Configuration) -> Mels:
        """Measure the bands; see `NetworkLearner.fit_encoder`."""
        recordings = read_lines(x_train)
        window_ms, hop_ms = float(configuration["window_ms"]), float(configuration["hop_ms"])
        return Mels.fit(MelFrontEnd.of(recordings.rate, int(configuration["n_mels"]), window_ms, hop_ms), recordings)

    def read_encoder(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Mels:
        """Return the encoder whose `to_state` this was."""
        return Mels(MelFrontEnd(**values), arrays["mean"], arrays["scale"])

    def build(self, configuration: Configuration, encoder: Mels, classes: int) -> "torch.nn.Module":
        """Build the network; see `NetworkLearner.build`."""
        from metaflow_hpo.learners.networks.sounds import SoundNetwork

        return SoundNetwork(
            plan_channels(configuration),
            encoder.front_end.bands,
            classes,
            dropout=float(configuration["dropout"]),
        )

    def measure_cost(self, configuration: Configuration, shape: tuple[int, ...], classes: int) -> float:
        """Return multiplications an item; see `NetworkLearner.measure_cost`."""
        frames = 1000 * shape[0] / _USUAL_RATE / float(configuration["hop_ms"])
        places, inputs, products = int(configuration["n_mels"]) * frames, 1, 0.0
        for number, outputs in enumerate(plan_channels(configuration)):
            # The first convolution takes every second place, the others halve what they have computed.
            size, computed = (25, places / 4) if number == 0 else (9, places)
            products += computed * (size * inputs * outputs + 50 * outputs)
            inputs, places = outputs, places / 4
        return products + 3e6 / int(configuration["batch_size"])

    def augment(self, x: "torch.Tensor", configuration: Configuration, generator: "torch.Generator") -> "torch.Tensor":
        """Crop recordings, add noise and mask bands and frames; see `NetworkLearner.augment`."""
        from metaflow_hpo.learners.networks.sounds import augment_pictures

        return augment_pictures(x, float(configuration["augmentation"]), generator)


def plan_channels(configuration: Configuration) -> list[int]:
    """Return the channels of each convolution: doubled from one to the next, up to eight times the first's."""
    width = int(configuration["width"])
    return [width * min(2**number, _MOST_GROWTH) for number in range(int(configuration["depth"]))]
