import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.mlp.recipe import SPACE
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.modalities.table.landmark_networks import _Dropout, train_network


def make_fold(regression):
    x, y = load_diabetes(return_X_y=True) if regression else load_digits(return_X_y=True)
    x = ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)).astype(np.float32)
    y = ((y - y.mean()) / y.std()).astype(np.float32) if regression else y.astype(np.int64)
    valid = np.arange(len(x)) % 3 == 2
    return Fold(x[~valid], y[~valid], x[valid], y[valid], 0 if regression else 10)


@pytest.mark.parametrize("rate", [3e-4, 3e-3, 3e-2])
@pytest.mark.parametrize("regression", [False, True], ids=["classification", "regression"])
def test_a_landmark_network_is_the_default_network_as_pytorch_trains_it(regression, rate):
    fold = make_fold(regression)
    configuration = {**SPACE.default, "learning_rate": rate}
    [(_, [outcome])] = MLP(engine="torch", device="cpu").train_folds([fold], [configuration], seed=0, epochs=5)
    assert train_network(fold, rate, 5) == pytest.approx(outcome.learning_curve, abs=1e-5)


def test_the_masks_of_dropout_are_those_of_pytorch():
    torch.manual_seed(7)
    layer, ones = torch.nn.Dropout(0.1), torch.ones(64, 128)
    dropout = _Dropout(7)
    for _ in range(2):
        np.testing.assert_array_equal(dropout.draw((64, 128)), layer(ones).numpy())


def test_a_network_that_diverges_has_no_scores_after_that():
    fold = make_fold(regression=True)
    assert len(train_network(fold, 1e10, 5)) < 5
