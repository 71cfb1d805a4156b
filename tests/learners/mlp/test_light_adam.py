"""The functional Adam against PyTorch's class, and networks that leave the random stream alone."""

import numpy as np
import torch

from metaflow_hpo.learners.mlp.light_adam import LightAdam
from metaflow_hpo.learners.mlp.recipe import Recipe
from metaflow_hpo.learners.mlp.torch_engine import build_network


def train(make_optimizer, steps=20):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x, y = torch.randn(32, 4), torch.arange(32) % 3
    optimizer = make_optimizer(network)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (step + 1)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_it_is_pytorchs_adam_to_the_bit():
    light = train(lambda network: LightAdam(network, lr=0.05, weight_decay=0.01))
    assert torch.equal(light, train(lambda network: torch.optim.Adam(network.parameters(), 0.05, weight_decay=0.01)))
    assert not torch.equal(light, train(lambda network: LightAdam(network, lr=0.05, weight_decay=0.0)))


def test_building_a_network_takes_its_parameters_and_nothing_from_the_random_stream():
    recipe = Recipe((2, 3, 1), "relu", "adam", 0.0, 0.0, 0.1, 8, np.ones(1), True)
    parameters = np.arange(13, dtype=np.float32)
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    network = build_network(recipe, parameters)
    assert torch.equal(torch.rand(4), expected)
    assert network[0].weight.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert network[0].bias.tolist() == [6.0, 7.0, 8.0]
