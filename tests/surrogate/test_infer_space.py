import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.space import Categorical, Condition, Float, Integer
from metaflow_hpo.surrogate.infer_space import infer_space


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


def test_a_gap_without_a_reason_is_an_error():
    frame = pd.DataFrame({"hp_x": [0.1, 0.9, np.nan, 0.3], "hp_kind": ["a", "b", "a", "b"]})
    with pytest.raises(InvalidTableError, match=r"hp_x is missing in 1 of 4 configurations.*Fill it in"):
        infer_space(frame)
