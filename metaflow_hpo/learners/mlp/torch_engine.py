"""The PyTorch engine: the same networks written plainly, the reference of the compiled and of the stacked engine.

The one thing to know: initial parameters and mini-batch order come from the shared `Start`, so without dropout all
engines follow the same path up to rounding; dropout masks are PyTorch's own.
"""

from typing import TYPE_CHECKING

import numpy as np

from metaflow_hpo.learners.devices import memory_errors
from metaflow_hpo.learners.fold import MAX_LOSS, FloatArray, score_weights
from metaflow_hpo.learners.limits import Flag
from metaflow_hpo.learners.mlp.recipe import Recipe, Start, Trained
from metaflow_hpo.learners.threads import single_threaded_torch
from metaflow_hpo.modalities.modality import Fold

if TYPE_CHECKING:
    import torch


def build_network(recipe: Recipe, parameters: FloatArray) -> "torch.nn.Sequential":
    """Build the network with the given flat initial parameters (see `Start.parameters`)."""
    import torch

    layers: list[torch.nn.Module] = []
    last, position = len(recipe.widths) - 2, 0
    for layer, (inputs, outputs) in enumerate(zip(recipe.widths[:-1], recipe.widths[1:], strict=True)):
        # Its own initial values are overwritten. `skip_init` would import sympy, half a second, to leave them out.
        with torch.random.fork_rng(devices=[]):
            linear = torch.nn.Linear(inputs, outputs)
        values = torch.from_numpy(parameters[position : position + (inputs + 1) * outputs])
        position += len(values)
        with torch.no_grad():
            linear.weight.copy_(values[:-outputs].reshape(inputs, outputs).T)  # (out, in)
            linear.bias.copy_(values[-outputs:])
        layers.append(linear)
        if layer < last:
            layers += [torch.nn.ReLU() if recipe.activation == "relu" else torch.nn.Tanh()]
            layers += [torch.nn.Dropout(recipe.dropout)] if recipe.dropout > 0 else []
    return torch.nn.Sequential(*layers)


def build_optimizer(recipe: Recipe, network: "torch.nn.Module") -> "torch.optim.Optimizer":
    """Build the optimizer of a recipe; the learning rate is set at the start of each epoch."""
    import torch

    rate, decay = float(recipe.learning_rates[0]), recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(network.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
        case _:
            return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def measure_mb(fold: Fold, recipe: Recipe) -> float:
    """Return the memory that `train_network` and the drawing of its start take at most, in MB, without the fold."""
    rows, scored, columns = len(fold.x_train), len(fold.x_valid), fold.x_train.shape[1]
    numbers: float = 7 * recipe.parameters  # drawn, joined, trained, two moments, gradient and a step's scratch
    numbers += 4 * len(recipe.learning_rates) * rows  # the row order, and again in 64 bits
    numbers += (rows + scored) * (columns + 4) + 3 * recipe.batch * sum(recipe.widths)
    numbers += 2 * scored * max(recipe.widths) + 8 * scored * recipe.widths[-1]
    return float(numbers * 4 / 1e6)


def train_network(
    fold: Fold, recipe: Recipe, start: Start, device: "torch.device", stop: Flag | None = None
) -> Trained:
    """Train one network on `device`; it ends before the next mini-batch where `stop` is not 0."""
    import torch

    # Dropout masks of this network, without touching the caller's stream; and bits that no number of threads changes.
    devices = [device] if device.type == "cuda" else []
    with memory_errors(), single_threaded_torch(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(start.dropout_seed)
        return _train_epochs(fold, recipe, start, device, np.zeros(1, np.int64) if stop is None else stop)


def _train_epochs(fold: Fold, recipe: Recipe, start: Start, device: "torch.device", stop: Flag) -> Trained:
    import torch

    kind = torch.float32 if recipe.regression else torch.int64
    x, x_valid = (torch.tensor(a, device=device) for a in (fold.x_train, fold.x_valid))
    y, y_valid = (torch.tensor(a, device=device, dtype=kind) for a in (fold.y_train, fold.y_valid))
    measure = torch.nn.functional.mse_loss if recipe.regression else torch.nn.functional.cross_entropy
    weights = torch.from_numpy(score_weights(fold)).to(device)
    order = torch.from_numpy(start.order).to(device, torch.int64)
    outputs = torch.empty(0, recipe.widths[-1])
    curve: list[float] = []
    losses: list[float] = []
    network = build_network(recipe, start.parameters).to(device)
    optimizer = build_optimizer(recipe, network)
    for epoch, rate in enumerate(recipe.learning_rates):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        network.train()
        for rows in torch.split(order[epoch], recipe.batch):
            if stop[0] != 0:
                break
            optimizer.zero_grad()
            outputs = network(x[rows])  # (B, k)
            measure(outputs[:, 0] if recipe.regression else outputs, y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if stop[0] != 0:
            break
        network.eval()
        with torch.no_grad():
            outputs = network(x_valid)  # (m, k)
            losses.append(float(measure(outputs[:, 0] if recipe.regression else outputs, y_valid)))
            curve.append(_score(outputs, y_valid, weights, recipe.regression))
        if not losses[-1] <= MAX_LOSS:
            break
    return outputs.detach().cpu().numpy(), np.array(curve, np.float32), np.array(losses)


def _score(outputs: "torch.Tensor", y: "torch.Tensor", weights: "torch.Tensor", regression: bool) -> float:
    if regression:
        return float(1 - (weights * (outputs[:, 0] - y) ** 2).sum())
    return float(weights[outputs.argmax(dim=1) == y].sum())
