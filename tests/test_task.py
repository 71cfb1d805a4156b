import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.task import METRICS, Task, TaskData

TASK = Task(
    task_id="iris",
    family="flowers",
    kind="multiclass",
    metric="balanced_accuracy",
    target="species",
    licence="CC0",
    source="inbox/iris.csv",
    sha256="0" * 64,
    rows=4,
    columns=2,
    classes=3,
    test_rows=1,
    notes=("dropped 1 constant column",),
)


def make_data(**changes):
    fields = {
        "task": TASK,
        "features": pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", None, "x"]}),
        "target": np.array([0, 1, 2, 0]),
        "is_test": np.array([False, True, False, False]),
        "class_names": ("setosa", "versicolor", "virginica"),
    }
    return TaskData(**{**fields, **changes})


def test_a_task_survives_json():
    assert Task.from_dict(json.loads(json.dumps(TASK.to_dict()))) == TASK


def test_notes_may_be_absent():
    fields = {name: value for name, value in asdict(TASK).items() if name != "notes"}
    assert Task.from_dict(fields) == replace(TASK, notes=())


def test_the_first_metric_of_a_kind_is_its_default():
    assert {kind: metrics[0] for kind, metrics in METRICS.items()} == {
        "binary": "balanced_accuracy",
        "multiclass": "balanced_accuracy",
        "regression": "r2",
    }


def test_a_number_to_predict_is_a_regression():
    assert replace(TASK, kind="regression", metric="rmse", classes=0).is_regression
    assert not TASK.is_regression


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": "Iris"}, "task_id must match.*got 'Iris'"),
        ({"task_id": "../iris"}, "task_id must match"),
        ({"task_id": ""}, "task_id must match"),
        ({"task_id": "a" * 81}, "task_id must match"),
        ({"kind": "ranking"}, "kind must be one of binary, multiclass, regression; got 'ranking'"),
        ({"metric": "r2"}, "metric of a multiclass task must be one of"),
        ({"family": ""}, "'iris' has no family"),
        ({"licence": ""}, "'iris' has no licence"),
        ({"source": ""}, "'iris' has no source"),
        ({"target": ""}, "'iris' has no target"),
        ({"test_rows": 0}, "impossible sizes"),
        ({"test_rows": 4}, "impossible sizes"),
        ({"columns": 0}, "impossible sizes"),
    ],
)
def test_an_impossible_task_is_refused(change, message):
    with pytest.raises(InvalidTaskError, match=message):
        replace(TASK, **change)


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
