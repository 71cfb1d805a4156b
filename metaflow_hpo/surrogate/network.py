"""The surrogate's network: an ensemble of small multi-layer perceptrons, trained side by side.

Two things are predicted. Of a configuration on a task: how it ranks (`score`) and where it lies between the task's
worst and best performance (`position`, with a spread). Of a task, from its meta-features alone: that worst and best.
Dimensions: S members, B rows, D encoded hyperparameters, M meta-features, H hidden units.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkShape:
    """Everything needed to build the network again."""

    encoded: int
    meta_features: int
    members: int = 5
    hidden: int = 96
    dropout: float = 0.1
    feature_dropout: float = 0.25


class StackedLinear(nn.Module):
    """S linear layers, one a member, applied to S batches at once."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(max(inputs, 1))
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(S, B, inputs)` to `(S, B, outputs)`."""
        return torch.baddbmm(self.bias, x, self.weight)


class SurrogateNetwork(nn.Module):
    """f(T, theta): S members, each a trunk over (meta-features, configuration) and a linear head over the task."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        members, hidden = shape.members, shape.hidden
        self.trunk = nn.Sequential(
            StackedLinear(members, shape.encoded + shape.meta_features, hidden),
            nn.SiLU(),
            nn.Dropout(shape.dropout),
            StackedLinear(members, hidden, hidden),
            nn.SiLU(),
            nn.Dropout(shape.dropout),
        )
        self.score_head = StackedLinear(members, hidden, 1)
        self.position_head = StackedLinear(members, hidden, 2)
        self.task_head = StackedLinear(members, shape.meta_features, 3)
        # Where training starts: performances from 0.3 to 0.8, known to about 0.1.
        self.task_head.bias.data += torch.tensor([0.3, 0.8, -2.0])

    def forward(self, meta_features: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict rows of (task, configuration).

        Args:
            meta_features: `(B, M)` standardised.
            encoded: `(B, D)` in [0, 1].

        Returns:
            `score (S, B)`, `position (S, B)` in [0, 1], `log_spread (S, B)` of the position, and
            `task (S, B, 3)`: worst, best (as fractions of the metric's natural range) and the log of their spread.
        """
        members = self.shape.members
        t = meta_features.expand(members, -1, -1)  # (S, B, M)
        if self.training:
            t = self._drop_features(t)
        x = encoded.expand(members, -1, -1)  # (S, B, D)
        h = self.trunk(torch.cat([t, x], dim=-1))  # (S, B, H)
        score = self.score_head(h).squeeze(-1)  # (S, B)
        raw = self.position_head(h)  # (S, B, 2)
        position = torch.sigmoid(raw[..., 0] + 1.0)
        log_spread = (raw[..., 1] - 1.5).clamp(-4.0, 0.5)
        return score, position, log_spread, self.task_head(t)

    def _drop_features(self, t: Tensor) -> Tensor:
        """Hide single meta-features, and all of them in some rows, so that no member leans on one task's numbers."""
        rate = self.shape.feature_dropout
        single = torch.rand_like(t) >= rate
        whole = torch.rand_like(t[..., :1]) >= rate
        return t * single * whole
