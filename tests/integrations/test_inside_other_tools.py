"""MetaSampler, unchanged, in the tools that hand a sampler to Optuna: each is the real one, where it is installed."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

import metaflow_hpo
from metaflow_hpo.history import History
from metaflow_hpo.integrations.optuna import MetaSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)
pytestmark = pytest.mark.filterwarnings("ignore")
REGISTRY = Path(metaflow_hpo.__file__).parent / "examples" / "optunahub"

APP = """
import json
import math
import os

import hydra


@hydra.main(config_path="conf", config_name="config", execution_whitelist=["metaflow_hpo.*"])
def train(config):
    loss = (math.log10(config.learning_rate) + 3) ** 2 + (config.optimizer == "sgd")
    with open(os.environ["TRIED"], "a") as file:
        file.write(json.dumps([config.learning_rate, loss]) + "\\n")
    return loss


train()
"""
CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: optuna
  - override hydra/sweeper/sampler: meta
learning_rate: 0.1
optimizer: sgd
hydra:
  sweeper:
    direction: minimize
    n_trials: 5
    n_jobs: 1
    params:
      learning_rate: tag(log, interval(0.00001, 0.1))
      optimizer: choice(sgd, adam)
"""
SAMPLER = """
_target_: metaflow_hpo.integrations.optuna.MetaSampler
past: {past}
seed: 0
"""


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A history whose best learning rate is .001, with Adam; lower losses are better."""
    drawn = np.random.default_rng(0)
    rows = [
        {"task_id": f"t{t}", "hp_learning_rate": 10.0 ** drawn.uniform(-5, -1), "hp_optimizer": ("sgd", "adam")[n % 2]}
        for t in range(4)
        for n in range(20)
    ]
    frame = pd.DataFrame(rows)
    loss = (np.log10(frame["hp_learning_rate"]) + 3) ** 2 + (frame["hp_optimizer"] == "sgd")
    path = tmp_path_factory.mktemp("past") / "past.parquet"
    History.from_frame(frame.assign(performance=-loss)).write(path)
    return path


def is_informed(rate):
    return abs(math.log10(rate) + 3) < 0.7


def test_hugging_faces_hyperparameter_search(past, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate, which its Trainer asks for, is not installed")
    import torch

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x, labels=None):
            logits = self.layer(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    data = [{"x": torch.tensor([float(i % 2), 1.0]), "labels": i % 2} for i in range(8)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True
    )
    trainer = transformers.Trainer(
        args=arguments, model_init=lambda trial: Line(), train_dataset=data, eval_dataset=data
    )  # fmt: skip
    tried = []

    def space(trial):
        found = {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)}
        tried.append(found["learning_rate"])
        return found

    best = trainer.hyperparameter_search(
        hp_space=space, backend="optuna", n_trials=3, direction="minimize", sampler=MetaSampler(past=past, seed=0)
    )
    assert is_informed(tried[0])
    assert len(set(tried)) == 3
    assert best.hyperparameters["learning_rate"] in tried


def test_rays_optuna_search(past):
    tune = pytest.importorskip("ray.tune", reason="ray[tune] is not installed")
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(sampler=MetaSampler(past=past, seed=0))
    space = {"learning_rate": tune.loguniform(1e-5, 1e-1), "optimizer": tune.choice(["sgd", "adam"]), "epochs": 3}
    searcher.set_search_properties("loss", "min", space)
    tried = []
    for number in range(5):
        config = searcher.suggest(f"t{number}")
        tried.append(config)
        result = {"loss": (math.log10(config["learning_rate"]) + 3) ** 2 + (config["optimizer"] == "sgd")}
        searcher.on_trial_result(f"t{number}", result | {"training_iteration": 1})
        searcher.on_trial_complete(f"t{number}", result | {"training_iteration": 1})
    assert is_informed(tried[0]["learning_rate"])
    assert tried[0]["optimizer"] == "adam"
    assert len({config["learning_rate"] for config in tried}) == 5


def test_hydras_optuna_sweeper(past, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="hydra-optuna-sweeper is not installed")
    (tmp_path / "conf" / "hydra" / "sweeper" / "sampler").mkdir(parents=True)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    (tmp_path / "conf" / "hydra" / "sweeper" / "sampler" / "meta.yaml").write_text(SAMPLER.format(past=past))
    environment = {**os.environ, "TRIED": str(tmp_path / "tried.jsonl"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "app.py", "--multirun"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tried = pd.read_json(tmp_path / "tried.jsonl", lines=True)
    assert is_informed(tried.iloc[0, 0])
    assert tried.iloc[0, 1] < 0.5  # with Adam, too
    assert tried.iloc[:, 0].nunique() == 5


def test_the_package_for_optunahub(past):
    optunahub = pytest.importorskip("optunahub", reason="optunahub is not installed")
    module = optunahub.load_local_module("samplers/metaflow_hpo", registry_root=str(REGISTRY))
    study = optuna.create_study(sampler=module.MetaSampler(past=past, seed=0))
    study.optimize(lambda t: (math.log10(t.suggest_float("learning_rate", 1e-5, 1e-1, log=True)) + 3) ** 2, n_trials=1)
    assert is_informed(study.trials[0].params["learning_rate"])


def test_the_package_for_optunahub_has_the_files_that_its_registry_asks_for():
    folder = REGISTRY / "samplers" / "metaflow_hpo"
    assert {p.name for p in folder.iterdir()} >= {"LICENSE", "README.md", "__init__.py", "example.py"}
    head = (folder / "README.md").read_text().split("---")[1]
    said = {line.partition(":")[0] for line in head.strip().splitlines()}
    assert said == {"author", "title", "description", "tags", "optuna_versions", "license"}
