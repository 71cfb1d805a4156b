import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from metaflow_hpo.adapters.observed_trials import write_trials_file
from metaflow_hpo.adapters.past_trials.lcbench import import_lcbench
from metaflow_hpo.adapters.past_trials.taskset import import_taskset
from metaflow_hpo.adapters.trial_files import read_trial_table
from metaflow_hpo.cli import app
from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.tables import trials_to_frame
from metaflow_hpo.trial import Trial


@pytest.fixture
def csv(tmp_path):
    lines = [
        {"task_id": f"t{t}", "hp_x": x / 10, "hp_kind": "ab"[x % 2], "loss": 0, "performance": abs(x / 10 - 0.2 * t)}
        for t in range(4)
        for x in range(11)
    ]
    path = tmp_path / "trials.csv"
    pd.DataFrame(lines).to_csv(path, index=False)
    return path


def test_the_command_answers_with_json_alone_and_writes_tables_and_plots(csv, tmp_path):
    output = tmp_path / "report"
    arguments = ["benchmark", str(csv), "--k", "1,3", "--recommenders", "recommended,portfolio,random", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--lower-is-better", "--workers", "1", "--output", str(output)])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert set(answer["recommenders"]) == {"recommended", "portfolio", "random"}
    assert answer["table"]["tasks"] == 4
    assert answer["table"]["shared"]
    best = [p["performance"] for p in answer["per_task"] if p["recommender"] == "random" and p["k"] == 3]
    assert max(best) <= 0.0
    written = {path.name for path in output.iterdir()}
    assert {"benchmark.json", "per_task.csv", "summary.csv", "regret.png", "critical_difference_k3.png"} <= written
    assert json.loads((output / "benchmark.json").read_text())["recommenders"] == answer["recommenders"]


def test_a_person_sees_a_table(csv):
    result = CliRunner().invoke(
        app, ["benchmark", str(csv), "--k", "1", "--recommenders", "recommended,random", "--workers", "1"]
    )
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "4 tasks of 4 families, 11 configurations" in shown
    assert "Against those who learn nothing from other tasks the recommender's mean regret is" in shown


def test_the_page_says_the_verdict_and_what_is_odd_and_how_many_tasks_were_judged(csv, tmp_path):
    frame = pd.read_csv(csv)
    pd.concat([frame, frame.iloc[:3]]).to_csv(csv, index=False)
    arguments = ["benchmark", str(csv), "--k", "1", "--recommenders", "recommended,random", "--workers", "1"]
    result = CliRunner().invoke(app, [*arguments, "--tasks", "3", "--output", str(tmp_path / "report")])
    assert result.exit_code == 0, result.output
    assert "note: 3 of 4 tasks are judged" in result.stderr
    page = (tmp_path / "report" / "report.html").read_text()
    said = json.loads((tmp_path / "report" / "benchmark.json").read_text())["verdict"]
    assert said[0].replace("'", "&#39;") in page
    assert "3 of 47 trials repeat a configuration" in page
    assert "4 of 4 families, 3 of them judged" in page
    assert "higher is better, from 0 to 1" in page


def test_an_output_that_is_a_file_is_refused_before_anything_is_computed(csv):
    result = CliRunner().invoke(app, ["benchmark", str(csv), "--output", str(csv)])
    assert result.exit_code == 2


@pytest.mark.parametrize("ks", ["", "0,1", "one"])
def test_wrong_numbers_of_trials_are_wrong_usage(csv, ks):
    assert CliRunner().invoke(app, ["benchmark", str(csv), "--k", ks]).exit_code == 2


def test_a_missing_file_and_a_broken_space_name_their_remedy(csv, tmp_path):
    with pytest.raises(InvalidTableError, match=r"there is no .*Check the name"):
        read_trial_table(tmp_path / "none.csv")
    (tmp_path / "space.json").write_text('{"x": 1}')
    with pytest.raises(SearchSpaceMismatchError, match=r"space.json: Expected x as a list of choices or as"):
        read_trial_table(csv, space=tmp_path / "space.json")


def test_a_given_space_sets_scales(csv, tmp_path):
    space = [
        {"type": "float", "name": "x", "low": 0.0, "high": 2.0, "default": 1.0},
        {"type": "categorical", "name": "kind", "choices": ["a", "b"], "default": "a"},
    ]
    (tmp_path / "space.json").write_text(json.dumps(space))
    table = read_trial_table(csv, space=tmp_path / "space.json")
    assert table.points[:, 0].max() == 0.5


def test_taskset_is_clipped_and_grouped_by_cell(tmp_path):
    path = tmp_path / "taskset.parquet"
    frame = pd.DataFrame(
        {
            "task_id": ["imdb_GRU64_bs128", "imdb_GRU64_bs128", "imdb_LSTM8_bs2"],
            "hp_learning_rate": [0.1, 0.2, 0.1],
            "valid_loss_curve": [[0.7, 0.5], [0.7, 3.0], [0.7, float("nan")]],
            "test_loss_curve": [[0.7, 0.6], [0.7, 3.0], [0.7, 0.1]],
        }
    )
    frame.to_parquet(path)
    found = import_taskset(path)
    assert found["family"].tolist() == ["GRU", "GRU", "LSTM"]
    assert found["performance"].tolist() == [-0.5, -0.75, -0.75]
    frame.drop(columns="test_loss_curve").to_parquet(path)
    with pytest.raises(InvalidTableError, match=r"\['test_loss_curve'\] are missing"):
        import_taskset(path)


def test_an_incomplete_lcbench_folder_is_named(tmp_path):
    with pytest.raises(InvalidTableError, match=r"config_space.json; there is no such file\. Give the folder"):
        import_lcbench(tmp_path)


def test_an_unknown_benchmark_is_wrong_usage(tmp_path):
    result = CliRunner().invoke(app, ["import-benchmark", "magic", "--output", str(tmp_path / "t.parquet")])
    assert result.exit_code == 2


def test_the_tables_of_several_searches_are_read_from_their_folder(tmp_path):
    folder = tmp_path / "found"
    folder.mkdir()
    for number, ending in enumerate(("csv", "parquet", "csv")):
        trials = [
            Trial(f"t{number}", f"t{number}", "own", {"x": x, "kind": kind}, "sobol", 0, 1, x * number + 0.1, 0.5, 1.0)
            for x in (0.25, 0.5, 0.75)
            for kind in (True, None)
        ]
        write_trials_file(folder / f"t{number}.{ending}", trials_to_frame(trials))
    space = SearchSpace.read({"x": {"type": "float", "low": 0, "high": 1}, "kind": [True, None]})
    history = read_trial_table(folder, space=space)
    assert history.task_ids == ("t1", "t2")  # on t0 all trials are alike
    assert {repr(c["kind"]) for c in history.configurations} == {"True", "None"}
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidTableError, match=r"Expected tables of trials, .csv or .parquet, in .*; found none"):
        read_trial_table(empty)
