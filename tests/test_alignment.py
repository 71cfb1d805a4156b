"""Configurations of one space in another."""

import pandas as pd
import pytest

from metaflow_hpo.alignment import assumed, candidates, fit_table, is_whole, translate, widen, without_inactive
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace

RATE = Float("lr", 1e-4, 1e-1, 1e-2, log=True)
OPTIMIZER = Categorical("optimizer", ("adam", "sgd"), "adam")
MOMENTUM = Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",)))
SPACE = SearchSpace((RATE, OPTIMIZER, MOMENTUM))


def test_ranges_widen_and_choices_unite():
    wide = {hp.name: hp for hp in widen(SPACE, {"lr": [1e-6, 0.5], "optimizer": ["sgd", "lion"]}).hyperparameters}
    assert (wide["lr"].low, wide["lr"].high, wide["lr"].log) == (1e-6, 0.5, True)
    assert wide["optimizer"].choices == ("adam", "sgd", "lion")
    assert (wide["momentum"].condition, wide["momentum"].optional) == (None, True)


def test_choices_that_have_none_in_common_are_another_thing_of_the_same_name():
    wide = widen(SPACE, {"optimizer": ["newton", "bfgs"]})
    assert wide == widen(SPACE, {})
    assert translate(wide, {"lr": 1e-3, "optimizer": "bfgs"}, {}) == {"lr": 1e-3}


def test_a_value_counts_whatever_its_scale_and_other_names_are_left_out():
    wide = widen(SPACE, {"lr": [0.5]})
    assert translate(wide, {"lr": 0.5, "depth": 3}, {}) == {"lr": 0.5}
    assert translate(wide, {"lr": 0.0}, {}) == {}  # has no place on a logarithmic axis
    assert translate(wide, {"lr": "fast"}, {}) == {}


def test_an_integer_takes_the_nearest_whole_number():
    space = SearchSpace((Integer("layers", 1, 4, 2),))
    assert translate(widen(space, {"layers": [6.0]}), {"layers": 5.6}, {}) == {"layers": 6}


def test_what_is_inactive_today_is_left_out_and_not_assumed():
    assert without_inactive(SPACE, {"optimizer": "adam", "momentum": 0.9}) == {"optimizer": "adam"}
    assert without_inactive(SPACE, {"momentum": 0.9}) == {"momentum": 0.9}  # nobody says that it was not used
    assert assumed(SPACE, {"optimizer": "adam"}, {"momentum": 0.9}) == {}
    assert assumed(SPACE, {"optimizer": "sgd"}, {"momentum": 0.9}) == {"momentum": 0.9}
    assert assumed(SPACE, {"momentum": 0.1}, {"momentum": 0.9, "optimizer": "sgd"}) == {"optimizer": "sgd"}


def test_a_table_is_read_by_todays_choices_and_cells_without_a_place_become_empty():
    frame = pd.DataFrame(
        {"hp_lr": ["1e-3", "none", "5"], "hp_batch": [64.0, 32.0, 64.0], "hp_bias": ["true", "False", None]}
    )
    space = SearchSpace(
        (RATE, Categorical("batch", (64, 128), 64), Categorical("bias", (True, False), True), OPTIMIZER)
    )
    cells, wide = fit_table(frame, space)
    read = {hp.name: hp for hp in wide.hyperparameters}
    assert cells["hp_lr"].isna().tolist() == [False, True, False]
    assert read["lr"].high == 5.0
    assert read["batch"].choices == (64, 128, 32)
    assert cells["hp_bias"].tolist()[:2] == ["true", "False"]
    assert [hp.optional for hp in wide.hyperparameters] == [False, False, False, True]


@pytest.mark.parametrize("known", [{"lr": 1e-3}, {"lr": 1e-3, "optimizer": "sgd"}, {"optimizer": "adam", "lr": 5.0}])
def test_candidates_are_whole_configurations_of_today(known):
    searched = frozenset({"lr", "optimizer", "momentum"})
    found = candidates(SPACE, [(known, searched)], seed=0, count=10)
    assert len(found) == 10
    assert all(is_whole(SPACE, configuration) for configuration in found)
    is_inside = known["lr"] <= 0.1
    assert (known.items() <= found[0].items()) == is_inside


def test_a_configuration_is_whole_where_it_says_what_plays_a_role_and_nothing_else():
    assert is_whole(SPACE, {"lr": 1e-3, "optimizer": "sgd", "momentum": 0.5})
    assert not is_whole(SPACE, {"lr": 1e-3, "optimizer": "sgd"})
    assert not is_whole(SPACE, {"lr": 1e-3, "optimizer": "adam", "momentum": 0.5})
    assert not is_whole(SPACE, {"lr": 1.0, "optimizer": "adam"})
