"""A recommender from a person's own table of trials, through the command line."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo import cli


@pytest.fixture(autouse=True)
def surroundings(tmp_path, tracking, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tracking


@pytest.fixture
def table(tmp_path):
    lines = [
        {
            "task_id": f"t{t}",
            "hp_rate": 10.0**-x,
            "hp_depth": d,
            "performance": abs(x - t % 4) + 0.1 * d,
            "mf_at": t % 4,
        }
        for t in range(8)
        for x in range(5)
        for d in (1, 2, 3)
    ]
    path = tmp_path / "trials.csv"
    pd.DataFrame(lines).to_csv(path, index=False)
    return path


def call(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["metaflow-hpo", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.mark.integration
def test_fit_then_recommend_from_nothing_to_many_trials(capsys, monkeypatch, tmp_path, table, surroundings):
    code, out, _ = call(capsys, monkeypatch, "fit", "--trials", table, "--lower-is-better", "--output", "rec", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["tasks"], report["trials"], report["configurations"]) == (8, 120, 15)
    run = surroundings.client().get_run(report["mlflow_run_id"])
    assert run.data.metrics["trials"] == 120.0
    logged = {item.path for item in surroundings.client().list_artifacts(run.info.run_id, "recommender")}
    assert logged == {"recommender/past_tasks.json", "recommender/past_tasks.safetensors"}

    (tmp_path / "mine.csv").write_text("mf_at\n2\n")
    known = ("recommend", "--recommender", "rec", "--task-meta-features", "mine.csv", "--json")
    code, out, err = call(capsys, monkeypatch, *known, "--k", 3)
    assert code == 0, err
    first = json.loads(out)["recommendations"][0]["configuration"]
    assert first == {"rate": 0.01, "depth": 1}

    rng = np.random.default_rng(0)
    observed = pd.DataFrame({"hp_rate": 10 ** rng.uniform(-4, 0, 50), "hp_depth": rng.integers(1, 4, 50)})
    observed["performance"] = abs(-np.log10(observed["hp_rate"]) - 3) + 0.1 * observed["hp_depth"] + 7
    observed.to_csv("observed.csv", index=False)
    code, out, err = call(
        capsys, monkeypatch, "recommend", "--recommender", "rec", "--trials", "observed.csv", "--json"
    )
    assert code == 0, err
    answer = json.loads(out)
    assert answer["recommendations"][0]["configuration"] == {"rate": 0.001, "depth": 1}
    assert answer["evidence"]["observed_trials"] == 50
    assert answer["task"]["notes"]
    code, out, err = call(capsys, monkeypatch, "recommend", "--recommender", "rec")
    assert "0 observed trials" in out
    assert "all past tasks weigh the same" in err


@pytest.mark.integration
def test_the_same_table_in_another_order_is_the_same_recommender(capsys, monkeypatch, tmp_path, table):
    pd.read_csv(table).sample(frac=1.0, random_state=3).to_parquet(tmp_path / "turned.parquet")
    for source, output in ((table, "one"), ("turned.parquet", "other"), (table, "one")):
        assert call(capsys, monkeypatch, "fit", "--trials", source, "--output", output)[0] == 0
    for name in ("past_tasks.json", "past_tasks.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "one", "other", "trials.csv", "turned.parquet"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("recommend",), 2, "give either DATA"),
        (("recommend", "trials.csv", "--recommender", "rec"), 2, "give either DATA"),
        (("fit", "--lower-is-better"), 2, "go with --trials"),
        (("recommend", "--recommender", "rec"), 1, "Expected past_tasks.safetensors"),
        (("fit", "--trials", "nowhere.csv"), 1, "nowhere.csv"),
        (("fit", "--trials", "trials.csv", "--output", "taken"), 1, "it holds something else"),
        (("fit", "--trials", "one_task.csv"), 1, "at least two families"),
        (("fit", "--trials", "text.csv"), 1, "Expected numbers in ['performance']"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(capsys, monkeypatch, tmp_path, table, arguments, code, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("kept")
    frame = pd.read_csv(table)
    frame.loc[frame["task_id"] == "t1"].to_csv("one_task.csv", index=False)
    frame.assign(performance="good").to_csv("text.csv", index=False)
    ended, out, err = call(capsys, monkeypatch, *arguments)
    assert (ended, out) == (code, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert (tmp_path / "taken" / "mine.txt").read_text() == "kept"
