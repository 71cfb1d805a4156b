import math
import os

import pandas as pd
import pytest

from metaflow_hpo.adapters.tracking import keeping_global_address
from metaflow_hpo.errors import InvalidTableError

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Two experiments with a parent run and six children each, a run without the metric, and one that still runs."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    for data, rows in (("iris", 150), ("wine", 178)):
        experiment = client.create_experiment(f"tune {data}", artifact_location=str(folder / "artifacts"))
        parent = client.create_run(experiment, run_name=f"sweep {data}").info.run_id
        client.log_param(parent, "n_trials", 6)
        for i in range(6):
            tags = {"mlflow.parentRunId": parent, "data": data, "rows": str(rows)}
            run = client.create_run(experiment, tags=tags, run_name=f"t{i}").info.run_id
            parameters = {
                "lr": 10**-i,
                "opt": ["sgd", "adam"][i % 2],
                "layers": [64, 32] if i % 3 else [64],
                "clip": None if i < 2 else 0.5,
                "nesterov": bool(i % 2),
                "model.width/first": 8 * i,
                "seed": i,
                "data_path": f"/data/{data}",
                "epochs": 3,
                "note": "",
            }
            if i > 1:
                parameters["weight_decay"] = 0.1 * i
            for name, value in parameters.items():
                client.log_param(run, name, value)
            for step, value in enumerate((0.5, 0.7 - 0.01 * i, 0.55)):
                client.log_metric(run, "val_acc", math.nan if (i, step) == (4, 2) else value, step=step)
            client.log_metric(run, "loss", math.inf if i == 1 else 1.0 / (i + 1))
            client.set_terminated(run, "FAILED" if i == 5 else "FINISHED")
        client.set_terminated(parent)
        other = client.create_run(experiment).info.run_id
        client.log_param(other, "lr", 3)
        client.set_terminated(other)
        client.create_run(experiment)
    return uri


def test_runs_become_trials_with_the_last_value_unless_asked_for_another(database, read):
    found = read("mlflow", database, metric="val_acc", mode="max")
    assert found.kept == {"ok": 8, "failed": 4}
    assert found.dropped == {
        "a parent run, whose trials are its children": 2,
        "running: not finished": 2,
        "no value of val_acc": 2,
    }
    iris = found.frame[found.frame["task_id"] == "tune iris"].sort_values("hp_model.width/first")
    assert iris["performance"].tolist()[:4] == [0.55] * 4
    assert iris["status"].tolist() == ["ok"] * 4 + ["failed", "failed"]
    assert iris["reason"].tolist()[4:] == ["val_acc is nan", "failed"]
    assert [len(curve) for curve in iris["learning_curve"]] == [3, 3, 3, 3, 2, 3]
    best = read("mlflow", database, metric="val_acc", mode="max", at="best").frame
    assert best.groupby("task_id")["performance"].max().tolist() == [0.7, 0.7]
    first = read("mlflow", database, metric="val_acc", mode="max", at="0").frame
    assert first.loc[first["status"] == "ok", "performance"].eq(0.5).all()


def test_text_becomes_what_it_stands_for_and_what_is_no_hyperparameter_is_named(database, read, spaces):
    found = read("mlflow", database, metric="val_acc", mode="max")
    space = spaces(found)
    assert (space["lr"]["type"], space["lr"]["log"]) == ("float", True)
    assert space["layers"]["choices"] == ["[64, 32]", "[64]"]
    assert space["nesterov"]["choices"] == [False, True]
    assert space["clip"]["choices"] == [0.5, None]
    assert space["model.width/first"]["type"] == "int"
    assert found.left_out == {
        "seed": "a seed",
        "data_path": "a path",
        "epochs": "constant: 3",
    }


def test_runs_older_than_a_parameter_lack_it_or_are_assumed_to_have_had_a_value(database, read):
    known = read("mlflow", database, metric="val_acc", mode="max").frame
    assert known["hp_weight_decay"].isna().sum() == 4
    assumed = read("mlflow", database, metric="val_acc", mode="max", assume={"weight_decay": 0.0})
    assert assumed.frame["hp_weight_decay"].eq(0.0).sum() == 4
    assert "weight_decay = 0.0 was assumed in 4 trials that lack it." in assumed.notes


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("experiment", {"tune iris", "tune wine"}),
        ("parent", {"sweep iris", "sweep wine"}),
        ("tag:data", {"iris", "wine"}),
        ("param:data_path", {"/data/iris", "/data/wine"}),
        ("data", {"iris", "wine"}),
        ("name:all", {"all"}),
    ],
)
def test_a_task_is_an_experiment_a_parent_a_tag_or_a_parameter(database, read, task, names):
    assert set(read("mlflow", database, metric="val_acc", mode="max", task=task).frame["task_id"]) == names


def test_tags_describe_tasks_and_another_metric_is_read_from_the_same_runs(database, read):
    found = read("mlflow", database, metric="loss", mode="min", features=["tag:rows"], only="*iris")
    assert found.direction == "min"
    assert found.frame["mf_rows"].eq(150).all()
    assert set(found.frame["task_id"]) == {"tune iris"}
    assert found.frame["reason"].tolist().count("loss is inf") == 1


def test_the_metrics_that_there_are_are_listed(database, read):
    with pytest.raises(InvalidTableError, match="--metric NAME, its name, one of 'loss', 'val_acc'; --mode max"):
        read("mlflow", database)
    with pytest.raises(InvalidTableError, match="No trial has the metric 'accuracy'; found 'loss', 'val_acc'"):
        read("mlflow", database, metric="accuracy", mode="max")
    with pytest.raises(InvalidTableError, match="Expected experiments named nothing"):
        read("mlflow", database, only="nothing")
    with pytest.raises(InvalidTableError, match="Expected --at last, best or a step"):
        read("mlflow", database, metric="val_acc", mode="max", at="end")


def test_a_table_of_search_runs_is_read_as_the_runs_are(database, read, tmp_path):
    with keeping_global_address():
        mlflow.set_tracking_uri(database)
        table = mlflow.search_runs(search_all_experiments=True)
    table.to_csv(tmp_path / "runs.csv", index=False)
    for address in (table, tmp_path / "runs.csv"):
        found = read("mlflow", address, metric="val_acc", mode="max", task="tag:data")
        assert found.kept["ok"] == 8
        assert found.frame["duration_s"].notna().all()


def test_runs_of_optunas_callback_tell_the_truth_in_their_tags(tmp_path, read, spaces):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("study", artifact_location=str(tmp_path))
    for i, state in enumerate(["COMPLETE", "FAIL", "PRUNED", "COMPLETE"]):
        tags = {
            "state": state,
            "direction": "MINIMIZE",
            "lr_distribution": "FloatDistribution(high=0.1, log=True, low=1e-05, step=None)",
            "opt_distribution": "CategoricalDistribution(choices=('sgd', 'adam', None))",
        }
        run = client.create_run(experiment, tags=tags).info.run_id
        client.log_param(run, "lr", 10.0 ** -(i + 2))
        client.log_param(run, "opt", "sgd")
        if state != "FAIL":
            client.log_metric(run, "value", i)
        client.set_terminated(run, "FINISHED")
    found = read("mlflow", uri)
    assert found.direction == "min"
    assert found.kept == {"ok": 2, "failed": 1, "stopped": 1}
    assert (spaces(found)["lr"]["low"], spaces(found)["lr"]["high"], spaces(found)["lr"]["log"]) == (1e-5, 0.1, True)
    assert spaces(found)["opt"]["choices"] == ["sgd", "adam", None]


def test_a_folder_is_read_though_mlflow_keeps_them_for_old_data_only(tmp_path, monkeypatch, read):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.create_experiment("iris")
    for i in range(3):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "lr", 10.0**-i)
        client.log_metric(run, "acc", i / 4)
        client.set_terminated(run)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    found = read("mlflow", tmp_path / "mlruns", mode="max")
    assert sorted(found.frame["performance"]) == [0.0, 0.25, 0.5]
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ


def test_a_database_that_is_not_there_is_not_made(tmp_path, read):
    with pytest.raises(InvalidTableError, match="there is no"):
        read("mlflow", f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(InvalidTableError, match="there is no"):
        read("mlflow", tmp_path / "mlruns")
    assert not list(tmp_path.iterdir())


def test_nested_runs_without_a_parent_are_grouped_by_their_experiment(read):
    runs = pd.DataFrame(
        {
            "run_id": [f"r{i}" for i in range(8)],
            "experiment_id": ["1"] * 4 + ["2"] * 4,
            "status": ["FINISHED"] * 8,
            "metrics.val_acc": [0.1 * i for i in range(8)],
            "params.lr": [str(10.0**-i) for i in range(8)],
            "tags.mlflow.parentRunId": ["p"] * 4 + [None] * 4,
        }
    )
    found = read("mlflow", runs, metric="val_acc", mode="max")
    assert found.frame["task_id"].value_counts().to_dict() == {"1": 4, "2": 4}
    by_parent = read("mlflow", runs, metric="val_acc", mode="max", task="tag:mlflow.parentRunId")
    assert by_parent.frame["task_id"].unique().tolist() == ["p"]
    assert by_parent.dropped == {"no tag:mlflow.parentRunId that names the task": 4}
