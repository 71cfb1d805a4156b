"""The one loop in which networks are trained: plain PyTorch, one thread, nothing shared with what trains beside it.

The one thing to know: batches are slices of items that were shuffled and augmented some thousand at a time, and the
learning rate of each step is known beforehand; so the loop does little but the network's own work.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from metaflow_hpo.learners.devices import memory_errors
from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray, FoldOutcome
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits
from metaflow_hpo.space import Configuration

AUGMENTED_AT_ONCE = 1024
"""Items; more would only hold memory."""
_VALIDATED_AT_ONCE = 256

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Returns training items `(n, ...)` changed at random; it draws from the generator only."""


@dataclass(frozen=True)
class Encoded:
    """The items of a fold as tensors, where the network is.

    Attributes:
        x_train: `(n, ...)`.
        y_train: `(n,)` class numbers.
        x_valid: `(m, ...)`.
        y_valid: `(m,)`.
        weights: `(m,)` float64, see `score_weights`.
    """

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_valid: torch.Tensor
    y_valid: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Recipe:
    """The shared hyperparameters of a configuration, made concrete for one fold.

    Attributes:
        epochs: Fidelity.
        batches: Mini-batches an epoch; they differ by one item at most, so that none is tiny.
        learning_rates: `(epochs * batches,)`, one a step.
        weight_decay: Decoupled, as AdamW has it; never on biases and the scales of norms.
        label_smoothing: Share of the target that goes to all classes evenly.
        mixup: Parameter of the Beta distribution from which the share of a second item is drawn; 0 for none.
        clip: Largest norm of the gradient; 0 for no limit.
    """

    epochs: int
    batches: int
    learning_rates: NDArray[np.float64]
    weight_decay: float
    label_smoothing: float
    mixup: float = 0.0
    clip: float = 0.0


def make_recipe(configuration: Configuration, items: int, epochs: int, clip: float = 0.0) -> Recipe:
    """Make a configuration concrete for a number of training items; a batch is at most half of them."""
    batch = max(min(int(configuration["batch_size"]), items // 2), 1)
    batches = -(-items // batch)
    rate, schedule = float(configuration["learning_rate"]), str(configuration["schedule"])
    return Recipe(
        epochs=epochs,
        batches=batches,
        learning_rates=draw_schedule(rate, schedule, epochs * batches),
        weight_decay=float(configuration["weight_decay"]),
        label_smoothing=float(configuration["label_smoothing"]),
        mixup=float(configuration.get("mixup", 0.0)),
        clip=clip,
    )


def draw_schedule(rate: float, schedule: str, steps: int) -> NDArray[np.float64]:
    """Return the learning rate of each step, `(steps,)`; it spans the steps trained, so that few are a whole training.

    `one_cycle` rises from a 25th to `rate` in the first 30 % and falls to nothing, both along a cosine, as PyTorch's
    `OneCycleLR` does. `constant` and `cosine` (which falls to nothing) rise on a line in the first 5 %.
    """
    step = np.arange(steps)
    if schedule == "one_cycle":
        top = max(0.3 * steps - 1, 1e-9)
        rising = _anneal(rate / 25, rate, np.minimum(step / top, 1))
        falling = _anneal(rate, rate / 25e4, np.clip((step - top) / max(steps - 1 - top, 1e-9), 0, 1))
        return np.where(step <= top, rising, falling)
    rise = max(round(0.05 * steps), 1)
    warm = np.minimum((step + 1) / rise, 1)
    return rate * warm * (0.5 * (1 + np.cos(math.pi * step / steps)) if schedule == "cosine" else 1.0)


def _anneal(start: float, end: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    return end + (start - end) / 2 * (1 + np.cos(math.pi * share))


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW for a recipe; the learning rate is set before each step."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=float(recipe.learning_rates[0]), fused=True)


class Training:
    """A training of one network on one fold that can pause; see `Stageable`."""

    def __init__(
        self,
        network: nn.Module,
        items: Encoded,
        recipe: Recipe,
        generator: torch.Generator,
        augment: Augment,
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Begin.

        Args:
            network: `(B, ...)` items to `(B, classes)` logits.
            items: What it learns from and is scored on.
            recipe: How.
            generator: What all is drawn from, of the device of the items.
            augment: Changes training items at random.
            limits: Words for what is stopped.
        """
        self.network, self.items, self.recipe = network, items, recipe
        self.generator, self.augment, self.limits = generator, augment, limits
        self.optimizer = build_optimizer(network, recipe)
        self.duration_s = 0.0
        self._rng = np.random.default_rng(generator.initial_seed())
        self._curve: list[float] = []
        self._logits = torch.empty(0)

    @property
    def learning_curve(self) -> FloatArray:
        """`(e,)` balanced accuracy on the validation items so far."""
        return np.array(self._curve, np.float32)

    def advance(self, epochs: int, stop: Flag) -> FoldOutcome | None:
        """Train until so many epochs are done; see `Stageable.advance`."""
        began = time.perf_counter()
        reason = ""
        with memory_errors():
            while len(self._curve) < epochs and not reason:
                reason = self._train_epoch(stop) or self._validate()
        self.duration_s += time.perf_counter() - began
        if reason:
            return FoldOutcome.failed(reason, self.duration_s, self.learning_curve)
        if len(self._curve) < self.recipe.epochs:
            return None
        predictions = torch.softmax(self._logits.double(), dim=1).float().cpu().numpy()
        return FoldOutcome(predictions, self.learning_curve, self.duration_s)

    def _train_epoch(self, stop: Flag) -> str:
        """Train an epoch; return why it was left."""
        self.network.train()
        x, y, recipe = self.items.x_train, self.items.y_train, self.recipe
        count = len(y)
        order = torch.randperm(count, generator=self.generator, device=self.generator.device)
        bounds = np.linspace(0, count, recipe.batches + 1).round().astype(int).tolist()
        together = max(AUGMENTED_AT_ONCE * recipe.batches // count, 1)
        step = len(self._curve) * recipe.batches
        for first in range(0, recipe.batches, together):
            cuts = bounds[first : first + together + 1]
            chosen = order[cuts[0] : cuts[-1]]
            items, labels = self.augment(x[chosen], self.generator), y[chosen]
            for start, end in itertools.pairwise(cuts):
                if stop[0] != 0:
                    where = f"in epoch {len(self._curve) + 1} of {recipe.epochs}"
                    return self.limits.describe_time(where)
                low, high = start - cuts[0], end - cuts[0]
                self._step(items[low:high], labels[low:high], float(recipe.learning_rates[step]))
                step += 1
        return ""

    def _step(self, x: torch.Tensor, y: torch.Tensor, rate: float) -> None:
        recipe, smoothing = self.recipe, self.recipe.label_smoothing
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        if recipe.mixup > 0:
            # The items are in random order: the batch turned round pairs each with another at random.
            share = float(self._rng.beta(recipe.mixup, recipe.mixup))
            logits = self.network(torch.lerp(x.flip(0), x, share))
            loss = share * nn.functional.cross_entropy(logits, y, label_smoothing=smoothing)
            loss = loss + (1 - share) * nn.functional.cross_entropy(logits, y.flip(0), label_smoothing=smoothing)
        else:
            loss = nn.functional.cross_entropy(self.network(x), y, label_smoothing=smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()

    def _validate(self) -> str:
        """Add to the curve; return why the training failed."""
        self._logits = predict_logits(self.network, self.items.x_valid)
        y = self.items.y_valid
        loss = float(nn.functional.cross_entropy(self._logits, y))
        self._curve.append(float(self.items.weights[self._logits.argmax(dim=1) == y].sum()))
        if loss <= MAX_LOSS:
            return ""
        return f"diverged: validation loss {loss:.3g} after epoch {len(self._curve)} of {self.recipe.epochs}"


def predict_logits(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return `(n, classes)` for `n` items."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(part) for part in torch.split(x, _VALIDATED_AT_ONCE)])


def measure_mb(network: nn.Module, items: Encoded, recipe: Recipe) -> float:
    """Return about how much memory a training takes at most, in MB, without the items themselves."""
    outputs = 0

    def count(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, torch.Tensor) else 0

    handles = [m.register_forward_hook(count) for m in network.modules() if not list(m.children())]
    predict_logits(network, items.x_valid[:1])
    for handle in handles:
        handle.remove()
    batch = -(-len(items.y_train) // recipe.batches)
    numbers = 5 * sum(p.numel() for p in network.parameters())  # gradient, two moments and a step's scratch
    numbers += 3 * max(batch * outputs, _VALIDATED_AT_ONCE * outputs // 3)  # kept for the way back, and its gradients
    numbers += 3 * min(len(items.y_train), AUGMENTED_AT_ONCE + batch) * items.x_train[0].numel()
    return numbers * 4 / 1e6
