import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.infer_space import infer_space
from metaflow_hpo.space import Categorical, Condition, Float, Integer


def test_types_and_scales_are_read_off_the_values():
    frame = pd.DataFrame(
        {
            "hp_rate": 10.0 ** np.linspace(-5, -1, 41),
            "hp_momentum": np.linspace(0.1, 0.9, 41),
            "hp_width": (2.0 ** np.linspace(4, 10, 41)).round(),
            "hp_layers": np.arange(41) % 3 + 1,
            "hp_flag": np.arange(41) % 2 == 0,
            "hp_kind": ["a", "b"] * 20 + ["b"],
            "hp_constant": 3,
            "performance": 0.0,
        }
    )
    found = {hp.name: hp for hp in infer_space(frame).hyperparameters}
    rate, width = found["rate"], found["width"]
    assert isinstance(rate, Float)
    assert rate.log
    assert rate.default == pytest.approx(1e-3)
    assert isinstance(width, Integer)
    assert (width.low, width.high, width.default, width.log) == (16, 1024, 128, True)
    assert found["momentum"] == Float("momentum", 0.1, 0.9, 0.5)
    assert found["layers"] == Integer("layers", 1, 3, 2)
    assert found["flag"] == Categorical("flag", ("False", "True"), "True")
    assert found["kind"] == Categorical("kind", ("a", "b"), "b")
    assert "constant" not in found


def test_a_wide_range_that_is_evenly_spread_stays_linear():
    found = infer_space(pd.DataFrame({"hp_x": np.linspace(0.001, 10.0, 200)})).hyperparameters[0]
    assert isinstance(found, Float)
    assert not found.log


def test_a_gap_that_follows_from_a_choice_becomes_a_condition():
    frame = pd.DataFrame({"hp_momentum": [0.1, 0.9, np.nan, np.nan], "hp_optimizer": ["sgd", "sgd", "adam", "adamw"]})
    momentum = infer_space(frame).hyperparameters[1]
    assert momentum == Float("momentum", 0.1, 0.9, 0.5, condition=Condition("optimizer", ("sgd",)))


def test_a_gap_without_a_reason_makes_a_hyperparameter_optional():
    frame = pd.DataFrame({"hp_x": [0.25, 0.75, np.nan, 0.5], "hp_kind": ["a", "b", "a", "b"]})
    assert infer_space(frame).hyperparameters[1] == Float("x", 0.25, 0.75, 0.5, optional=True)


def test_a_column_without_finite_or_differing_values_is_an_error():
    with pytest.raises(InvalidTableError, match="hp_x holds infinite values"):
        infer_space(pd.DataFrame({"hp_x": [0.1, np.inf, 0.2]}))
    with pytest.raises(InvalidTableError, match="hyperparameters that vary"):
        infer_space(pd.DataFrame({"hp_x": [0.1, 0.1, np.nan]}))
