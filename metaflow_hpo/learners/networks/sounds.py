"""Convolutions for log-mel pictures, and their augmentation: a frame in which every band is zero is not there."""

from collections.abc import Sequence

import torch
from torch import nn

from metaflow_hpo.learners.networks.blocks import Dropout

_CROP, _NOISE, _MASKED = 0.4, 0.4, 0.5
"""At full strength: largest share of frames that are cut, deviations of a band, largest share that masks hide."""
_MASKS = 2
"""Of frames, and as many of bands."""


class SoundNetwork(nn.Module):
    """Convolutions that halve bands and frames, means and maxima over the frames that are there, a linear layer."""

    def __init__(self, channels: Sequence[int], bands: int, classes: int, *, dropout: float) -> None:
        """Build it.

        Args:
            channels: Of each convolution.
            bands: Of a picture.
            classes: Outputs.
            dropout: Before the linear layer.
        """
        super().__init__()
        blocks: list[nn.Module] = []
        inputs = 1
        for outputs in channels:
            blocks.append(_make_block(inputs, outputs, is_first=not blocks))
            inputs, bands = outputs, -(-bands // 2)
        self.blocks = nn.ModuleList(blocks)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(2 * inputs * bands, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pass pictures `(B, 1, bands, frames)`; return `(B, classes)`."""
        there = find_frames(x).to(x.dtype)[:, None, None]  # (B, 1, 1, frames)
        maps = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            there = nn.functional.max_pool2d(there, (1, 2), ceil_mode=True)
            # What lies behind a recording stays zero: it must not matter which longer ones are beside it.
            maps = block(maps) * there  # (B, channels, bands left, frames left)
        # Over time alone: which bands are left tells tones apart.
        pooled = torch.cat([maps.sum(dim=3) / there.sum(dim=3).clamp(min=1), maps.amax(dim=3)], dim=1)
        return self.head(self.dropout(pooled.flatten(1)))  # type: ignore[no-any-return]


def _make_block(inputs: int, outputs: int, *, is_first: bool) -> nn.Module:
    """Return a convolution that halves bands and frames: the first by taking every second place, to save time."""
    size, stride = (5, 2) if is_first else (3, 1)
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    halving = [] if is_first else [nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), *halving)


def find_frames(x: torch.Tensor) -> torch.Tensor:
    """Return which frames of pictures `(n, 1, bands, frames)` are there, `(n, frames)`."""
    return (x != 0).any(dim=2)[:, 0]


def augment_pictures(x: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Crop pictures in time, change their loudness, add noise, and mask bands and frames, each at random.

    Args:
        x: `(n, 1, bands, frames)` standardised.
        strength: In [0, 1]; at 1 up to 40 % of the frames are cut, and masks hide up to half of bands and of frames.
        generator: What is drawn from.

    References:
        Park et al. (2019), SpecAugment.
    """
    if strength == 0:
        return x
    kept = find_frames(x)
    frames = kept.sum(dim=1).to(x.dtype)
    bands = torch.full_like(frames, x.shape[2])
    cut = _draw(x, 2, generator) * (_CROP / 2 * strength) * frames
    at = torch.arange(x.shape[3], device=x.device)
    kept = kept & (at >= cut[0].floor()[:, None]) & (at < (frames - cut[1]).ceil()[:, None])
    noise = torch.empty_like(x).normal_(generator=generator)
    loudness = torch.empty(len(x), 1, 1, 1, device=x.device).normal_(generator=generator)
    x = x + _NOISE * strength * (noise + loudness)
    for _ in range(_MASKS):
        share = _MASKED * strength / _MASKS
        kept = kept & ~_draw_mask(x, frames, x.shape[3], share, generator)
        x = x * ~_draw_mask(x, bands, x.shape[2], share, generator)[:, None, :, None]
    return x * kept[:, None, None, :]


def _draw_mask(
    x: torch.Tensor, lengths: torch.Tensor, size: int, share: float, generator: torch.Generator
) -> torch.Tensor:
    """Return one stretch of up to `share` of the first `lengths` `(n,)` of `size` places, `(n, size)`."""
    wide, where = _draw(x, 2, generator)
    wide = wide * share * lengths
    start = where * (lengths - wide)
    at = torch.arange(size, device=x.device)
    return torch.logical_and(at >= start[:, None], at < (start + wide)[:, None])


def _draw(x: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, len(x), generator=generator, device=x.device)
