"""The learner `cnn`: small convolutional networks for images of 8 x 8 to 64 x 64 pixels, grey or coloured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.networks.encoder import Encoder
from metaflow_hpo.learners.networks.network_learner import NetworkLearner
from metaflow_hpo.learners.networks.space import join_space
from metaflow_hpo.space import Categorical, Configuration, Float, Integer, SearchSpace

if TYPE_CHECKING:
    import torch

SPACE = join_space(
    (
        Integer("depth", 2, 6, 4),
        Integer("width", 8, 64, 24, log=True),
        Categorical("residual", (False, True), True),
        Categorical("head", ("average", "flatten"), "flatten"),
        Float("augmentation", 0.0, 1.0, 0.3),
        Categorical("flip", (False, True), False),
    )
)

_SMALLEST = 4
"""Side of the last feature map below which nothing is halved any more."""
_WIDEST = 128
"""Channels beyond which doubling does not go."""
_LARGE = 48
"""Side from which the first convolution takes every second pixel."""


@dataclass(frozen=True)
class Pixels(Encoder):
    """Standardises each channel.

    Attributes:
        mean: `(c,)` of the training items.
        scale: `(c,)` their standard deviation, 1 where it is 0.
        shape: `(c, h, w)` of an item.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    shape: tuple[int, ...]

    @classmethod
    def fit(cls, x: NDArray[np.float32]) -> "Pixels":
        """Measure training items `(n, c, h, w)`."""
        mean = x.mean(axis=(0, 2, 3), dtype=np.float64)
        scale = x.std(axis=(0, 2, 3), dtype=np.float64)
        return cls(mean.astype(np.float32), np.where(scale > 0, scale, 1).astype(np.float32), x.shape[1:])

    def encode(self, x: NDArray[Any]) -> "torch.Tensor":
        """Return `(n, c, h, w)`, with the channels last in memory, which convolutions are faster with.

        Raises:
            InvalidTaskError: If they have another shape than those it was fitted on.
        """
        import torch

        if x.shape[1:] != self.shape:
            raise InvalidTaskError(
                f"Expected images of (channels, height, width) {self.shape}, as in training; got {x.shape[1:]}."
            )
        standard = (x - self.mean[:, None, None]) / self.scale[:, None, None]
        return torch.from_numpy(standard).contiguous(memory_format=torch.channels_last)

    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return mean, scale and shape."""
        return {"shape": list(self.shape)}, {"mean": self.mean, "scale": self.scale}


@dataclass(frozen=True)
class Layer:
    """One convolution of a plan.

    Attributes:
        inputs: Channels.
        outputs: Channels.
        stride: 2 where it takes every second pixel.
        halves: Whether of each 2 x 2 pixels of what it makes only the largest are kept.
        pixels: That it computes, height times width.
    """

    inputs: int
    outputs: int
    stride: int
    halves: bool
    pixels: int


def plan_layers(depth: int, width: int, shape: tuple[int, ...]) -> tuple[list[Layer], int]:
    """Return the convolutions, and the number of pixels of the last feature map.

    The first convolutions halve their feature maps, as often as the image allows, so that what follows is cheap.
    Channels double each time, up to four times `width` and to 128.
    """
    channels, high, wide = shape
    stride = 2 if min(high, wide) >= _LARGE else 1
    high, wide = -(-high // stride), -(-wide // stride)
    halvings = max(int(math.log2(min(high, wide) / _SMALLEST)), 0)
    layers, halved = [], 0
    for number in range(depth):
        outputs = max(min(width * min(2**halved, 4), _WIDEST), width)
        halves = number < halvings
        layers.append(Layer(channels, outputs, stride if number == 0 else 1, halves, high * wide))
        channels = outputs
        if halves:
            halved, high, wide = halved + 1, high // 2, wide // 2
    return layers, high * wide


@dataclass(frozen=True)
class CNN(NetworkLearner[Pixels]):
    """Convolutions with batch norm, plain or residual, on images."""

    name: ClassVar[str] = "cnn"
    modalities: ClassVar[tuple[str, ...]] = ("image",)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity("epochs", 15)

    def fit_encoder(self, x_train: NDArray[Any], configuration: Configuration) -> Pixels:
        """Measure the channels; see `NetworkLearner.fit_encoder`."""
        return Pixels.fit(x_train)

    def read_encoder(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Pixels:
        """Return the encoder whose `to_state` this was."""
        return Pixels(arrays["mean"], arrays["scale"], tuple(values["shape"]))

    def build(self, configuration: Configuration, encoder: Pixels, classes: int) -> "torch.nn.Module":
        """Build the network; see `NetworkLearner.build`."""
        from metaflow_hpo.learners.networks.images import build_cnn

        layers, pixels = plan_layers(int(configuration["depth"]), int(configuration["width"]), encoder.shape)
        return build_cnn(
            layers,
            pixels if configuration["head"] == "flatten" else 1,
            classes,
            residual=bool(configuration["residual"]),
            dropout=float(configuration["dropout"]),
        )

    def measure_cost(self, configuration: Configuration, shape: tuple[int, ...], classes: int) -> float:
        """Return multiplications an item; see `NetworkLearner.measure_cost`."""
        layers, _ = plan_layers(int(configuration["depth"]), int(configuration["width"]), shape)
        products = sum(layer.pixels * (9 * layer.inputs * layer.outputs + 50 * layer.outputs) for layer in layers)
        return products + 3e6 / int(configuration["batch_size"])

    def augment(self, x: "torch.Tensor", configuration: Configuration, generator: "torch.Generator") -> "torch.Tensor":
        """Shift, turn, zoom, flip and recolour images; see `NetworkLearner.augment`."""
        from metaflow_hpo.learners.networks.images import augment_images

        return augment_images(x, float(configuration["augmentation"]), bool(configuration["flip"]), generator)
