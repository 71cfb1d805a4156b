"""The network of `realmlp` in plain PyTorch, with its gradients and its optimizer, which the engine must equal."""

import numpy as np
import torch
from torch.nn import functional

from metaflow_hpo.learners.realmlp.recipe import BETA1, BETA2

ACTIVATIONS = {"relu": functional.relu, "selu": functional.selu, "silu": functional.silu, "mish": functional.mish}


def split(recipe, parameters):
    """Return the flat parameters as one tensor a block."""
    ends = np.cumsum([0, *(block.size for block in recipe.shape.blocks)])
    return [
        torch.tensor(parameters[a:b].reshape(block.shape), requires_grad=True)
        for a, b, block in zip(ends[:-1], ends[1:], recipe.shape.blocks, strict=True)
    ]


def forward(recipe, blocks, x):
    """Return outputs of all members, `(members, n, outputs)`."""
    embedding, scale, *layers = blocks
    numbers, others = x[:, : recipe.shape.numbers], x[:, recipe.shape.numbers :]
    embedded = numbers[..., None]
    if recipe.shape.waves:
        q, e = recipe.shape.waves, recipe.shape.sums
        frequency, phase = embedding[:, :q], embedding[:, q : 2 * q]
        waves = torch.cos(2 * np.pi * (frequency * embedded + phase))  # (n, numbers, q)
        weights, bias = embedding[:, 2 * q : (2 + e) * q].reshape(-1, e, q), embedding[:, (2 + e) * q :]
        embedded = torch.cat([embedded, torch.einsum("nfq,feq->nfe", waves, weights) + bias], dim=2)
    h = torch.cat([embedded.flatten(1), others], dim=1) * scale[:, None, :]
    hidden = len(recipe.shape.hidden)
    for weights, bias in zip(layers[: 2 * hidden : 2], layers[1 : 2 * hidden : 2], strict=True):
        h = ACTIVATIONS[recipe.activation](h @ weights + bias)
    heads = zip(h, layers[2 * hidden :: 2], layers[2 * hidden + 1 :: 2], strict=True)
    return torch.stack([part @ weights + bias for part, weights, bias in heads])


def loss(recipe, outputs, y):
    """Return the mean over members and rows."""
    if recipe.shape.outputs == 1:
        return functional.mse_loss(outputs[..., 0], y.expand(len(outputs), -1))
    rows = functional.cross_entropy(
        outputs.flatten(0, 1), y.repeat(len(outputs)), reduction="none", label_smoothing=recipe.label_smoothing
    )
    return (rows * torch.from_numpy(recipe.class_weights)[y].repeat(len(outputs))).mean()


def train(recipe, start, x, y, x_valid):
    """Train without dropout; return the parameters, flat, and what is predicted for the validation rows."""
    blocks = split(recipe, start.parameters)
    groups = [
        {"params": [block], "weight_decay": recipe.weight_decay * how.decays}
        for block, how in zip(blocks, recipe.shape.blocks, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(BETA1, BETA2))
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    for epoch, rates in enumerate(recipe.learning_rates):
        batches = torch.from_numpy(start.order[epoch].astype(np.int64)).split(recipe.batch)
        for rows, rate in zip(batches, rates, strict=True):
            for group, how in zip(optimizer.param_groups, recipe.shape.blocks, strict=True):
                group["lr"] = float(rate) * how.rate
            optimizer.zero_grad()
            loss(recipe, forward(recipe, blocks, x[rows]), y[rows]).backward()
            for block in blocks:  # an embedding without waves is in no product
                block.grad = torch.zeros_like(block) if block.grad is None else block.grad
            optimizer.step()
    with torch.no_grad():
        outputs = forward(recipe, blocks, torch.from_numpy(x_valid))
        predicted = outputs if recipe.shape.outputs == 1 else outputs.softmax(dim=2)
    return np.concatenate([block.detach().numpy().ravel() for block in blocks]), predicted.mean(dim=0).numpy()
