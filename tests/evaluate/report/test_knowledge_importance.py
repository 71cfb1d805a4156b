"""Importance: the shares of a known function, and those of Optuna's fANOVA to the last digits."""

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from metaflow_hpo.evaluate.report.knowledge_importance import explain_variance, measure_importance


def test_shares_equal_those_of_optuna():
    rng = np.random.default_rng(0)
    units = rng.random((60, 3))
    values = units[:, 0] + 2 * units[:, 1] * units[:, 2]
    names = ["a", "b", "c"]
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(zip(names, map(float, row), strict=True)),
                distributions=dict.fromkeys(names, FloatDistribution(0, 1)),
                value=float(value),
            )
            for row, value in zip(units, values, strict=True)
        ]
    )
    expected = FanovaImportanceEvaluator(n_trees=8, seed=0).evaluate(study)
    np.testing.assert_allclose(explain_variance(units, values, trees=8), [expected[n] for n in names], rtol=1e-9)


def test_shares_of_a_sum_are_those_of_its_terms():
    units = np.random.default_rng(0).random((600, 3))
    values = 3 * units[:, 0] + 1 * units[:, 1]
    np.testing.assert_allclose(explain_variance(units, values, trees=30), [0.9, 0.1, 0.0], atol=0.03)


def test_a_conditional_hyperparameter_is_measured_where_it_is_active():
    rng = np.random.default_rng(0)
    units = rng.random((200, 2))
    active = units[:, 0] < 0.5
    placed = pd.DataFrame(
        {"optimizer": np.where(active, 0.25, 0.75), "momentum": np.where(active, units[:, 1], np.nan)}
    )
    performance = np.where(active, units[:, 1], 0.5 + 0.01 * rng.random(200))
    shares = measure_importance(pd.DataFrame([performance], index=["task"]), placed).loc["task"]
    assert shares["momentum"] == pytest.approx(1.0, abs=0.02)
    few = measure_importance(pd.DataFrame([performance[:40]], index=["task"]), placed[:40]).loc["task"]
    assert np.isnan(few["momentum"])


def test_too_few_configurations_or_equal_ones_have_no_importance():
    units = np.random.default_rng(0).random((23, 2))
    assert np.isnan(explain_variance(units, units[:, 0])).all()
    assert np.isnan(explain_variance(np.vstack([units, units]), np.ones(46))).all()
