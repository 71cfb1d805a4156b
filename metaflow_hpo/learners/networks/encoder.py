"""What a network learner learns from the training items before the network: how items become tensors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Encoder(ABC):
    """Turns prepared items (`Fold.x_train`) into one tensor; fitted on the training items of a fold only."""

    @abstractmethod
    def encode(self, x: NDArray[Any]) -> "torch.Tensor":
        """Return the tensor of some items, `(n, ...)`, on the CPU; the same items give the same bits."""

    @abstractmethod
    def to_state(self) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return what makes it again: values that JSON can hold, and arrays by name."""
