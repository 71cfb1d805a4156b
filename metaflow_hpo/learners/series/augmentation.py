"""Series changed at random: noise and other scales, a part stretched over the whole, a span hidden.

References:
    Iwana and Uchida, An empirical survey of data augmentation for time series classification, arXiv 2007.15951.
"""

import torch
from torch import Tensor

_JITTER, _CROP = 0.3, 0.5
"""At full strength: deviation of the noise and of the logarithm of the factor; share of the steps that is cut off."""


def augment_series(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return encoded series `(n, c, t)` with noise, other scales, a part stretched over all and a span hidden.

    Args:
        x: Normalised values; the last channel says where a series is.
        strength: In [0, 1].
        generator: What is drawn from.
    """
    if strength == 0:
        return x
    crop = _CROP * strength
    return _hide(_stretch(_jitter(x, _JITTER * strength, generator), crop, generator), crop / 2, generator)


def _jitter(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    values, there = x[:, :-1], x[:, -1:]
    noise = torch.randn(values.shape, generator=generator, device=x.device) * strength
    factor = torch.exp(torch.randn((len(x), values.shape[1], 1), generator=generator, device=x.device) * strength)
    return torch.cat([(values * factor + noise) * there, there], 1)


def _stretch(x: Tensor, crop: float, generator: torch.Generator) -> Tensor:
    """Stretch a part of each series, between `1 - crop` and all of it, over all steps."""
    n, c, t = x.shape
    draw = torch.rand((2, n, 1), generator=generator, device=x.device)
    share = 1 - crop * draw[0]
    start = (1 - share) * draw[1]
    place = (start + share * torch.linspace(0, 1, t, device=x.device)) * (t - 1)  # (n, t)
    left = place.floor().clamp(0, max(t - 2, 0))
    weight = (place - left)[:, None]
    index = left.long()[:, None].expand(n, c, t)
    right = (index + 1).clamp_max(t - 1)
    return torch.lerp(x.gather(2, index), x.gather(2, right), weight)


def _hide(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a span of each series, up to a share of the steps, to 0."""
    n, _, t = x.shape
    draw = torch.rand((2, n, 1), generator=generator, device=x.device)
    width = share * draw[0]
    start = (1 - width) * draw[1]
    place = torch.linspace(0, 1, t, device=x.device)
    hidden = (place >= start) & (place < start + width)
    values = x[:, :-1].masked_fill(hidden[:, None], 0.0)
    return torch.cat([values, x[:, -1:]], 1)
