"""A training of Lightning reports each epoch, and ends where it is told to."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from metaflow_hpo.integrations.callbacks import LightningReport
from metaflow_hpo.learners.function import Stop

pytestmark = pytest.mark.filterwarnings("ignore")


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, _):
        self.log("val_loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(report, tmp_path, monitor="val_loss"):
    data = DataLoader(TensorDataset(torch.ones(4, 2)))
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[LightningReport(report, monitor)],
    )
    trainer.fit(Line(), data, data)


def test_each_epoch_is_reported_once_and_the_sanity_check_is_not(tmp_path):
    reported = []
    fit(lambda step, score: reported.append((step, score)), tmp_path)
    assert [step for step, _ in reported] == [1, 2, 3]
    assert reported[2][1] < reported[0][1]


def test_a_stopped_training_ends(tmp_path):
    steps = []

    def report(step, score):
        steps.append(step)
        raise Stop

    with pytest.raises(Stop):
        fit(report, tmp_path)
    assert steps == [1]


def test_a_metric_that_was_not_logged_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"found .*val_loss"):
        fit(lambda step, score: None, tmp_path, monitor="val_acc")
