import numpy as np
import pytest

from metaflow_hpo.learners import svm
from metaflow_hpo.learners.svm import SPACE, fit_machine, squash
from metaflow_hpo.modalities.modality import Fold


def test_squash_keeps_the_order_of_the_decisions():
    assert squash(np.array([0.0, 2.0]))[:, 1] == pytest.approx([0.5, 1 / (1 + np.exp(-2.0))])
    probabilities = squash(np.array([[1.0, 3.0, 2.0], [900.0, 0.0, 0.0]]))
    assert probabilities.argmax(axis=1).tolist() == [1, 0]
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_degree_and_gamma_are_conditional():
    assert "degree" not in SPACE.default
    assert SPACE.validate({"C": 1.0, "kernel": "linear"}) == {"C": 1.0, "kernel": "linear"}


def test_a_class_that_is_not_in_the_training_rows_gets_probability_zero():
    x = np.array([[-1.0], [1.0], [-1.1], [1.1]], np.float32)
    y = np.array([0, 2, 0, 2])
    outcome = fit_machine(Fold(x, y, x, y, 3), SPACE.default)
    assert outcome.predictions[:, 1].tolist() == [0] * 4
    assert outcome.predictions.argmax(axis=1).tolist() == y.tolist()


def test_one_class_is_a_failed_outcome():
    x = np.zeros((3, 1), np.float32)
    outcome = fit_machine(Fold(x, np.zeros(3, np.int64), x, np.zeros(3, np.int64), 2), SPACE.default)
    assert outcome.reason == "one class only in the training rows"


def test_a_machine_stopped_early_is_used_without_a_warning(monkeypatch):
    monkeypatch.setattr(svm, "MAX_ITERATIONS", 2)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    assert fit_machine(Fold(x, y, x, y, 2), SPACE.default).reason == ""
    assert fit_machine(Fold(x, y.astype(np.float32), x, y.astype(np.float32), 0), SPACE.default).reason == ""
