"""A training of Transformers reports each epoch once, and ends where it is told to."""

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from metaflow_hpo.integrations.callbacks import TransformersReport  # noqa: E402 - skipped without its trainer
from metaflow_hpo.learners.function import Stop  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x, labels=None):
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def train(report, tmp_path, monitor="eval_accuracy", **options):
    data = [{"x": torch.tensor([float(i % 2), 1.0]), "labels": i % 2} for i in range(8)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=3,
        per_device_train_batch_size=4,
        learning_rate=0.5,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **({"eval_strategy": "epoch"} | options),
    )
    trainer = transformers.Trainer(
        model=Line(),
        args=arguments,
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda p: {"accuracy": float(np.mean(p.predictions.argmax(1) == p.label_ids))},
        callbacks=[TransformersReport(report, monitor)],
    )
    trainer.train()
    trainer.evaluate()


@pytest.mark.parametrize("options", [{}, {"eval_strategy": "steps", "eval_steps": 1}])
def test_each_epoch_is_reported_once(tmp_path, options):
    reported = []
    train(lambda step, score: reported.append((step, score)), tmp_path, **options)
    assert [step for step, _ in reported] == [1, 2, 3]
    assert all(0.0 <= score <= 1.0 for _, score in reported)


def test_a_stopped_training_ends(tmp_path):
    steps = []

    def report(step, score):
        steps.append(step)
        raise Stop

    with pytest.raises(Stop):
        train(report, tmp_path)
    assert steps == [1]


def test_a_metric_that_was_not_measured_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"'eval_f1'; found .*eval_accuracy"):
        train(lambda step, score: None, tmp_path, monitor="eval_f1")
