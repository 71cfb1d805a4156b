import json
from dataclasses import asdict, replace

import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import Metric
from metaflow_hpo.task import Task

TASK = Task(
    task_id="iris",
    family="flowers",
    kind="multiclass",
    modality="table",
    metric=Metric.read("balanced_accuracy"),
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


def test_a_task_survives_json():
    assert Task.from_dict(json.loads(json.dumps(TASK.to_dict()))) == TASK


def test_notes_may_be_absent():
    fields = {name: value for name, value in asdict(TASK).items() if name != "notes"}
    assert Task.from_dict(fields) == replace(TASK, notes=())


def test_a_metric_of_ones_own_survives_json():
    task = replace(TASK, metric=Metric("seconds", "min", low=0.0))
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_a_task_without_a_modality_is_a_table():
    fields = {name: value for name, value in TASK.to_dict().items() if name != "modality"}
    assert Task.from_dict(fields) == TASK


def test_what_only_tables_have_may_be_left_out():
    task = Task(task_id="a", family="a", modality="opaque", metric=TASK.metric, licence="CC0", source="a", sha256="0")
    assert (task.rows, task.columns, task.kind, task.target) == (0, 0, "", "")


def test_a_number_to_predict_is_a_regression():
    assert replace(TASK, kind="regression", classes=0).is_regression
    assert not TASK.is_regression


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": "Iris"}, "task_id must match.*got 'Iris'"),
        ({"task_id": "../iris"}, "task_id must match"),
        ({"task_id": ""}, "task_id must match"),
        ({"task_id": "a" * 81}, "task_id must match"),
        ({"metric": "r2"}, "iris: expected a Metric; got 'r2'"),
        ({"modality": ""}, "'iris' has no modality"),
        ({"family": ""}, "'iris' has no family"),
        ({"licence": ""}, "'iris' has no licence"),
        ({"source": ""}, "'iris' has no source"),
        ({"test_rows": -1}, "impossible sizes, 4 rows, -1 test rows"),
        ({"test_rows": 5}, "impossible sizes"),
        ({"columns": -1}, "impossible sizes"),
    ],
)
def test_an_impossible_task_is_refused(change, message):
    with pytest.raises(InvalidTaskError, match=message):
        replace(TASK, **change)
