import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from metaflow_hpo.adapters.observed_trials import read_observed_trials
from metaflow_hpo.adapters.past_trials.as_they_come import read_history_table, read_observed_table
from metaflow_hpo.adapters.past_trials.registry import find_table_source
from metaflow_hpo.adapters.trial_files import read_trial_table
from metaflow_hpo.cli import app
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.space import Categorical, Float, SearchSpace

SPACE = SearchSpace((Float("lr", 1e-4, 1.0, 0.1, log=True), Categorical("features", (None, "log2", "sqrt"), "sqrt")))


def optuna_lines(study):
    states = ["COMPLETE"] * 8 + ["PRUNED", "FAIL"]
    return [
        {
            "number": i,
            "value": None if state == "FAIL" else 0.5 if state == "PRUNED" else 0.6 + 0.01 * i,
            "datetime_start": "2026-11-30 12:25:02.302313",
            "duration": "0 days 00:00:00.026059",
            "params_features": ["", "log2", "sqrt"][i % 3],
            "params_lr": 0.1 / (i + 1),
            "state": state,
            "study": study,
        }
        for i, state in enumerate(states)
    ]


@pytest.fixture
def studies(tmp_path):
    path = tmp_path / "studies.csv"
    pd.DataFrame([line for name in ("iris", "wine", "digits") for line in optuna_lines(name)]).to_csv(path)
    return path


def test_optunas_export_is_read_where_the_direction_is_said(studies):
    found = read_trial_table(studies, lower_is_better=False)
    assert [task.task_id for task in found.tasks] == ["digits", "iris", "wine"]
    assert sum(len(task.positions) for task in found.tasks) == 27  # with the failed ones, which count as the worst
    assert any("3 of 30 trials were stopped" in note for note in found.notes)
    assert set(found.tasks[0].duration_s[found.tasks[0].performance > 0.6]) == {0.026059}


def test_what_cannot_be_known_is_asked_for_with_the_command_that_converts(studies):
    with pytest.raises(InvalidTableError, match=r"--lower-is-better or --higher-is-better.*import-trials optuna .*csv"):
        read_trial_table(studies)
    pd.read_csv(studies).drop(columns="study").to_csv(studies, index=False)
    with pytest.raises(InvalidTableError, match=r"--task-column COLUMN.*recommend --recommender FOLDER --trials"):
        read_trial_table(studies, lower_is_better=False)


def test_one_study_is_not_enough_and_the_message_says_what_is_meant(studies):
    frame = pd.read_csv(studies)
    frame[frame["study"] == "iris"].to_csv(studies, index=False)
    with pytest.raises(InvalidTableError, match=r"at least two families.*--recommender FOLDER --trials"):
        read_trial_table(studies, lower_is_better=False)


def test_one_study_is_read_as_observed_trials(studies):
    frame = pd.read_csv(studies, keep_default_na=False)
    frame[frame["study"] == "iris"].to_csv(studies, index=False)
    found = read_observed_table(studies, SPACE)
    assert found["status"].value_counts().to_dict() == {"ok": 8, "stopped": 1, "failed": 1}
    assert found["hp_features"].tolist()[1:3] == ["log2", "sqrt"]
    observed = read_observed_trials(studies, SPACE)
    assert [o.configuration["features"] for o in observed][:3] == [None, "log2", "sqrt"]
    assert [o.performance for o in observed][-2:] == [0.5, 0.6]  # the last value of the pruned one; the worst
    assert found["learning_curve"][8] == (0.5,)
    assert found["performance"].isna().sum() == 2


@pytest.mark.parametrize(
    ("columns", "source"),
    [
        (["run_id", "status", "params.lr", "metrics.acc", "tags.data"], "mlflow"),
        (["trial_id", "training_iteration", "config/lr", "val_acc", "logdir"], "ray"),
        (["param_gamma", "mean_test_score", "params"], "sklearn"),
        (["Name", "State", "Runtime", "lr", "acc"], "wandb"),
        (["trial_id", "st_tuner_time", "config_lr", "acc", "epoch"], "syne-tune"),
        (["Experiment", "rev", "typ", "acc", "lr"], "dvc"),
        (["experiment", "params_lr", "val_acc"], "csv"),
    ],
)
def test_tables_of_tools_are_recognised_by_their_columns(columns, source):
    assert find_table_source(pd.DataFrame(columns=columns)).name == source


def test_a_table_of_mlflow_asks_for_metric_and_direction(tmp_path):
    frame = pd.DataFrame({"run_id": "ab", "status": "FINISHED", "experiment_id": [1, 2], "params.lr": [0.1, 0.2]})
    frame.assign(**{"metrics.acc": [1, 2], "metrics.loss": [1, 2]}).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(InvalidTableError, match=r"the metric, its name.*--lower-is-better or.*import-trials mlflow"):
        read_history_table(tmp_path / "runs.csv")


def test_a_trial_table_is_left_alone_and_a_table_of_no_tool_gives_the_command(tmp_path):
    pd.DataFrame({"task_id": ["a", "b"], "hp_x": [1, 2], "performance": [1, 2]}).to_csv(tmp_path / "t.csv", index=False)
    assert read_history_table(tmp_path / "t.csv") is None
    pd.DataFrame({"a": [1, 2], "b": [1, 2]}).to_csv(tmp_path / "t.csv", index=False)
    for read in (read_history_table, lambda path: read_observed_table(path, SPACE)):
        with pytest.raises(InvalidTableError, match=r"found 'a', 'b'.*metaflow-hpo import-trials csv .*t.csv --metric"):
            read(tmp_path / "t.csv")


def test_a_file_that_is_no_table_gives_the_command_that_converts_it(tmp_path):
    runs = tmp_path / "runhistory.json"
    runs.write_text(json.dumps({"data": [], "configs": {}}, indent=2))
    with pytest.raises(InvalidTableError, match=r"metaflow-hpo import-trials smac .*runhistory.json --output"):
        read_history_table(runs)
    journal = tmp_path / "journal.log"
    journal.write_text('{"op_code":0,"study_name":"b","directions":[1]}\n')
    with pytest.raises(InvalidTableError, match="import-trials optuna"):
        read_observed_table(journal, SPACE)


def test_benchmark_takes_the_export_with_the_direction(studies):
    arguments = ["benchmark", str(studies), "--k", "1", "--recommenders", "portfolio,random", "--workers", "1"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InvalidTableError)
    result = CliRunner().invoke(app, [*arguments, "--higher-is-better", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["table"]["tasks"] == 3


def test_the_column_that_names_the_task_may_be_called_otherwise(studies, tmp_path):
    frame = pd.read_csv(studies, keep_default_na=False).rename(columns={"study": "dataset"})
    frame.to_csv(studies, index=False)
    assert read_trial_table(studies, lower_is_better=False).task_ids == ("digits", "iris", "wine")
    own = pd.DataFrame({"data": list("aabb"), "hp_x": [1, 2, 1, 2], "performance": [0.1, 0.2, 0.3, 0.1]})
    own.to_csv(tmp_path / "own.csv", index=False)
    assert read_trial_table(tmp_path / "own.csv", task_column="data").task_ids == ("a", "b")
    with pytest.raises(InvalidTableError, match="task_id"):
        read_trial_table(tmp_path / "own.csv")
