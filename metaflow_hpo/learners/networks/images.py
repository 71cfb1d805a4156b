"""Convolutions for pictures, and their augmentation."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from metaflow_hpo.learners.networks.blocks import Dropout

if TYPE_CHECKING:
    from metaflow_hpo.learners.cnn import Layer

_TURN, _ZOOM, _SHIFT, _LIGHT = math.radians(20), 0.25, 0.15, 0.3
"""At full strength: radians, logarithm of the zoom, share of the side, and of a standard deviation."""


class Convolution(nn.Module):
    """3 x 3 convolution, halving where the plan says so, batch norm, the input added where it is residual, ReLU."""

    def __init__(self, layer: "Layer", residual: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(layer.inputs, layer.outputs, 3, layer.stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(layer.outputs)
        self.residual = residual and layer.inputs == layer.outputs and layer.stride == 1
        self.halves = layer.halves

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pass `(B, c, h, w)`."""
        y = self.convolution(x)
        if self.halves:  # before norm and ReLU, which then have a quarter of the work
            y = nn.functional.max_pool2d(y, 2)
        y = self.norm(y)
        if self.residual:
            y = y + (nn.functional.max_pool2d(x, 2) if self.halves else x)
        return torch.relu_(y)


def build_cnn(layers: Sequence["Layer"], pixels: int, classes: int, *, residual: bool, dropout: float) -> nn.Module:
    """Build convolutions and a linear layer on the average of the last feature map, or on all of its pixels.

    Args:
        layers: The plan.
        pixels: Of the last feature map that the linear layer sees; 1 for their average.
        classes: Outputs.
        residual: Whether inputs are added where the shapes allow it.
        dropout: Before the linear layer.
    """
    head: list[nn.Module] = [nn.AdaptiveAvgPool2d(1)] if pixels == 1 else []
    head += [nn.Flatten(), Dropout(dropout), nn.Linear(layers[-1].outputs * pixels, classes)]
    network = nn.Sequential(*(Convolution(layer, residual) for layer in layers), *head)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def augment_images(x: torch.Tensor, strength: float, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Turn, zoom, shift, flip (left and right) and, where they are coloured, recolour images, each at random.

    Args:
        x: `(n, c, h, w)` standardised; what comes in from outside is the nearest pixel of the border.
        strength: In [0, 1]; at 1 turned by up to 20 degrees, shifted by up to 15 %.
        flip: Whether half of them are mirrored.
        generator: What is drawn from.
    """
    if strength == 0 and not flip:
        return x
    count, channels, high, wide = x.shape
    turn, zoom, across, down = (2 * torch.rand(4, count, generator=generator, device=x.device) - 1) * strength
    scale, angle = torch.exp(_ZOOM * zoom), _TURN * turn
    mirrored = torch.ones(count, device=x.device)
    if flip:
        mirrored = torch.where(torch.rand(count, generator=generator, device=x.device) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [cosine * mirrored, -sine * high / wide, 2 * _SHIFT * across]
    rows += [sine * mirrored * wide / high, cosine, 2 * _SHIFT * down]
    theta = torch.stack(rows, dim=1).reshape(count, 2, 3)
    grid = nn.functional.affine_grid(theta, [count, 1, high, wide], align_corners=False)
    moved = nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if channels > 1 and strength > 0:
        light = (2 * torch.rand(2, count, channels, 1, 1, generator=generator, device=x.device) - 1) * strength
        shared = (2 * torch.rand(2, count, 1, 1, 1, generator=generator, device=x.device) - 1) * strength
        gain, shift = _LIGHT * (shared + light / 3)
        moved = moved * (1 + gain) + shift
    return moved.contiguous(memory_format=torch.channels_last)
