"""A training script as `metaflow-hpo search --command` runs it: a small CNN on some of scikit-learn's digits.

The task's data address says which digits and how noisy they are, such as `digits:0,3,8:noise=0.2`.
"""

import argparse
import json
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn


def train(given: argparse.Namespace, report: Callable[[int, float], object]) -> dict[str, float]:
    """Report the accuracy on validation images after each epoch; return it, and that on test images."""
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    _, chosen, noise = given.data.split(":")
    classes = [int(digit) for digit in chosen.split(",")]
    digits = load_digits()
    kept = torch.tensor([int(label) in classes for label in digits.target])
    x = torch.tensor(digits.images, dtype=torch.float32)[kept].unsqueeze(1) / 16
    x = x + float(noise.partition("=")[2]) * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([classes.index(int(label)) for label in digits.target[kept.numpy()]])
    part = torch.arange(len(y)) % 5  # 0 validates, 1 tests

    norm = nn.BatchNorm2d(given.width) if given.norm else nn.Identity()
    layers = [nn.Conv2d(1, given.width, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(16 * given.width, len(classes)))
    momentum = {"momentum": given.momentum} if given.optimizer == "sgd" else {}
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[given.optimizer]
    optimizer = make(network.parameters(), lr=given.lr, **momentum)

    def score(rows: torch.Tensor) -> float:
        network.eval()
        with torch.no_grad():
            return float((network(x[rows]).argmax(dim=1) == y[rows]).float().mean())

    for epoch in range(1, given.epochs + 1):
        network.train()
        for batch in torch.randperm(int((part > 1).sum())).split(64):
            rows = torch.nonzero(part > 1).squeeze(1)[batch]
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
        report(epoch, score(part == 0))
    return {"score": score(part == 0), "test_score": score(part == 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("data", "optimizer"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("lr", "width", "norm", "epochs", "seed"):
        parser.add_argument(f"--{name}", type=json.loads, required=True)
    parser.add_argument("--momentum", type=float)  # left out where it is not used

    def say(step: int, score: float) -> None:  # noqa: D103
        print(json.dumps({"step": step, "score": score}), flush=True)

    print(json.dumps(train(parser.parse_args(), say)))
