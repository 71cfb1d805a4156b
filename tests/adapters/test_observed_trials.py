import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from metaflow_hpo.adapters.observed_trials import read_observed_trials, write_trials_file
from metaflow_hpo.cli import app
from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace

SPACE = get_learner("svm").space


def write_observed(path, performance):
    rows = [{f"hp_{n}": SPACE.default.get(n) for n in SPACE.names} | {"performance": p} for p in performance]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_observed_trials_without_a_performance_are_left_out(tmp_path):
    path = write_observed(tmp_path / "t.csv", [0.5, None, 0.7])
    observed = read_observed_trials(path, SPACE)
    assert [o.performance for o in observed] == [0.5, 0.7]
    assert [o.performance for o in read_observed_trials(path, SPACE, finished_only=True)] == [0.5, 0.7]
    assert observed[0].configuration == SPACE.default


def test_failed_and_stopped_trials_of_a_search_are_gone_on_from_but_are_no_outcome(tmp_path):
    performance = [0.5, None, 0.7, None, None]
    frame = pd.read_csv(write_observed(tmp_path / "t.csv", performance))
    curves = pd.Series([np.full(3, 0.5), [], np.full(3, 0.7), np.array([0.1, 0.6]), []], dtype=object)
    frame = frame.assign(status=["ok", "failed", "ok", "stopped", "planned"], learning_curve=curves)
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_observed_trials(tmp_path / "t.parquet", SPACE)
    assert [o.performance for o in read] == [0.5, 0.5, 0.7, 0.6]
    finished = read_observed_trials(tmp_path / "t.parquet", SPACE, finished_only=True)
    assert [o.performance for o in finished] == [0.5, 0.7]


def test_observed_trials_need_no_column_that_none_of_them_uses(tmp_path):
    space = SearchSpace(
        (
            Categorical("optimizer", ("adam", "sgd"), "adam"),
            Float("momentum", 0.0, 1.0, 0.5, condition=Condition("optimizer", ("sgd",))),
            Integer("layers", 1, 4, 2),
        )
    )
    path = tmp_path / "t.csv"
    path.write_text("hp_optimizer,hp_layers,performance\nadam,2,0.5\n")
    assert read_observed_trials(path, space)[0].configuration == {"optimizer": "adam", "layers": 2}
    path.write_text("hp_optimizer,hp_layers,performance\nsgd,2,0.5\n")
    with pytest.raises(SearchSpaceMismatchError, match="misses 'momentum'"):
        read_observed_trials(path, space)
    path.write_text("hp_optimizer,hp_layers,performance\nadam,2.7,0.5\n")
    with pytest.raises(SearchSpaceMismatchError, match=r"layers must be .*got 2\.7"):
        read_observed_trials(path, space)


def test_observed_trials_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(InvalidTableError, match=r"No line of t.csv has a number"):
        read_observed_trials(write_observed(tmp_path / "t.csv", [None, None]), SPACE)
    path = tmp_path / "u.csv"
    path.write_text("performance,hp_other\n1,2\n")
    with pytest.raises(InvalidTableError, match=r"u.csv misses"):
        read_observed_trials(path, SPACE)


def test_statuses_of_other_tools_are_known_and_values_of_pruned_and_failed_trials_are_not_final(tmp_path):
    states = ["COMPLETE", "TrialState.PRUNED", "FAIL", "finished", "RUNNING"]
    frame = pd.read_csv(write_observed(tmp_path / "t.csv", [0.7, 0.9, 0.95, 0.6, 0.99])).assign(status=states)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert [o.performance for o in read_observed_trials(tmp_path / "t.csv", SPACE)] == [0.7, 0.9, 0.6, 0.6]
    finished = read_observed_trials(tmp_path / "t.csv", SPACE, finished_only=True)
    assert [o.performance for o in finished] == [0.7, 0.6]
    frame.assign(status="meh").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidTableError, match=r"found 'meh' \(5 trials\)"):
        read_observed_trials(tmp_path / "t.csv", SPACE)


def test_an_empty_cell_and_the_word_are_the_choice_none_where_there_is_one(tmp_path):
    space = SearchSpace((Categorical("features", (None, "sqrt"), "sqrt"), Integer("depth", 1, 4, 2)))
    (tmp_path / "t.csv").write_text("hp_features,hp_depth,performance\nsqrt,1,0.5\nNone,2,0.6\n,3,0.7\n")
    found = [o.configuration["features"] for o in read_observed_trials(tmp_path / "t.csv", space)]
    assert found == ["sqrt", None, None]


def test_csv_and_parquet_are_written_by_their_names_and_read_back_alike(tmp_path):
    frame = pd.DataFrame([{f"hp_{n}": SPACE.default.get(n) for n in SPACE.names}] * 3)
    curves = pd.Series([np.array([0.1, 0.3], np.float32), np.array([0.2], np.float32), []], dtype=object)
    frame = frame.assign(performance=[0.3, np.nan, np.nan], status=["ok", "stopped", "failed"], learning_curve=curves)
    for name in ("t.csv", "t.parquet"):
        write_trials_file(tmp_path / name, frame)
    assert (tmp_path / "t.csv").read_text().startswith("hp_")
    assert (tmp_path / "t.parquet").read_bytes().startswith(b"PAR1")
    assert read_observed_trials(tmp_path / "t.csv", SPACE) == read_observed_trials(tmp_path / "t.parquet", SPACE)
    with pytest.raises(InvalidTableError, match=r"ends in \.csv or \.parquet"):
        write_trials_file(tmp_path / "t.txt", frame)


def test_a_search_writes_what_its_output_is_called_and_recommend_reads_it_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "data"))
    rows = [f"{i % 7},{(i * 5) % 11},{'ab'[(i % 7) > 3]}" for i in range(60)]
    (tmp_path / "my.csv").write_text("x,z,y\n" + "\n".join(rows) + "\n")
    search = ["search", "my.csv", "--target", "y", "--learner", "svm", "--trials", "3", "--strategy", "random"]
    refused = CliRunner().invoke(app, [*search, "--output", "own.txt"])
    assert refused.exit_code == 2
    assert not (tmp_path / "data").exists()
    answers = []
    for name in ("own.csv", "own.parquet"):
        assert CliRunner().invoke(app, [*search, "--output", name]).exit_code == 0
        recommend = ["recommend", "my.csv", "--target", "y", "--learner", "svm", "--trials", name, "--json"]
        result = CliRunner().invoke(app, recommend)
        assert result.exit_code == 0, result.output
        answers.append(json.loads(result.stdout)["recommendations"])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_a_choice_with_zeros_before_it_is_not_the_one_without(tmp_path, ending):
    space = SearchSpace((Categorical("code", ("1", "01", "001"), "1"), Integer("layers", 1, 12, 2)))
    frame = pd.DataFrame({"hp_code": ["01", "1", "001"], "hp_layers": ["08", "2", "3"], "performance": [0.5, 0.6, 0.7]})
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        frame.assign(hp_layers=[8, 2, 3]).to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    found = [one.configuration for one in read_observed_trials(path, space)]
    assert found == [{"code": "01", "layers": 8}, {"code": "1", "layers": 2}, {"code": "001", "layers": 3}]
