from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import KNOWN_METRICS
from metaflow_hpo.modalities.table.metrics import METRICS, curve_metric
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.task import Task

TASK = Task(
    task_id="iris",
    family="flowers",
    modality="table",
    kind="multiclass",
    metric=KNOWN_METRICS["balanced_accuracy"],
    target="species",
    licence="CC0",
    source="inbox/iris.csv",
    sha256="0" * 64,
    rows=4,
    columns=2,
    classes=3,
    test_rows=1,
)


def make_data(**changes):
    fields = {
        "task": TASK,
        "features": pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", None, "x"]}),
        "target": np.array([0, 1, 2, 0]),
        "is_test": np.array([False, True, False, False]),
        "class_names": ("setosa", "versicolor", "virginica"),
    }
    return TableData(**{**fields, **changes})


def test_the_first_metric_of_a_kind_is_its_default():
    assert {kind: metrics[0].name for kind, metrics in METRICS.items()} == {
        "binary": "balanced_accuracy",
        "multiclass": "balanced_accuracy",
        "regression": "r2",
    }
    assert curve_metric("regression") == KNOWN_METRICS["r2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ranking"}, "kind must be one of binary, multiclass, regression; got 'ranking'"),
        ({"metric": KNOWN_METRICS["r2"]}, "Expected a metric of a multiclass task .balanced_accuracy.*got 'r2'"),
        ({"target": ""}, "'iris' has no target"),
        ({"test_rows": 0}, "impossible sizes of a table, 4 rows, 0 test rows"),
        ({"test_rows": 4}, "impossible sizes"),
        ({"columns": 0}, "impossible sizes"),
    ],
)
def test_an_impossible_table_is_refused(change, message):
    with pytest.raises(InvalidTaskError, match=message):
        make_data(task=replace(TASK, **change))


def test_rows_are_split_as_marked():
    data = make_data()
    assert data.train_features["a"].tolist() == [1.0, 3.0, 4.0]
    assert data.train_features.index.tolist() == [0, 1, 2]
    assert data.train_target.tolist() == [0, 2, 0]
    assert data.test_features["b"].tolist() == ["y"]
    assert data.test_features.index.tolist() == [0]
    assert data.test_target.tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": pd.DataFrame({"a": [1.0]})}, "4 rows announced; found 1 of features, 4 of target and 4 of split"),
        ({"target": np.array([0, 1])}, "found 4 of features, 2 of target"),
        ({"is_test": np.array([True])}, "1 of split"),
    ],
)
def test_rows_that_do_not_fit_the_description_are_refused(change, message):
    with pytest.raises(InvalidTaskError, match=message):
        make_data(**change)
