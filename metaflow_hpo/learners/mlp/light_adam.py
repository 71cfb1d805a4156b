"""PyTorch's Adam, called as a function: `torch.optim.Adam` imports PyTorch's compiler, 1.3 seconds, on its first use.

The one thing to know: it is the same code of PyTorch that updates the parameters, so the bits are those of
`torch.optim.Adam` on the CPU. On a GPU use the class, which has faster kernels.
"""

from typing import Any

import torch
from torch.optim.adam import adam


class LightAdam:
    """Adam with PyTorch's default coefficients.

    Attributes:
        param_groups: One group, of which `lr` is read at every step.
    """

    def __init__(self, network: torch.nn.Module, lr: float, weight_decay: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]
        self._parameters: list[torch.Tensor] = list(network.parameters())
        self._means, self._squares = ([torch.zeros_like(p) for p in self._parameters] for _ in range(2))
        self._steps = [torch.tensor(0.0) for _ in self._parameters]
        self._weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients."""
        gradients: list[torch.Tensor] = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        adam(
            self._parameters,
            gradients,
            self._means,
            self._squares,
            [],
            self._steps,
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.param_groups[0]["lr"],
            weight_decay=self._weight_decay,
            eps=1e-8,
            maximize=False,
        )
