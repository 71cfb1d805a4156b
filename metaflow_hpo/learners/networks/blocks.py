"""Parts of networks."""

from typing import Any

import torch
from torch import nn

from metaflow_hpo.errors import MetaflowHPOError


class Dropout(nn.Module):
    """Dropout with a stream of its own: PyTorch's draws from one that all threads share."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero a share of the numbers while it trains; pass all else."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generator)
        return x * kept.mul_(1 / (1 - self.rate))


def draw_from(network: nn.Module, generator: torch.Generator) -> None:
    """Let all dropout of a network draw from one generator.

    Raises:
        MetaflowHPOError: If there is dropout that cannot: its masks would depend on what else is trained.
    """
    for name, module in network.named_modules():
        if isinstance(module, Dropout):
            module.generator = generator
        elif _draws_from_shared_stream(module):
            raise MetaflowHPOError(
                f"{name} ({type(module).__name__}) draws from a stream that all threads share: use blocks.Dropout."
            )


def _draws_from_shared_stream(module: Any) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0
