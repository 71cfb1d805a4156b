from types import SimpleNamespace

import pytest

from metaflow_hpo.adapters.past_trials.build import build
from metaflow_hpo.adapters.past_trials.source import Wanted
from metaflow_hpo.adapters.past_trials.wandb import read_runs
from metaflow_hpo.errors import InvalidTableError

HEADER = (
    '"Name","Agent","State","Notes","User","Tags","Created","Runtime","Sweep",'
    '"batch_size","data","optimizer","parameters.lr","seed","eval/mse","_step"'
)


def line(i, state="finished", mse="0.5", data="a"):
    opt = ["adam", "sgd"][i % 2]
    return (
        f'"brisk-{i}","","{state}","","me","","2026-01-02T10:00:00.000Z","{i + 10}","","{2 ** (i % 4)}","{data}",'
        f'"{opt}","{0.1 / (i + 1)}","{i}","{mse}","10"'
    )


@pytest.fixture
def csv(tmp_path):
    def write(lines):
        path = tmp_path / "export.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return path

    return write


def test_configuration_is_what_comes_before_the_summary_and_states_are_known(csv, read, spaces):
    path = csv([line(0), line(1), line(2, "failed"), line(3, "running"), line(4, mse="NaN"), line(5, "crashed", "")])
    found = read("wandb", path, metric="eval/mse", mode="min")
    assert found.kept == {"ok": 2, "failed": 3}
    assert found.dropped == {"running: not finished": 1}
    assert found.frame["task_id"].unique().tolist() == ["export"]
    assert set(spaces(found)) == {"batch_size", "optimizer", "parameters.lr"}
    assert found.left_out == {
        "_step": "of the summary: it comes after the configuration",
        "data": "constant: 'a'",
        "seed": "a seed",
    }
    assert found.frame["duration_s"].tolist() == [10, 11, 12, 14, 15]
    assert any("1 failed trials have a value" in note for note in found.notes)


def test_a_long_export_is_read_whole_and_a_column_names_the_task(csv, read):
    found = read("wandb", csv([line(i, data="ab"[i % 2]) for i in range(3420)]), mode="min", task="data")
    assert found.kept == {"ok": 3420}
    assert found.frame["task_id"].value_counts().to_dict() == {"a": 1710, "b": 1710}


def test_a_metric_that_is_not_there_and_another_file_are_refused(csv, read, tmp_path):
    with pytest.raises(InvalidTableError, match="No trial has the metric 'acc'"):
        read("wandb", csv([line(0), line(1)]), metric="acc", mode="max")
    (tmp_path / "chart.csv").write_text('"Step","brisk-1 - eval/mse"\n"1","0.5"\n')
    with pytest.raises(InvalidTableError, match="Expected trials of wandb"):
        read("wandb", tmp_path / "chart.csv")


def test_runs_of_the_api_have_curves_and_the_ranges_of_their_sweep():
    parameters = {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
        "opt": {"values": ["adam", "sgd"]},
        "model": {"parameters": {"width": {"min": 8, "max": 64}}},
        "epochs": {"value": 3},
    }
    sweep = SimpleNamespace(id="s1", config={"parameters": parameters})

    def run(i, state="finished"):
        history = [{"_step": s, "acc": (0.5, 0.7, 0.6)[s]} for s in range(3)]
        return SimpleNamespace(
            name=f"run-{i}", state=state, tags=["iris"], sweep=sweep,
            config={"lr": 10.0**-i, "opt": "adam", "model": {"width": 8 * i}, "epochs": 3, "_wandb": {}},
            summary={"acc": 0.6, "_runtime": 3.5}, scan_history=lambda keys: history,
        )  # fmt: skip

    wanted = Wanted(mode="max", at="best", task="tag")
    found = build(read_runs([run(1), run(2), run(3, "running"), run(4, "crashed")], wanted, "project"), wanted)
    assert found.frame["performance"].tolist()[:2] == [0.7, 0.7]
    assert found.frame["learning_curve"][0].tolist() == [0.5, 0.7, 0.6]
    assert found.dropped == {"running: not finished": 1}
    assert found.kept == {"ok": 2, "failed": 1}
    space = {hp["name"]: hp for hp in found.space.to_json()}
    assert (space["lr"]["low"], space["lr"]["high"], space["lr"]["log"]) == (1e-5, 0.1, True)
    assert (space["model/width"]["low"], space["model/width"]["high"]) == (8, 64)
    assert set(found.frame["task_id"]) == {"iris"}


def test_the_package_that_is_missing_is_named(read):
    pytest.importorskip("sys")
    try:
        import wandb  # noqa: F401
    except ImportError:
        with pytest.raises(InvalidTableError, match="pip install wandb"):
            read("wandb", "entity/project")
