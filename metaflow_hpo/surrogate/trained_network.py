"""A trained network of the surrogate, asked with numpy alone: whoever wants a recommendation need not load torch.

`SurrogateNetwork` is the same network while it is trained. Dimensions: S members, B rows, T tasks, N configurations,
M meta-features, D encoded hyperparameters, H hidden units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array

BEYOND = 0.03
"""How far outside [0, 1] the best performance of a task may be believed."""
_LAYERS = ("trunk.0", "trunk.3", "score_head", "position_head", "ends.layers.0", "ends.layers.3")
WEIGHTS = tuple(f"{layer}.{part}" for layer in _LAYERS for part in ("weight", "bias"))
"""Names of the weights `(S, inputs, outputs)` and biases `(S, 1, outputs)`, which are also torch's."""

Single = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkShape:
    """Everything needed to build the network again."""

    encoded: int
    meta_features: int
    members: int = 5
    hidden: int = 96
    dropout: float = 0.1
    feature_dropout: float = 0.25
    ends_hidden: int = 32
    ends_dropout: float = 0.3


@dataclass(frozen=True)
class TrainedNetwork:
    """f(T, theta) as weights.

    Attributes:
        shape: How it was built.
        weights: By name, see `WEIGHTS`.
    """

    shape: NetworkShape
    weights: Mapping[str, Single] = field(repr=False)

    def __post_init__(self) -> None:
        missing = sorted(set(WEIGHTS) ^ set(self.weights))
        if missing:
            raise InvalidTableError(
                f"Expected the weights {', '.join(WEIGHTS)} of a network; {missing} are missing or too many. Run "
                "`metaflow-hpo fit`."
            )

    def predict(self, meta_features: Single, encoded: Single) -> tuple[Array, Array, Array]:
        """Predict every configuration on every task; the ends of the tasks are for `ends` to predict.

        Args:
            meta_features: `(T, M)` standardised.
            encoded: `(N, D)` in [0, 1].

        Returns:
            `score`, `position` in [0, 1] and `log_spread` of the position, each `(S, T, N)`.
        """
        inputs = self.weights["trunk.0.weight"]
        known = meta_features.shape[1]
        of_tasks = meta_features @ inputs[:, :known] + self.weights["trunk.0.bias"]  # (S, T, H)
        of_configurations = encoded @ inputs[:, known:]  # (S, N, H)
        h = _silu(of_tasks[:, :, None] + of_configurations[:, None])  # (S, T, N, H)
        h = _silu(self._apply("trunk.3", h.reshape(len(h), -1, h.shape[-1])))  # (S, T * N, H)
        score, raw = self._apply("score_head", h), self._apply("position_head", h)  # (S, T * N, 1), (S, T * N, 2)
        shape = (len(h), len(meta_features), len(encoded))
        position, log_spread = _sigmoid(raw[..., 0] + 1.0), np.clip(raw[..., 1] - 1.5, -4.0, 0.5)
        return _double(score[..., 0], shape), _double(position, shape), _double(log_spread, shape)

    def ends(self, meta_features: Single, anchors: Single) -> Array:
        """Predict the ends of tasks.

        Args:
            meta_features: `(T, M)` standardised.
            anchors: `(T, 2)` where worst and best performance are looked for, in [0, 1].

        Returns:
            `(S, T, 4)`: worst, best (as fractions of the metric's natural range) and the logs of their spreads.
        """
        raw = self._apply("ends.layers.3", _silu(self._apply("ends.layers.0", meta_features)))  # (S, T, 4)
        worst = anchors[:, 0] + raw[..., 0]
        # On a logistic scale, which ends a little outside [0, 1]: near 1 the best can move little.
        width = 1.0 + 2.0 * BEYOND
        fraction = (anchors[:, 1] + BEYOND) / width
        best = width * _sigmoid(np.log(fraction / (1.0 - fraction)) + raw[..., 1]) - BEYOND
        ends = np.concatenate([np.stack([worst, best], axis=-1), np.clip(raw[..., 2:], -5.0, 1.0)], axis=-1)
        return ends.astype(np.float64)

    def _apply(self, layer: str, x: Single) -> Single:
        applied: Single = x @ self.weights[f"{layer}.weight"] + self.weights[f"{layer}.bias"]
        return applied


def _sigmoid(x: Single) -> Single:
    # By tanh, which does not overflow.
    half: Single = np.tanh(0.5 * x)
    return 0.5 * half + 0.5


def _silu(x: Single) -> Single:
    return x * _sigmoid(x)


def _double(values: Single, shape: tuple[int, ...]) -> Array:
    return values.astype(np.float64).reshape(shape)
