"""The surrogate's network while it is trained: an ensemble of small multi-layer perceptrons, trained side by side.

Two things are predicted, by two networks that share nothing. Of a configuration on a task: how it ranks (`score`) and
where it lies between the task's worst and best performance (`position`, with a spread). Of a task, from its
meta-features alone: that worst and best, as their distance from where they are looked for (see `anchors`).
Dimensions: S members, B rows, D encoded hyperparameters, M meta-features, H hidden units.
"""

import math

import torch
from torch import Tensor, nn

from metaflow_hpo.surrogate.trained_network import BEYOND, NetworkShape, TrainedNetwork


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
    """f(T, theta): S members, each a trunk over (meta-features, configuration); beside it the network of the ends."""

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
        self.ends = EndsNetwork(shape)

    @classmethod
    def of(cls, trained: TrainedNetwork) -> "SurrogateNetwork":
        """Return a trained network as modules, to train it on."""
        network = cls(trained.shape)
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in trained.weights.items()})
        return network

    def trained(self) -> TrainedNetwork:
        """Return a copy of what it is now, which torch is not needed for."""
        weights = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        return TrainedNetwork(self.shape, weights)

    def forward(self, meta_features: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict rows of (task, configuration); the ends of their tasks are for `ends` to predict.

        Args:
            meta_features: `(B, M)` standardised.
            encoded: `(B, D)` in [0, 1].

        Returns:
            `score (S, B)`, `position (S, B)` in [0, 1], and `log_spread (S, B)` of the position.
        """
        members = self.shape.members
        t = meta_features.expand(members, -1, -1)  # (S, B, M)
        if self.training:
            t = _drop_features(t, self.shape.feature_dropout)
        x = encoded.expand(members, -1, -1)  # (S, B, D)
        h = self.trunk(torch.cat([t, x], dim=-1))  # (S, B, H)
        score = self.score_head(h).squeeze(-1)  # (S, B)
        raw = self.position_head(h)  # (S, B, 2)
        position = torch.sigmoid(raw[..., 0] + 1.0)
        log_spread = (raw[..., 1] - 1.5).clamp(-4.0, 0.5)
        return score, position, log_spread


class EndsNetwork(nn.Module):
    """Worst and best performance of a task: S members, each a small network over the meta-features."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        last = StackedLinear(shape.members, shape.ends_hidden, 4)
        # Training starts at the anchors, known to about 0.05 and 0.14.
        last.weight.data.zero_()
        last.bias.data += torch.tensor([0.0, 0.0, -3.0, -2.0])
        self.layers = nn.Sequential(
            StackedLinear(shape.members, shape.meta_features, shape.ends_hidden),
            nn.SiLU(),
            nn.Dropout(shape.ends_dropout),
            last,
        )

    def forward(self, meta_features: Tensor, anchors: Tensor) -> Tensor:
        """Predict the ends of tasks.

        Args:
            meta_features: `(B, M)` standardised.
            anchors: `(B, 2)` where worst and best performance are looked for, in [0, 1].

        Returns:
            `(S, B, 4)`: worst, best (as fractions of the metric's natural range) and the logs of their spreads.
        """
        t = meta_features.expand(self.shape.members, -1, -1)  # (S, B, M)
        if self.training:
            t = _drop_features(t, self.shape.feature_dropout)
        raw = self.layers(t)  # (S, B, 4)
        worst = anchors[:, 0] + raw[..., 0]
        # On a logistic scale, which ends a little outside [0, 1]: near 1 the best can move little.
        width = 1.0 + 2.0 * BEYOND
        best = width * torch.sigmoid(torch.logit((anchors[:, 1] + BEYOND) / width) + raw[..., 1]) - BEYOND
        return torch.cat([torch.stack([worst, best], dim=-1), raw[..., 2:].clamp(-5.0, 1.0)], dim=-1)


def _drop_features(t: Tensor, rate: float) -> Tensor:
    """Hide single meta-features, and all of them in some rows, so that no member leans on one task's numbers."""
    single = torch.rand_like(t) >= rate
    whole = torch.rand_like(t[..., :1]) >= rate
    return t * single * whole
