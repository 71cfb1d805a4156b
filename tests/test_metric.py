import json
import math

import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import KNOWN_METRICS, Metric

SECONDS = Metric("seconds", "min", low=0.0, chance=12.0)


@pytest.mark.parametrize(
    ("metric", "value", "performance"),
    [
        ("balanced_accuracy", 0.7, 0.7),
        ("accuracy", 0.7, 0.7),
        ("log_loss", 0.7, -0.7),
        ("rmse", 3.0, -3.0),
        ("r2", 0.7, 0.7),
        ("r2", -5.0, 0.0),
    ],
)
def test_higher_performance_is_better_for_every_metric(metric, value, performance):
    assert Metric.read(metric).orient(value) == performance


def test_a_performance_is_turned_back_into_a_value():
    assert SECONDS.restore(SECONDS.orient(3.0)) == 3.0
    assert Metric("auc").restore(0.7) == 0.7


def test_only_a_floored_metric_counts_worse_values_as_the_worst():
    assert Metric("nash", low=0.0, high=1.0, floored=True).orient(-3.0) == 0.0
    assert Metric("nash", low=0.0, high=1.0).orient(-3.0) == -3.0
    assert Metric("error", "min", low=0.0, high=1.0, floored=True).orient(7.0) == -1.0


@pytest.mark.parametrize(
    ("metric", "bounds", "ends"),
    [
        (KNOWN_METRICS["accuracy"], (0.0, 1.0), (0.0, 1.0)),
        (KNOWN_METRICS["rmse"], None, (-math.inf, 0.0)),
        (Metric("loss", "min"), None, (-math.inf, math.inf)),
        (Metric("error", "min", low=0.0, high=100.0), (-100.0, 0.0), (-100.0, 0.0)),
        (Metric("hits", low=0.0), None, (0.0, math.inf)),
    ],
)
def test_bounds_are_those_of_the_performance(metric, bounds, ends):
    assert metric.bounds == bounds
    assert metric.is_bounded == (bounds is not None)
    assert (metric.lowest, metric.highest) == ends


@pytest.mark.parametrize(
    ("metric", "performance", "admitted"),
    [("accuracy", 0.5, True), ("accuracy", 98.5, False), ("accuracy", -0.1, False), ("r2", -3.0, True),
     ("r2", 1.5, False), ("rmse", -3.0, True), ("rmse", 3.0, False), ("log_loss", math.nan, False)],
)  # fmt: skip
def test_a_performance_that_cannot_be_is_told(metric, performance, admitted):
    assert Metric.read(metric).admits(performance) == admitted


def test_guessing_is_known_by_classes_as_a_number_or_not_at_all():
    assert KNOWN_METRICS["balanced_accuracy"].guessing(4) == 0.25
    assert KNOWN_METRICS["balanced_accuracy"].guessing() is None
    assert KNOWN_METRICS["r2"].guessing(4) == 0.0
    assert KNOWN_METRICS["rmse"].guessing() is None
    assert SECONDS.guessing() == -12.0


@pytest.mark.parametrize("metric", [*KNOWN_METRICS.values(), SECONDS, Metric("r2", "max")], ids=str)
def test_a_metric_survives_json_and_text(metric):
    assert Metric.read(json.loads(json.dumps(metric.to_json()))) == metric
    assert Metric.read(metric.to_text()) == metric


def test_a_known_metric_is_written_by_its_name_and_another_one_in_full():
    assert KNOWN_METRICS["r2"].to_json() == "r2"
    assert SECONDS.to_json() == {
        "name": "seconds", "direction": "min", "low": 0.0, "high": None, "chance": 12.0, "floored": False
    }  # fmt: skip


def test_a_metric_is_read_by_name_from_fields_or_as_it_is():
    assert Metric.read({"name": "accuracy"}) is KNOWN_METRICS["accuracy"]
    assert Metric.read({"name": "auc", "direction": "max", "low": 0, "high": 1, "chance": 0.5}).guessing() == 0.5
    assert Metric.read(SECONDS) is SECONDS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("f1", "Expected a metric among accuracy.*got 'f1'.*direction: max"),
        ({"name": "f1"}, "Expected a metric among"),
        ({"name": "f1", "low": 0}, "Expected `direction: max` or `direction: min` of the metric 'f1'"),
        ({"direction": "max"}, "as its name, or as .*found \\['direction'\\]"),
        ({"name": "f1", "direction": "max", "best": 1}, "found \\['best', 'direction', 'name'\\]"),
        ([1], "found \\[1\\]"),
        ({"name": "", "direction": "max"}, "Expected the name of a metric; got ''"),
        ({"name": "f1", "direction": "up"}, "Expected direction `max` or `min` of 'f1'; got 'up'"),
        ({"name": "f1", "direction": "max", "low": "0"}, "Expected a finite number as low.*got '0'"),
        ({"name": "f1", "direction": "max", "chance": "half"}, "Expected a finite number as chance.*got 'half'"),
        ({"name": "f1", "direction": "max", "high": math.inf}, "Expected a finite number as high.*got inf"),
        ({"name": "f1", "direction": "max", "low": 1, "high": 1}, "Expected low < high.*got 1 and 1"),
        ({"name": "f1", "direction": "max", "low": 0, "high": 1, "chance": 3}, "Expected chance of 'f1' from 0 to 1"),
    ],
)
def test_what_is_no_metric_is_refused(values, message):
    with pytest.raises(InvalidTaskError, match=message):
        Metric.read(values)
