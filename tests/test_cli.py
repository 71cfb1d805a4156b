"""The command line without a project: exit codes and messages that need nothing trained.

What needs a champion is tested in orchestration/test_cli.py.
"""

import json
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from metaflow_hpo import cli


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(folder))
    return folder


def call(capsys, monkeypatch, *arguments):
    """Call the program as the console script does; return exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame({"a": range(40), "b": [1.5, 2.5] * 20, "y": ["p", "q"] * 20}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "command", ["", "recommend", "train", "search", "fit", "evaluate", "status", "step", "report", "demo", "unpack"]
)
def test_help_ends_in_a_command_to_try(command):
    done = CliRunner().invoke(cli.app, [*filter(None, [command]), "--help"])
    assert done.exit_code == 0
    assert f"Try: metaflow-hpo {command or 'demo'}" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "other"), "other"),
        ((), "--target|y"),
    ],
)
def test_the_target_is_asked_for_only_where_it_cannot_be_told(capsys, monkeypatch, table, arguments, message):
    frame = pd.read_csv(table).rename(columns={"y": "outcome"})
    frame.to_csv(table, index=False)
    code, out, err = call(capsys, monkeypatch, "describe", table, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert any(part in err for part in message.split("|"))


def test_files_that_are_no_table_are_refused_by_name(capsys, monkeypatch, tmp_path, table):
    cut = tmp_path / "cut.parquet"
    pd.read_csv(table).to_parquet(cut)
    cut.write_bytes(cut.read_bytes()[:-40])
    for path in (tmp_path / "none.csv", cut, tmp_path):
        code, out, err = call(capsys, monkeypatch, "recommend", path, "--target", "y", "--json")
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert path.name in err
        assert "Traceback" not in err


def test_a_constant_target_is_refused(capsys, monkeypatch, table):
    pd.read_csv(table).assign(y="same").to_csv(table, index=False)
    code, out, err = call(capsys, monkeypatch, "train", table, "--target", "y", "--json")
    assert (code, out) == (1, "")
    assert "'same' on all 40 rows" in err


def test_a_wrong_setting_is_named_with_its_value(capsys, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_CORE_TRIALS", "many")
    code, out, err = call(capsys, monkeypatch, "status", "--json")
    assert (code, out) == (1, "")
    assert "core_trials" in err
    assert "'many'" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--colour"],
        ["recommend"],
        ["step", "nothing"],
        ["step", "champion", "--max-task-rows", "9"],
        ["nothing"],
        ["search", "x", "--trials", "0"],
    ],
)
def test_wrong_usage_is_code_2(arguments):
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


def test_a_question_right_after_the_installation_is_answered_and_makes_no_database(capsys, monkeypatch, table, data):
    code, out, _ = call(capsys, monkeypatch, "recommend", table, "--target", "y", "--json")
    assert code == 0
    answer = json.loads(out)
    assert len(answer["recommendations"]) == 5
    assert answer["lineage"]["surrogate_version"].startswith("shipped-")
    assert not (data / "mlflow").exists()


def test_the_status_shows_what_ships(capsys, monkeypatch, data):
    code, out, err = call(capsys, monkeypatch, "status")
    assert (code, err) == (0, "")
    assert "(shipped, meta-data set " in out
    assert "intact; packed" in out
    assert "surrogate.safetensors" in out
    assert not data.exists()


def test_a_folder_starts_from_the_shipped_trials(capsys, monkeypatch, data):
    code, out, _ = call(capsys, monkeypatch, "unpack", "--json")
    added = json.loads(out)["added"]
    assert (code, len(added)) == (0, len(list(data.glob("search_results/*.parquet"))))
    code, out, _ = call(capsys, monkeypatch, "status", "--json")
    found = json.loads(out)
    assert (found["knowledge"]["source"], found["knowledge"]["tasks"]) == ("local", len(added))
    assert found["knowledge"]["trials"] == found["shipped"]["trials"]


def test_packing_a_folder_without_a_meta_data_set_names_the_step(capsys, monkeypatch, tmp_path):
    code, out, err = call(capsys, monkeypatch, "pack", "--target", tmp_path / "packed")
    assert (code, out) == (1, "")
    assert "metaflow-hpo step meta_dataset" in err
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "--strategy", "guess"), "module:attribute; got 'guess'"),
        (("search", "--seconds", "0"), "more than 0 seconds; got 0.0"),
        (("recommend", "--kind", "ranking"), "'regression'"),
    ],
)
def test_a_wrong_option_is_wrong_usage_and_says_what_was_expected(capsys, monkeypatch, arguments, message):
    command, *rest = arguments
    code, out, err = call(capsys, monkeypatch, command, "none.csv", *rest)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize("output", [".", "table.csv/trials.parquet"])
def test_an_output_that_cannot_be_written_is_refused_before_the_search(
    capsys, monkeypatch, table, tmp_path, data, output
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, monkeypatch, "search", table, "--output", output)
    assert (code, out) == (2, "")
    assert not data.exists()


def test_a_data_folder_that_cannot_be_made_ends_in_one_message(capsys, monkeypatch, table):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(table / "data"))
    code, out, err = call(capsys, monkeypatch, "unpack")
    assert (code, out) == (1, "")
    assert str(table) in err
    assert "METAFLOW_HPO_DATA" in err
    assert "Traceback" not in err


def test_the_version_is_shown(capsys, monkeypatch):
    assert call(capsys, monkeypatch, "--version") == (0, f"metaflow-hpo {cli.__version__}\n", "")


def test_a_shell_can_complete_commands():
    asked = {"_METAFLOW_HPO_COMPLETE": "complete_bash", "COMP_WORDS": "metaflow-hpo rec", "COMP_CWORD": "1"}
    done = CliRunner().invoke(cli.app, [], prog_name="metaflow-hpo", env=asked)
    assert (done.exit_code, done.stdout) == (0, "recommend\n")


def test_the_kind_can_be_asked_for(capsys, monkeypatch, table):
    pd.read_csv(table).assign(y=[0, 1] * 20).to_csv(table, index=False)
    asked = ("recommend", table, "--k", "1", "--json")
    for arguments, kind in [((), "binary"), (("--kind", "regression"), "regression")]:
        code, out, _ = call(capsys, monkeypatch, *asked, *arguments)
        assert code == 0
        assert json.loads(out)["task"]["kind"] == kind


@pytest.mark.parametrize("position", [0, 2])
def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch, tmp_path, capsys, position):
    arguments = ["describe", str(tmp_path / "none.csv")]
    arguments.insert(position, "--debug")
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", *arguments])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "none.csv" in shown


def test_a_password_in_a_wrong_setting_is_not_shown_in_a_traceback_either(monkeypatch, tmp_path, capsys):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.metaflow_hpo]\npostgres_url = "postgresql://me:s3cret-word@db/x"\n'
        'tracking_uri = ["http://me:s3cret-word@h"]\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", "--debug", "status"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "postgres_url: Extra inputs" in shown
    assert "tracking_uri" in shown
    assert "s3cret-word" not in shown


@pytest.mark.parametrize("arguments", [["status"], ["audit"], ["lineage", "0123456789abcdef"]])
@pytest.mark.parametrize("content", [b"", b"{}", b"no database", b"SQLite format 3\0half"])
def test_a_damaged_database_is_one_message(monkeypatch, tmp_path, capsys, content, arguments):
    (tmp_path / "data" / "mlflow").mkdir(parents=True)
    (tmp_path / "data" / "mlflow" / "mlflow.db").write_bytes(content)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert ended.value.code == (1 if content else ended.value.code)


@pytest.mark.parametrize("kind", ["MlflowException", "SQLAlchemyError", "OSError", "requests"])
def test_errors_of_others_become_one_message(monkeypatch, capsys, kind):
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    errors = {
        "MlflowException": MlflowException("RESOURCE_EXHAUSTED: http://u:s3cret-word@h"),
        "SQLAlchemyError": SQLAlchemyError("locked: postgresql://u:s3cret-word@h/d"),
        "OSError": OSError(28, "No space left on device"),
        "requests": requests.exceptions.ConnectionError("http://u:s3cret-word@h refused"),
    }

    def fail(*_):
        raise errors[kind]

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", "status"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "Check" in err
    assert "s3cret-word" not in err


def test_a_wrong_setting_is_named_and_a_password_in_it_is_not_shown(monkeypatch, capsys):
    monkeypatch.setenv("METAFLOW_HPO_FOLDS", "http://user:s3cret-word@host")
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", "status"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    shown = capsys.readouterr().err
    assert raised.value.code == 1
    assert "folds: Input should be a valid integer" in shown
    assert "s3cret-word" not in shown


def test_a_script_is_written_and_never_over_another_file_unless_asked(capsys, monkeypatch, table, tmp_path, data):
    script = tmp_path / "train.py"
    asked = ("recommend", table, "--target", "y", "--learner", "svm", "--json", "--script", script)
    code, out, err = call(capsys, monkeypatch, *asked)
    best = json.loads(out)["recommendations"][0]["configuration"]
    assert code == 0
    assert f"wrote {script}" in err
    assert f"C = {best['C']}" in script.read_text()
    script.write_text("# my own")
    code, out, err = call(capsys, monkeypatch, *asked)
    assert (code, out) == (2, "")
    assert "--force" in err
    assert script.read_text() == "# my own"
    assert call(capsys, monkeypatch, *asked, "--force")[0] == 0
    assert f"C = {best['C']}" in script.read_text()


@pytest.mark.parametrize("arguments", [("--force",), ("--script", ".")])
def test_a_script_that_cannot_be_meant_is_wrong_usage(capsys, monkeypatch, table, data, arguments):
    assert call(capsys, monkeypatch, "recommend", table, "--target", "y", *arguments)[0] == 2
    assert not data.exists()


_HEAVY = ("torch", "pytorch_lightning", "sklearn.ensemble", "matplotlib", "dagster", "dvc", "mlflow", "sqlalchemy")


@pytest.mark.parametrize("learner", ["mlp", "svm"])
def test_a_recommendation_loads_nothing_heavy(table, learner):
    line = ["metaflow-hpo", "recommend", str(table), "--target", "y", "--learner", learner, "--json"]
    code = (
        f"import sys; sys.argv = {line!r}; from metaflow_hpo import cli; cli.app(standalone_mode=False); "
        f"print([name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["recommendations"]) == 5
    assert done.stderr.strip().splitlines()[-1] == "[]"
