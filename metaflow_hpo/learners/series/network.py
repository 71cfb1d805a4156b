"""Networks that put series into classes: convolutions, Inception-like ones, or a GRU, over values `(B, C, T)`.

References:
    FCN and ResNet: Wang et al., Time series classification from scratch, arXiv 1611.06455.
    Inception: Fawaz et al., InceptionTime, arXiv 1909.04939.
"""

from typing import cast

import torch
from torch import Tensor, nn

from metaflow_hpo.learners.networks.blocks import Dropout
from metaflow_hpo.space import Configuration

SHORTEST = 3
"""Steps of the shortest kernel."""
SHORT_CUT = 3
"""Layers that a short cut goes round."""
_FAR = 1e4


class SeriesNetwork(nn.Module):
    """A layer that shortens, an encoder, mean and maximum over the steps that are there, a layer for the classes."""

    def __init__(self, configuration: Configuration, channels: int, block: int, classes: int) -> None:
        """Make a network with fresh weights.

        Args:
            configuration: What `SPACE` holds.
            channels: Channels of its input; the last one is 1 where a series is and 0 after its end.
            block: Neighbouring steps that become one before all else.
            classes: Number of classes.
        """
        super().__init__()
        width, is_gru, self.block = int(configuration["filters"]), configuration["encoder"] == "gru", block
        self.stem = _Stem(channels, width, block) if block > 1 else None
        inputs = channels if self.stem is None else width
        layers = _Recurrent(inputs, width) if is_gru else _stack(configuration, inputs, width)
        self.encoder = layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dropout = Dropout(float(configuration["dropout"]))
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `(B, classes)` of series `(B, C, T)`."""
        there = x[:, -1:]  # (B, 1, T)
        if self.stem is not None:
            x = self.stem(x)
            there = nn.functional.max_pool1d(there, self.block, ceil_mode=True)
        image = x[:, :, None].contiguous(memory_format=torch.channels_last)
        h = self.encoder(image)[:, :, 0]  # (B, F, T')
        mean = (h * there).sum(2) / there.sum(2).clamp_min(1e-3)
        top = (h - _FAR * (1 - there)).amax(2)
        return cast(Tensor, self.head(self.dropout(torch.cat([mean, top], 1))))


def _stack(configuration: Configuration, inputs: int, width: int) -> nn.Module:
    """Return layers of convolutions with short cuts."""
    depth, kernel = int(configuration["depth"]), int(configuration["kernel"])
    layers: list[nn.Module] = []
    for layer in range(depth):
        channels = width if layer else inputs
        if configuration["encoder"] == "inception":
            layers.append(_Inception(channels, width, kernel))
        else:
            layers.append(_Convolution(channels, width, max(round(kernel / (1 + layer)), SHORTEST)))
    return _Residual(layers, inputs, width)


def _convolve(inputs: int, width: int, kernel: int) -> nn.Conv2d:
    """Return a convolution over the steps of `(B, C, 1, T)`, an odd number of them, that keeps how many there are.

    Those over pictures are faster than those over lines where kernels are long.
    """
    odd = kernel | 1
    return nn.Conv2d(inputs, width, (1, odd), padding=(0, odd // 2), bias=False)


class _Stem(nn.Module):
    """Windows of neighbouring steps, half of each window shared with the next, become one step."""

    def __init__(self, inputs: int, width: int, block: int) -> None:
        super().__init__()
        self.block = block
        self.convolution = nn.Conv1d(inputs, width, 2 * block + 1, stride=block, padding=block, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        steps = -(-x.shape[2] // self.block)
        return nn.functional.relu(self.norm(self.convolution(x)[:, :, :steps]))


class _Convolution(nn.Module):
    def __init__(self, inputs: int, width: int, kernel: int) -> None:
        super().__init__()
        self.convolution, self.norm = _convolve(inputs, width, kernel), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.norm(self.convolution(x)))


class _Inception(nn.Module):
    """Kernels of three lengths over a narrow copy of the input, and the largest of three neighbours."""

    def __init__(self, inputs: int, width: int, kernel: int) -> None:
        super().__init__()
        part = width // 4
        self.narrow = nn.Conv2d(inputs, part, 1, bias=False) if inputs > part else nn.Identity()
        lengths = [max(kernel // times, SHORTEST) for times in (1, 2, 4)]
        self.branches = nn.ModuleList(_convolve(min(inputs, part), part, length) for length in lengths)
        self.pool = nn.Conv2d(inputs, width - 3 * part, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.narrow(x)
        pooled = self.pool(nn.functional.max_pool2d(x, (1, 3), stride=1, padding=(0, 1)))
        return nn.functional.relu(self.norm(torch.cat([*(branch(narrow) for branch in self.branches), pooled], 1)))


class _Residual(nn.Module):
    """Layers with a short cut round every three of them."""

    def __init__(self, layers: list[nn.Module], inputs: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*layers[start : start + SHORT_CUT]) for start in range(0, len(layers), SHORT_CUT)
        )
        self.cuts = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs if number == 0 else width, width, 1, bias=False), nn.BatchNorm2d(width))
            for number in range(len(self.blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        for block, cut in zip(self.blocks, self.cuts, strict=True):
            x = nn.functional.relu(block(x) + cut(x))
        return x


class _Recurrent(nn.Module):
    """A GRU in both directions over `(B, C, 1, T)`."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, width // 2, batch_first=True, bidirectional=True)
        self.widen = nn.Linear(2 * (width // 2), width)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.gru(x[:, :, 0].transpose(1, 2))
        return cast(Tensor, self.widen(h).transpose(1, 2)[:, :, None])
