import json
import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace, configuration_id

SPACE = SearchSpace(
    (
        Float("learning_rate", 1e-4, 1e-1, 1e-3, log=True),
        Float("dropout", 0.0, 0.6, 0.1),
        Categorical("optimizer", ("sgd", "adam", "adamw"), "adam"),
        Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",))),
        Categorical("nesterov", ("yes", "no"), "no", condition=Condition("optimizer", ("sgd",))),
        Integer("width", 16, 256, 128, log=True),
        Integer("layers", 1, 4, 2),
    )
)
units = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7).map(lambda row: np.array([row]))


@given(units)
def test_every_point_of_the_unit_cube_is_a_canonical_configuration(row):
    (configuration,) = SPACE.from_unit(row)
    assert SPACE.validate(configuration) == configuration
    assert list(SPACE.validate(configuration)) == list(configuration)


@given(units)
def test_decoding_an_encoded_configuration_gives_it_back(row):
    configurations = SPACE.from_unit(row)
    assert SPACE.decode(SPACE.encode(configurations)) == configurations


@given(units)
def test_the_way_to_the_unit_cube_and_back_is_exact(row):
    configurations = SPACE.from_unit(row)
    assert SPACE.from_unit(SPACE.to_unit(configurations)) == configurations


@given(units)
def test_encodings_lie_between_zero_and_one(row):
    encoded = SPACE.encode(SPACE.from_unit(row))
    assert encoded.shape == (1, len(SPACE.encoded_names))
    assert ((encoded >= 0) & (encoded <= 1)).all()


@given(units)
def test_a_configuration_survives_json_with_its_id(row):
    (configuration,) = SPACE.from_unit(row)
    again = json.loads(json.dumps(dict(configuration)))
    assert configuration_id(SPACE.validate(again)) == configuration_id(configuration)


def test_a_space_survives_json():
    assert SearchSpace.from_json(json.loads(json.dumps(SPACE.to_json()))) == SPACE


def test_the_default_holds_active_hyperparameters_only():
    default = {"learning_rate": 1e-3, "dropout": 0.1, "optimizer": "adam", "width": 128, "layers": 2}
    assert SPACE.default == default
    assert SPACE.is_active("momentum", {"optimizer": "sgd"})
    assert not SPACE.is_active("momentum", default)


def test_encoded_columns_have_names_and_hand_computed_values():
    space = SearchSpace(
        (
            Float("rate", 0.01, 1.0, 0.1, log=True),
            Categorical("kind", ("a", "b"), "a"),
            Float("extra", 0.0, 2.0, 0.5, condition=Condition("kind", ("b",))),
        )
    )
    assert space.encoded_names == ("rate", "kind=a", "kind=b", "extra", "extra?")
    encoded = space.encode([{"rate": 0.1, "kind": "a"}, {"rate": 1.0, "kind": "b", "extra": 1.5}])
    np.testing.assert_allclose(encoded, [[0.5, 1, 0, 0.25, 0], [1, 0, 1, 0.75, 1]])


def test_an_inactive_choice_is_encoded_as_zeros():
    row = dict(zip(SPACE.encoded_names, SPACE.encode([SPACE.default])[0], strict=True))
    assert (row["nesterov=yes"], row["nesterov=no"], row["nesterov?"]) == (0, 0, 0)


def test_each_value_of_a_linear_integer_has_the_same_share():
    layers = Integer("layers", 1, 4, 2)
    values = [layers.from_unit(unit) for unit in (np.arange(400) + 0.5) / 400]
    assert [values.count(value) for value in (1, 2, 3, 4)] == [100] * 4


def test_the_middle_of_a_logarithmic_range_is_the_geometric_mean():
    assert Float("x", 1e-4, 1.0, 0.1, log=True).from_unit(0.5) == 0.01


def test_values_are_rounded_to_six_digits():
    assert Float("x", 0.0, 1.0, 0.5).check(1 / 3) == 0.333333
    assert Float("x", 0.0, 1.0, 0.5).from_unit(1 / 3) == 0.333333


def test_an_id_depends_on_the_content_and_not_on_the_order():
    assert configuration_id({"a": 1, "b": "x"}) == configuration_id({"b": "x", "a": 1})
    assert configuration_id({"a": 1}) != configuration_id({"a": 2})
    assert len(configuration_id({"a": 1})) == 12


@pytest.mark.parametrize("size", [1, 2, 5, 20, 100])
def test_a_grid_stays_within_its_size_and_is_distinct_and_valid(size):
    grid = SPACE.grid(size)
    assert 1 <= len(grid) <= size
    assert len({configuration_id(configuration) for configuration in grid}) == len(grid)
    assert [SPACE.validate(configuration) for configuration in grid] == grid


def test_a_grid_of_one_is_the_default():
    assert SPACE.grid(1) == [SPACE.default]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1.0}, "learning_rate must be in"),
        ({"learning_rate": math.nan}, "learning_rate must be in"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"learning_rate": True}, "learning_rate must be a number"),
        ({"layers": 2.5}, "layers must be a whole number"),
        ({"layers": 5}, "layers must be a whole number in"),
        ({"layers": math.inf}, "layers must be a whole number in"),
        ({"layers": "2"}, "layers must be a whole number"),
        ({"optimizer": "lion"}, "optimizer must be one of sgd, adam, adamw; got 'lion'"),
        ({"momentum": 0.9}, "'momentum' is only used where optimizer is one of sgd"),
        ({"colour": "red"}, "Unknown hyperparameters \\['colour'\\]"),
        ({"optimizer": "sgd"}, "misses 'momentum'"),
    ],
)
def test_a_configuration_outside_the_space_is_refused(change, message):
    with pytest.raises(SearchSpaceMismatchError, match=message):
        SPACE.validate({**SPACE.default, **change})


def test_whole_floats_become_integers():
    validated = SPACE.validate({**SPACE.default, "layers": 3.0, "width": np.int64(64)})
    assert (type(validated["layers"]), validated["width"]) == (int, 64)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Float("x", 1.0, 0.0, 0.5), "low < high"),
        (lambda: Float("x", 0.0, 1.0, 2.0), "default between"),
        (lambda: Float("x", 0.0, 1.0, 0.5, log=True), "needs low > 0"),
        (lambda: Integer("x", 1, math.inf, 2), "low < high"),
        (lambda: Categorical("x", ("a", "a"), "a"), "distinct choices"),
        (lambda: Categorical("x", ("a",), "b"), "with its default"),
        (lambda: Categorical("x", (), "b"), "distinct choices"),
        (lambda: Condition("x", ()), "at least one value"),
        (lambda: SearchSpace((Float("x", 0, 1, 0), Float("x", 0, 1, 0))), "defined twice"),
        (lambda: SearchSpace((Float("x", 0, 1, 0, condition=Condition("y", ("a",))),)), "depends on 'y'"),
        (lambda: SearchSpace.from_json([{"type": "real", "name": "x"}]), "Unknown type 'real'"),
        (lambda: SearchSpace.from_json([{"type": "float", "name": "x"}]), "needs type, name, default"),
        (lambda: SPACE.from_unit(np.zeros((2, 3))), "shape \\(N, 7\\)"),
    ],
)
def test_an_impossible_space_is_refused(build, message):
    with pytest.raises(SearchSpaceMismatchError, match=message):
        build()


MIXED = (1, True, "1", None, 0.5, "sgd", "null", "true", "NA", "a b", "-x")


def test_one_true_and_text_are_distinct_choices_with_distinct_ids():
    space = SearchSpace((Categorical("c", MIXED, None),))
    configurations = [space.validate({"c": choice}) for choice in MIXED]
    assert [json.dumps(c["c"]) for c in configurations] == [json.dumps(choice) for choice in MIXED]
    assert len({configuration_id(c) for c in configurations}) == len(MIXED)
    decoded = space.decode(space.encode(configurations))
    assert [json.dumps(c["c"]) for c in decoded] == [json.dumps(choice) for choice in MIXED]
    back = space.from_unit(space.to_unit(configurations))
    assert [json.dumps(c["c"]) for c in back] == [json.dumps(choice) for choice in MIXED]
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space
    assert len(space.grid(50)) == len(MIXED)


def test_a_numpy_value_is_the_choice_that_it_equals():
    hp = Categorical("c", (False, 16, 0.5), 16)
    assert [hp.check(value) for value in (np.bool_(False), np.int64(16), np.float64(0.5), 16.0)] == [False, 16, 0.5, 16]
    with pytest.raises(SearchSpaceMismatchError, match=r"c must be one of False, 16, 0\.5; got 0"):
        hp.check(0)


def test_a_condition_on_true_does_not_hold_for_one():
    space = SearchSpace((Categorical("a", (1, True), 1), Float("b", 0.0, 1.0, 0.5, condition=Condition("a", (True,)))))
    assert space.default == {"a": 1}
    assert space.validate({"a": True, "b": 0.25}) == {"a": True, "b": 0.25}


@pytest.mark.parametrize("choices", [(1, 1.0), (True, np.True_), ("a", "a"), (math.nan, 1), ((1,), 2)])
def test_choices_that_cannot_be_told_apart_or_are_no_values_are_refused(choices):
    with pytest.raises(SearchSpaceMismatchError, match=r"distinct choices|must be text, finite numbers"):
        Categorical("c", choices, choices[0])


YAML = """
lr: {type: float, low: 1e-5, high: 0.1, log: true, default: 1e-3}
layers: {type: int, low: 1, high: 5}
momentum: {type: float, low: 0, high: 0.99, when: {optimizer: [sgd]}}
width: {type: int, low: 16, high: 1024, log: true}
optimizer: [sgd, adam]
augment: [true, false, null, 1]
dropout: {choices: [0, 0.25], default: 0.25}
"""


def test_a_space_is_read_by_name_in_any_order_with_middles_as_defaults():
    space = SearchSpace.read(yaml.safe_load(YAML))
    assert space.hyperparameters == (
        Float("lr", 1e-5, 0.1, 1e-3, log=True),
        Integer("layers", 1, 5, 3),
        Integer("width", 16, 1024, 128, log=True),
        Categorical("optimizer", ("sgd", "adam"), "sgd"),
        Float("momentum", 0.0, 0.99, 0.495, condition=Condition("optimizer", ("sgd",))),
        Categorical("augment", (True, False, None, 1), True),
        Categorical("dropout", (0, 0.25), 0.25),
    )
    assert space.hyperparameters[5].choices[0] is True
    assert SearchSpace.read(space) is space
    assert SearchSpace.read(space.to_json()) == space
    assert SearchSpace.read(space.hyperparameters) == space


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": {"type": "float", "low": 0, "hihg": 1}}, r"Unknown fields \['hihg'\] of 'a'; a float has"),
        ({"a": {"type": "float", "low": 0}}, "a misses 'high'"),
        ({"a": {"low": 0, "high": 1}}, "a misses 'type'"),
        ({"a": {"type": "real", "low": 0, "high": 1}}, "Unknown type 'real' of 'a'"),
        (
            {"a": {"type": "float", "low": "zero", "high": 1}},
            "Expected numbers as range and default of 'a'; got 'zero'",
        ),
        ({"a": {"type": "float", "low": 1, "high": 0}}, "a needs low < high"),
        ({"a": {"type": "int", "low": 1, "high": 2.5}}, "Expected whole numbers as range and default of 'a'; got 2.5"),
        ({"a": {"type": "float", "low": 0, "high": 1, "log": "yes"}}, "Expected log of 'a' as true or false"),
        ({"a": 3}, "Expected a as a list of choices or as"),
        ({"a": []}, "Expected choices of 'a' as a list"),
        ({"a": ["x"], "b": {"choices": [1], "when": ["a"]}}, r"Expected `when` of 'b' as \{parent"),
        ({"a": ["x"], "b": {"choices": [1], "when": {"c": ["x"]}}}, "'b' depends on 'c'"),
        (
            {"a": {"choices": [1], "when": {"b": [1]}}, "b": {"choices": [1], "when": {"a": [1]}}},
            "depend on each other",
        ),
        ([], "Expected a search space as"),
        ("lr", "Expected a search space as"),
        ([3], "Expected a search space as"),
        ({}, "at least one hyperparameter"),
    ],
)
def test_a_space_that_cannot_be_read_says_what_is_wrong(values, message):
    with pytest.raises(SearchSpaceMismatchError, match=message):
        SearchSpace.read(values)
