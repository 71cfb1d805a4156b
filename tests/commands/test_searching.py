"""The command `search` with learners of a person's own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
from typer import BadParameter
from typer.testing import CliRunner

from metaflow_hpo.adapters.kept_trials import KeptTrials
from metaflow_hpo.cli import app
from metaflow_hpo.commands.common import read_options
from metaflow_hpo.errors import InvalidTableError, MetaflowHPOError
from metaflow_hpo.modalities.opaque import read_opaque
from metaflow_hpo.tables import trial_to_record
from tests.live import wait_for

SCRIPT = """
import json, os, sys, time
x, seed, fidelity = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
time.sleep(float(os.environ.get("SLEEP", "0")))
for step in range(1, fidelity + 1):
    print(json.dumps({"step": step, "score": (1 - abs(x - 0.7)) * step / fidelity}), flush=True)
print("done")
if x < 0.05:
    sys.exit("too small")
print(json.dumps({"score": 1 - abs(x - 0.7), "test_score": 0.5}))
"""
HANGS = """
if x > 0.6:
    with open(".pid", "w") as file:
        file.write(str(os.getpid()))
    os.replace(".pid", "pid")
    time.sleep(600)
"""
SPACE = "x: {type: float, low: 0, high: 1}\nkind: [1, true, null, one]\n"
TASK = "family: made\nmetric: accuracy\ndata: here\nmeta_features: {size: 3}\n"
LEARNER = """
from metaflow_hpo.learners.function import learner_from_function

def train(configuration, task, report):
    print("a line that must not stand in the JSON")
    return 1 - abs(configuration["x"] - task.meta_features["best"])

learner = learner_from_function(train, {"x": {"type": "float", "low": 0, "high": 1}}, name="mine")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a script, a space and a task, in which the program is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    Path("train.py").write_text(SCRIPT)
    Path("space.yaml").write_text(SPACE)
    Path("task.yaml").write_text(TASK)
    return tmp_path


COMMAND = f"{sys.executable} train.py {{x}} {{seed}} {{fidelity}} --kind {{kind}}"
OWN = ["--command", COMMAND, "--space", "space.yaml"]


def search(*arguments, expect=0):
    result = CliRunner().invoke(app, ["search", *arguments, "--json"])
    if expect == 0 and result.exception:
        raise result.exception
    assert result.exit_code == expect, result.output
    return json.loads(result.stdout) if expect == 0 else result


def read_own(folder, name="task.yaml"):
    return KeptTrials(folder / "data" / "own" / "search_results").read_trials(read_opaque(folder / name).task)


def strip(trials):
    return [{k: v for k, v in trial_to_record(trial).items() if k != "duration_s"} for trial in trials]


def test_a_command_is_searched_and_its_trials_are_kept_written_and_resumed(folder):
    arguments = ["task.yaml", *OWN, "--strategy", "sobol", "--fidelity", "3", "--workers", "2"]
    answer = search(*arguments, "--trials", "6", "--output", "trials.csv")
    assert (answer["trials"], answer["strategy"], answer["task"]["modality"]) == (6, "sobol", "opaque")
    assert answer["best"]["performance"] == answer["best"]["scores"]["accuracy"]
    assert answer["best"]["test_performance"] == 0.5
    frame = pd.read_csv("trials.csv")
    assert set(frame["learner"]) == {"train"}
    assert set(frame["mf_given.size"]) == {3.0}
    assert json.loads(frame["learning_curve"].iloc[0])[-1] == pytest.approx(frame["performance"].iloc[0])
    trials = read_own(folder)
    assert len(trials) == 6
    card = json.loads((folder / "data" / "own" / "learners" / "train.json").read_text())
    assert (card["name"], card["fidelity"]) == ("train", {"unit": "epochs", "maximum": 3})
    (folder / "train.py").unlink()  # nothing is trained again
    again = search(*arguments, "--trials", "6", "--output", "again.parquet")
    assert again["best"] == answer["best"]
    assert strip(read_own(folder)) == strip(trials)
    assert len(pd.read_parquet("again.parquet")) == 6


def test_without_past_tasks_recommended_says_that_tpe_proposes(folder, caplog):
    answer = search("task.yaml", *OWN, "--trials", "3")
    assert answer["strategy"] == "tpe"
    assert "Nothing is known of the learner train from past tasks: tpe proposes" in caplog.text


def test_a_task_may_be_an_address_or_nothing_but_the_command(folder):
    answer = search("data.npz", *OWN, "--trials", "1", "--strategy", "sobol", "--metric", "loss", "--mode", "min")
    assert answer["task"]["task_id"] == "data"
    assert answer["task"]["metric"]["name"] == "loss"
    assert answer["best"]["performance"] == -answer["best"]["scores"]["loss"]
    answer = search(*OWN, "--trials", "1", "--strategy", "sobol", "--metric", "accuracy", "--name", "net")
    assert answer["task"]["task_id"].endswith("_net")
    assert answer["task"]["metric"] == "accuracy"


OTHER = SCRIPT.replace("x - 0.7", "x - 0.2")


@pytest.mark.parametrize("data", [["data.npz"], []])
def test_scripts_and_data_of_one_name_in_two_folders_share_no_trials(folder, monkeypatch, data):
    best = {}
    for name, script in (("a", SCRIPT), ("b", OTHER)):
        (folder / name / "exp").mkdir(parents=True)
        monkeypatch.chdir(folder / name / "exp")
        Path("train.py").write_text(script)
        Path("space.yaml").write_text(SPACE)
        Path("data.npz").write_text(name)
        answer = search(*data, *OWN, "--trials", "6", "--strategy", "sobol", "--metric", "accuracy")
        best[name] = answer["best"]["configuration"]["x"]
    assert abs(best["a"] - 0.7) < abs(best["b"] - 0.7)
    monkeypatch.chdir(folder / "a" / "exp")
    again = search(*data, *OWN, "--trials", "6", "--strategy", "sobol", "--metric", "accuracy")
    assert again["best"]["configuration"]["x"] == best["a"]


def test_trials_of_another_version_of_a_script_are_gone_on_from_and_that_is_said(folder, caplog):
    arguments = ["task.yaml", *OWN, "--strategy", "sobol", "--trials"]
    search(*arguments, "2")
    search(*arguments, "3")
    assert "another version" not in caplog.text
    Path("train.py").write_text(OTHER)
    search(*arguments, "4")
    assert "'train' ran another command, or another version of its script, before: 3 of its trials" in caplog.text
    caplog.clear()
    search(*arguments, "4", "--name", "fresh")
    assert "another version" not in caplog.text


def test_a_learner_by_address_is_searched_and_what_it_prints_stays_out_of_the_json(folder):
    module = f"mine_{folder.name}"
    (folder / f"{module}.py").write_text(LEARNER)
    (folder / "task.yaml").write_text("metric: accuracy\nmeta_features: {best: 0.25}\n")
    answer = search("task.yaml", "--learner", f"{module}:learner", "--trials", "8", "--strategy", "random")
    assert answer["best"]["performance"] > 0.8
    assert {trial.learner for trial in read_own(folder)} == {"mine"}


def write_past(best_of_task, path):
    """Write the trials of tasks whose best `x` follows their meta-feature, as `search` writes them."""
    frames = []
    for number, best in enumerate(best_of_task):
        (path.parent / "past.yaml").write_text(
            f"task_id: p{number}\nmetric: accuracy\nmeta_features: {{best: {best}}}\n"
        )
        output = path.parent / f"p{number}.parquet"
        search(
            "past.yaml",
            "--learner",
            f"mine_{path.parent.name}:learner",
            "--trials",
            "20",
            "--strategy",
            "sobol",
            "--output",
            str(output),
        )
        frames.append(pd.read_parquet(output))
    pd.concat(frames).to_parquet(path)


def test_past_tasks_teach_the_first_proposals_from_a_table_and_from_a_folder(folder):
    (folder / f"mine_{folder.name}.py").write_text(LEARNER)
    write_past([0.2, 0.25, 0.3, 0.75, 0.8, 0.85], folder / "past.parquet")
    (folder / "new.yaml").write_text("task_id: new\nmetric: accuracy\nmeta_features: {best: 0.22}\n")
    arguments = ["new.yaml", "--learner", f"mine_{folder.name}:learner", "--trials", "2"]
    answer = search(*arguments, "--past", "past.parquet", "--output", "new.csv")
    assert answer["strategy"] == "recommended"
    assert pd.read_csv("new.csv")["performance"].max() > 0.9
    result = CliRunner().invoke(app, ["fit", "--trials", "past.parquet", "--output", "fitted"])
    assert result.exit_code == 0, result.output
    assert search(*arguments, "--past", "fitted")["strategy"] == "recommended"  # a space inferred from the trials
    (folder / "space.json").write_text(json.dumps([{"type": "float", "name": "x", "low": 0, "high": 1}]))
    CliRunner().invoke(app, ["fit", "--trials", "past.parquet", "--space", "space.json", "--output", "fitted"])
    (folder / "features.csv").write_text("mf_given.best\n0.8\n")
    answer = search("task.yaml", *arguments[1:], "--past", "fitted", "--task-features", "features.csv", "--seed", "1")
    assert answer["strategy"] == "recommended"
    (folder / "features.csv").write_text("mf_other\n0.8\n")
    with pytest.raises(InvalidTableError, match="Expected meta-features that past tasks have"):
        search(*arguments, "--past", "past.parquet", "--task-features", "features.csv")


def test_what_is_found_is_learned_from_by_the_next_search(folder):
    module = f"grown_{folder.name}"
    (folder / f"{module}.py").write_text(LEARNER)
    for name, best in (("first", 0.2), ("other", 0.25)):
        (folder / f"{name}.yaml").write_text(f"task_id: {name}\nmetric: accuracy\nmeta_features: {{best: {best}}}\n")
    for task in ("first.yaml", "first.yaml", "other.yaml"):
        search(task, "--learner", f"{module}:learner", "--trials", "3", "--past", "grown.parquet", "--learn")
    frame = pd.read_parquet("grown.parquet")
    assert frame.groupby("task_id").size().tolist() == [3, 3]
    assert set(frame["source"]) == {"search of mine"}
    assert set(frame.loc[frame["task_id"] == "other", "strategy"]) == {"recommended"}
    assert frame.groupby("task_id")["mf_given.best"].nunique().max() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task.yaml", *OWN, "--output", "trials.json"], "ends in .csv or .parquet"),
        (["task.yaml", "--command", "x {x}"], "--command needs --space"),
        (["task.yaml", "--space", "space.yaml"], "--space go with --command"),
        (["task.yaml", *OWN, "--learner", "mlp"], "either --command or --learner"),
        (["task.yaml", *OWN, "--strategy", "magic"], "expected one of sobol"),
        (["task.yaml", *OWN, "--fidelity", "many"], "as a number of epochs or as UNIT=NUMBER"),
        (["task.yaml", *OWN, "--task-features", "f.csv"], "--task-features, --assume and --learn go with"),
        (["task.yaml", *OWN, "--assume", "x=0.5"], "--task-features, --assume and --learn go with"),
        (["task.yaml", *OWN, "--learn"], "--task-features, --assume and --learn go with"),
        (["task.yaml", *OWN, "--past", "past.csv", "--assume", "x"], "expected --assume name=value"),
        (["task.yaml", *OWN, "--metric", "loss", "--mode", "min"], "a task says what it is scored by"),
        (["data.npz", *OWN], "needs --metric NAME --mode max|min"),
        (["data.npz", *OWN, "--metric", "loss"], "needs --mode max or --mode min"),
        (["data.npz", *OWN, "--metric", "accuracy", "--mode", "min"], "better with --mode max"),
        (["data.npz", *OWN, "--metric", "accuracy", "--target", "y"], "--target, --kind and --option go with tables"),
        (["--trials", "3"], "give DATA, or --command"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_trained(folder, arguments, message):
    result = search(*arguments, expect=2)
    plain = " ".join(result.output.replace("│", " ").split())
    assert message in plain
    assert not (folder / "data" / "own").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml", *OWN], "No such file"),
        (["task.yaml", "--command", "x {x}", "--space", "space.yaml"], r"no placeholder for \['kind'\]"),
        (["task.yaml", "--command", COMMAND, "--space", "none.yaml"], "Expected a search space in none.yaml"),
        (["task.yaml", "--learner", "no_module:x"], "its module cannot be imported"),
        (["task.yaml", *OWN, "--strategy", "portfolio"], "learns from past tasks, and there are none"),
        (
            ["task.yaml", "--command", "no_such_program {x} {kind}", "--space", "space.yaml"],
            "program that can be started",
        ),
    ],
)
def test_what_cannot_work_ends_with_an_error_and_its_remedy(folder, arguments, message):
    with pytest.raises(MetaflowHPOError, match=message):
        search(*arguments)


def start(folder, *arguments, **environment):
    line = [sys.executable, "-m", "metaflow_hpo.cli", "search", *arguments]
    return subprocess.Popen(
        line, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_trials(folder, count, seconds=240):
    wait_for(f"{count} trials", lambda: len(read_own(folder)) >= count, seconds, 0.05)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_with_the_same_trials(folder, monkeypatch):
    arguments = ["task.yaml", *OWN, "--strategy", "tpe", "--trials", "8", "--fidelity", "2", "--output", "out.parquet"]
    for count in (1, 4):
        process = start(folder, *arguments, SLEEP="0.4")
        wait_for_trials(folder, count)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    search(*arguments)
    killed = pd.read_parquet("out.parquet").drop(columns="duration_s")
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(folder / "fresh"))
    search(*arguments[:-1], "whole.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("whole.parquet").drop(columns="duration_s"), killed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_keeps_its_trials_and_ends_its_command(folder, number):
    (folder / "train.py").write_text(SCRIPT + HANGS)
    process = start(folder, "task.yaml", *OWN, "--strategy", "sobol", "--trials", "8")
    wait_for_trials(folder, 2)
    wait_for("a training that hangs", (folder / "pid").exists, 240, 0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=240)
    assert b"stopped; finished trials are kept" in error
    assert not psutil.pid_exists(int((folder / "pid").read_text()))
    assert len(read_own(folder)) >= 2


@pytest.mark.slow
def test_two_searches_at_the_same_time_lose_no_trials(folder):
    arguments = ["task.yaml", *OWN, "--trials", "6"]
    both = [start(folder, *arguments, "--strategy", name, SLEEP="0.1") for name in ("sobol", "random")]
    for process in both:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error.decode()
    counted = pd.Series([trial.strategy for trial in read_own(folder)]).value_counts()
    assert counted.to_dict() == {"sobol": 6, "random": 6}


def test_options_of_a_modality_are_read_as_json_and_otherwise_as_text():
    assert read_options(["text=review", "size=32", 'columns=["a", "b"]', "note=a=b"]) == {
        "text": "review",
        "size": 32,
        "columns": ["a", "b"],
        "note": "a=b",
    }
    assert read_options(None) is None
    with pytest.raises(BadParameter, match="expected --option NAME=VALUE, such as text=review; got 'text'"):
        read_options(["text"])
