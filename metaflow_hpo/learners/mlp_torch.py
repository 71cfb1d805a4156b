"""The PyTorch engine: the same networks written plainly, the reference of the compiled kernel and the engine on a GPU.

The one thing to know: initial parameters and mini-batch order come from the shared `Start`, so without dropout both
engines follow the same path up to rounding; dropout masks are PyTorch's own.
"""

from typing import TYPE_CHECKING

import numpy as np

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.learner import Device, FloatArray, Fold
from metaflow_hpo.learners.mlp import MAX_LOSS, Recipe, Start, Trained, score_weights

if TYPE_CHECKING:
    import torch

    from metaflow_hpo.learners.light_adam import LightAdam


def find_device(device: Device) -> "torch.device":
    """Return the PyTorch device; `auto` takes a GPU if there is one.

    Raises:
        MetaflowHPOError: If `cuda` is asked for and PyTorch finds none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MetaflowHPOError("device='cuda' needs a CUDA GPU, and PyTorch finds none: use device='cpu' or 'auto'.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


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


def build_optimizer(recipe: Recipe, network: "torch.nn.Module") -> "torch.optim.Optimizer | LightAdam":
    """Build the optimizer of a recipe; the learning rate is set at the start of each epoch."""
    import torch

    rate, decay = float(recipe.learning_rates[0]), recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(network.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=decay)
        case "adam" if next(network.parameters()).device.type == "cpu":
            # The same bits; the landmarks use it, and a recommendation must not wait for PyTorch's compiler.
            from metaflow_hpo.learners.light_adam import LightAdam

            return LightAdam(network, rate, decay)
        case "adam":
            return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
        case _:
            return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def train_network(fold: Fold, recipe: Recipe, start: Start, device: "torch.device") -> Trained:
    """Train one network on `device`."""
    import torch

    # Dropout masks of this network, without touching the caller's stream; and bits that no number of threads changes.
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(start.dropout_seed)
        torch.set_num_threads(1)
        try:
            return _train_epochs(fold, recipe, start, device)
        finally:
            torch.set_num_threads(threads)


def _train_epochs(fold: Fold, recipe: Recipe, start: Start, device: "torch.device") -> Trained:
    import torch

    kind = torch.float32 if recipe.regression else torch.int64
    x, x_valid = (torch.tensor(a, device=device) for a in (fold.x_train, fold.x_valid))
    y, y_valid = (torch.tensor(a, device=device, dtype=kind) for a in (fold.y_train, fold.y_valid))
    measure = torch.nn.functional.mse_loss if recipe.regression else torch.nn.functional.cross_entropy
    weights = torch.from_numpy(score_weights(fold)).to(device)
    order = torch.from_numpy(start.order).to(device, torch.int64)
    curve, losses = [], []
    network = build_network(recipe, start.parameters).to(device)
    optimizer = build_optimizer(recipe, network)
    for epoch, rate in enumerate(recipe.learning_rates):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        network.train()
        for rows in torch.split(order[epoch], recipe.batch):
            optimizer.zero_grad()
            outputs = network(x[rows])  # (B, k)
            measure(outputs[:, 0] if recipe.regression else outputs, y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.no_grad():
            outputs = network(x_valid)  # (m, k)
            losses.append(float(measure(outputs[:, 0] if recipe.regression else outputs, y_valid)))
            curve.append(_score(outputs, y_valid, weights, recipe.regression))
        if not losses[-1] <= MAX_LOSS:
            break
    return outputs.cpu().numpy(), np.array(curve, np.float32), np.array(losses)


def _score(outputs: "torch.Tensor", y: "torch.Tensor", weights: "torch.Tensor", regression: bool) -> float:
    if regression:
        return float(1 - (weights * (outputs[:, 0] - y) ** 2).sum())
    return float(weights[outputs.argmax(dim=1) == y].sum())
