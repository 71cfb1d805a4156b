"""Tune a Lightning module of your own on pictures: the task is read, split and prepared by the package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import metaflow_hpo as hpo
from metaflow_hpo.integrations.callbacks import LightningReport
from metaflow_hpo.modalities.registry import get_array_modality

SPACE = [hpo.Float("lr", 1e-4, 1e-1, 1e-3, log=True), hpo.Integer("width", 8, 64, 16, log=True)]


class Digits(pl.LightningModule):
    """A convolution and a linear layer."""

    def __init__(self, lr: float, width: int) -> None:
        super().__init__()
        self.lr = lr
        features = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        self.network = nn.Sequential(*features, nn.Linear(16 * width, 10))

    def training_step(self, batch: Any, _: int) -> torch.Tensor:  # noqa: D102
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:  # noqa: D102
        self.log("accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def train(configuration: Mapping[str, Any], data: Any, report: Any) -> float:
    """Train for some epochs; the callback reports each, and ends what will not win."""
    pl.seed_everything(report.seed, verbose=False)
    modality = get_array_modality("image")
    fold = modality.prepare(data, modality.split(data).validation[0])
    parts = [(fold.x_train, fold.y_train), (fold.x_valid, fold.y_valid)]
    known, held_out = (TensorDataset(torch.tensor(x), torch.tensor(y)) for x, y in parts)
    off: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=report.fidelity, callbacks=[LightningReport(report, "accuracy")], **off)
    trainer.fit(Digits(**configuration), DataLoader(known, 32, shuffle=True), DataLoader(held_out, len(held_out)))
    return float(trainer.callback_metrics["accuracy"])


if __name__ == "__main__":
    digits = load_digits()
    Path("digits.yaml").write_text("metric: accuracy")
    np.savez("digits.npz", X=(digits.images[:500] * 15).astype(np.uint8), y=digits.target[:500])
    learner = hpo.learner_from_function(train, SPACE, name="lightning", fidelity=4, modalities=["image"])
    print("best:", hpo.search("digits.npz", learner=learner, trials=4).best_configuration)
