import math

import numpy as np
import pytest

from metaflow_hpo.modalities.table.scores import score


def test_classification_scores_by_hand():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.25, 0.25, 0.5]])
    result = score("multiclass", np.array([0, 0, 0, 2]), probabilities)
    assert result["accuracy"] == 0.75
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)  # class 1 does not occur
    assert result["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.6) + math.log(0.5)) / 4)


def test_log_loss_of_a_sure_error_is_finite():
    assert score("binary", np.array([1]), np.array([[1.0, 0.0]]))["log_loss"] == pytest.approx(-math.log(1e-7))


def test_regression_scores_by_hand():
    result = score("regression", np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 5.0]))
    assert result == pytest.approx({"r2": 1 - 4 / 2, "rmse": math.sqrt(4 / 3)})


@pytest.mark.parametrize(("prediction", "r2"), [(2.0, 1.0), (3.0, 0.0)])
def test_r2_of_a_constant_target(prediction, r2):
    assert score("regression", np.array([2.0, 2.0]), np.full(2, prediction))["r2"] == r2
