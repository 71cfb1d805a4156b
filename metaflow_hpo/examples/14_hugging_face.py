"""A search with Hugging Face's Trainer that starts from past trials: its `sampler` is handed to Optuna as it is."""

import random

import pandas as pd
import torch
import transformers

from metaflow_hpo.integrations.optuna import MetaSampler

ROWS = [{"x": torch.tensor([float(i % 2), 1.0]), "labels": i % 2} for i in range(64)]


class Line(torch.nn.Module):
    """A network of one layer; yours is a pretrained one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return loss and logits, as the Trainer wants them."""
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def make_past() -> pd.DataFrame:
    """Return trials of three other tasks; yours come from `hpo.import_trials("mlflow", address, ...)`, say."""
    drawn = random.Random(0)
    lines = []
    for number in range(60):
        power = drawn.uniform(-5, 0)
        line = {"task_id": f"task {number % 3}", "hp_learning_rate": 10**power}
        lines.append(line | {"performance": -0.3 - 0.1 * abs(power + 1)})
    return pd.DataFrame(lines)


def main() -> None:
    """Search the learning rate with three trials."""
    arguments = transformers.TrainingArguments(
        "trained", num_train_epochs=2, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True
    )
    trainer = transformers.Trainer(
        args=arguments, model_init=lambda trial: Line(), train_dataset=ROWS, eval_dataset=ROWS
    )  # fmt: skip
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)},
        backend="optuna",
        direction="minimize",
        n_trials=3,
        sampler=MetaSampler(past=make_past(), seed=0),
    )
    print(f"best: loss {best.objective:.3f} with {best.hyperparameters}")


if __name__ == "__main__":
    main()
