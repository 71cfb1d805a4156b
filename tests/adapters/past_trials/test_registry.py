import json

import pytest
from typer.testing import CliRunner

from metaflow_hpo.actions.past_trials import import_history, import_trials
from metaflow_hpo.adapters.past_trials.registry import SOURCES, get_source
from metaflow_hpo.adapters.past_trials.source import Found, Wanted
from metaflow_hpo.cli import app
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.history import History
from metaflow_hpo.testing import check_source


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"{t},{10.0**-i},{'ab'[i % 2]},{0.5 + 0.01 * i},{i}" for t in ("iris", "wine") for i in range(1, 7)]
    path.write_text("task,lr,opt,score,seed\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", SOURCES.names)
def test_every_source_can_be_made_and_is_named_as_it_is_asked_for(name):
    source = get_source(name)
    assert source.name == name
    assert callable(source.read)


def test_a_source_of_ones_own_is_found_by_its_address():
    assert get_source("metaflow_hpo.adapters.past_trials.csv:CsvSource").name == "csv"
    with pytest.raises(MetaflowHPOError, match="The source must be one of optuna, mlflow"):
        get_source("magic")


@pytest.mark.parametrize(
    ("name", "address", "wanted"),
    [
        ("ray", "ray", Wanted(metric="val_acc", mode="max")),
        ("keras-tuner", "keras_tuner", Wanted()),
        ("syne-tune", "syne_tune", Wanted()),
        ("tensorboard", "tensorboard", Wanted(metric="val_acc", mode="max")),
        ("dvc", "dvc.csv", Wanted(metric="val_acc", mode="max")),
        ("csv", "ray_iris.csv", Wanted(metric="val_acc", mode="max", task="name:iris")),
    ],
)
def test_sources_keep_the_contract_that_others_can_check(exports, name, address, wanted):
    check_source(get_source(name), exports / address, wanted)


def test_a_source_that_reads_nothing_does_not_keep_it(table):
    class Lazy:
        name = "lazy"

        def read(self, address, wanted):
            return Found([], "score", "max", "name:x")

    with pytest.raises(AssertionError, match="there are trials"):
        check_source(Lazy(), table)


def run(*arguments):
    return CliRunner().invoke(app, ["import-trials", *map(str, arguments)])


def test_the_command_writes_the_trials_and_says_what_was_kept_dropped_and_left_out(table, tmp_path):
    result = run("csv", table, "--mode", "max", "--output", tmp_path / "past.parquet", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["tasks"] == {"iris": 6, "wine": 6}
    assert answer["kept"] == {"ok": 12}
    assert answer["dropped"] == {}
    assert answer["left_out"] == {"seed": "a seed"}
    assert (answer["metric"], answer["direction"], answer["source"]) == ("score", "max", "csv")
    assert [hp["name"] for hp in answer["space"]] == ["lr", "opt"]
    shown = run("csv", table, "--mode", "max", "--output", tmp_path / "past.parquet")
    assert "12 trials of 2 tasks" in " ".join(shown.stdout.split())
    assert "a seed" in shown.stdout


def test_assumptions_features_and_names_to_leave_out_are_read_from_the_line(table, tmp_path):
    options = ["--assume", "dropout=0.5", "--assume", "kind=plain", "--leave-out", "opt, x", "--task", "name:all"]
    result = run("csv", table, "--mode", "min", *options, "--output", tmp_path / "p.parquet", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["tasks"] == {"all": 12}
    assert answer["left_out"]["opt"] == "left out as asked"
    assert "dropout = 0.5 was assumed in 12 trials that lack it." in answer["notes"]


def test_wrong_usage_is_told_before_anything_is_read(table, tmp_path):
    assert run("csv", table, "--mode", "max", "--output", tmp_path / "p.csv").exit_code == 2
    assert run("csv", table, "--mode", "best", "--output", tmp_path / "p.parquet").exit_code == 2
    assert run("csv", table, "--mode", "max", "--assume", "x", "--output", tmp_path / "p.parquet").exit_code == 2
    missing = run("csv", tmp_path / "none.csv", "--mode", "max", "--output", tmp_path / "p.parquet")
    assert isinstance(missing.exception, MetaflowHPOError)


def test_what_is_written_is_read_back_with_its_space_and_direction(table, tmp_path):
    assert run("csv", table, "--mode", "min", "--output", tmp_path / "sub" / "past.parquet").exit_code == 0
    history = History.read(tmp_path / "sub" / "past.parquet")
    assert history.lower_is_better
    assert history.task_ids == ("iris", "wine")
    assert history.performance.max() == -0.51
    assert history.space.to_json() == import_trials("csv", table, mode="min").space.to_json()
    assert import_history("csv", str(table), mode="min").configurations == history.configurations
    assert "No hyperparameters: seed (a seed)." in history.notes
