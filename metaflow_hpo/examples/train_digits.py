"""A training script as `metaflow-hpo search --command` runs it: a small CNN on some of scikit-learn's digits.

The task's data address says which digits and how noisy they are, such as `digits:0,3,8:noise=0.2`.
"""

import argparse
import json

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--optimizer", choices=["sgd", "adam"], required=True)
parser.add_argument("--momentum", type=float, default=0.0)
parser.add_argument("--width", type=int, required=True)
parser.add_argument("--norm", type=json.loads, required=True)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--seed", type=int, required=True)
given = parser.parse_args()

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

layers: list[nn.Module] = [
    nn.Conv2d(1, given.width, 3, padding=1),
    nn.BatchNorm2d(given.width) if given.norm else nn.Identity(),
]
layers += [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * given.width, len(classes))]
network = nn.Sequential(*layers)
momentum = {"momentum": given.momentum} if given.optimizer == "sgd" else {}
optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[given.optimizer](
    network.parameters(), lr=given.lr, **momentum
)


def score(rows: torch.Tensor) -> float:
    """Return the accuracy on some rows."""
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
    print(json.dumps({"step": epoch, "score": score(part == 0)}))
print(json.dumps({"score": score(part == 0), "test_score": score(part == 1)}))
