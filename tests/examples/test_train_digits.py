"""The training script of the examples, as a learner."""

import sys
from pathlib import Path

import pytest
import yaml

import metaflow_hpo
from metaflow_hpo.collect.trials import train_trials
from metaflow_hpo.learners.command import learner_from_command
from metaflow_hpo.modalities.opaque import read_opaque

FOLDER = Path(metaflow_hpo.__file__).parent / "examples"


@pytest.mark.slow
def test_the_cnn_learns_digits_and_the_same_seed_gives_the_same_scores():
    arguments = ["--data", "{data}", "--epochs", "{fidelity}", "--seed", "{seed}", "--momentum", "{momentum}"]
    arguments += [part for name in ("lr", "optimizer", "width", "norm") for part in (f"--{name}", f"{{{name}}}")]
    space = yaml.safe_load((FOLDER / "digits_space.yaml").read_text())
    learner = learner_from_command([sys.executable, str(FOLDER / "train_digits.py"), *arguments], space, fidelity=5)
    task = read_opaque({"task_id": "digits", "metric": "accuracy", "data": "digits:0,1,7:noise=0.1"})
    configuration = {"lr": 0.01, "optimizer": "adam", "width": 8, "norm": True}
    [(_, one)], [(_, other)] = (list(train_trials(task, learner, [configuration], strategy="x", seed=1)) for _ in "ab")
    assert (one.status, one.reason) == ("ok", "")
    assert one.performance > 0.9
    assert one.test_performance > 0.85
    assert len(one.learning_curve) == 5
    assert (one.performance, one.learning_curve) == (other.performance, other.learning_curve)
