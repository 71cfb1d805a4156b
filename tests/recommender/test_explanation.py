import numpy as np
import pytest

from metaflow_hpo.recommender.explanation import SHOWN, explain


@pytest.fixture
def row(meta):
    return meta.meta_features[0]


@pytest.fixture
def typical(meta):
    return np.median(meta.meta_features, axis=0)


def predict(surrogate, row, configuration):
    return float(surrogate.predict(row[None, :], surrogate.space.encode([configuration])).mean[0, 0])


def test_the_default_needs_no_explanation(surrogate, row, typical):
    found = explain(surrogate, row, typical, surrogate.space.default)
    assert found == {"hyperparameters": [], "meta_features": []}


def test_a_hyperparameter_counts_by_what_its_default_would_cost(surrogate, row, typical):
    default = surrogate.space.default
    changed = {**default, "learning_rate": 0.02, "width": 32}
    found = {d["name"]: d for d in explain(surrogate, row, typical, changed)["hyperparameters"]}
    assert set(found) == {"learning_rate", "width"}
    expected = predict(surrogate, row, changed) - predict(surrogate, row, {**changed, "width": default["width"]})
    assert found["width"]["effect"] == pytest.approx(expected, abs=1e-6)
    assert (found["width"]["value"], found["width"]["default"]) == (32, default["width"])


def test_what_another_choice_switches_off_goes_with_it(surrogate, row, typical):
    default = surrogate.space.default
    sgd = {**default, "optimizer": "sgd", "momentum": 0.5}
    found = explain(surrogate, row, typical, sgd)["hyperparameters"]
    assert [d["name"] for d in found] == ["optimizer"]
    expected = predict(surrogate, row, sgd) - predict(surrogate, row, default)
    assert found[0]["effect"] == pytest.approx(expected, abs=1e-6)


def test_a_meta_feature_counts_by_the_gain_that_vanishes_when_it_is_typical(surrogate, row, typical):
    changed = {**surrogate.space.default, "learning_rate": 0.05}
    found = explain(surrogate, row, typical, changed)["meta_features"]
    assert 0 < len(found) <= SHOWN
    assert [abs(d["effect"]) for d in found] == sorted((abs(d["effect"]) for d in found), reverse=True)
    first = found[0]
    ordinary = row.copy()
    ordinary[surrogate.meta_feature_names.index(first["name"])] = first["typical"]

    def gain(task):
        return predict(surrogate, task, changed) - predict(surrogate, task, surrogate.space.default)

    assert first["effect"] == pytest.approx(gain(row) - gain(ordinary), abs=1e-6)


def test_a_typical_task_adds_nothing(surrogate, typical):
    changed = {**surrogate.space.default, "learning_rate": 0.05}
    assert explain(surrogate, typical, typical, changed)["meta_features"] == []
