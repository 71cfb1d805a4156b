import pytest

from metaflow_hpo.errors import InvalidTableError


def test_csv_and_json_give_the_same_trials_without_baselines(exports, read, spaces):
    table = read("dvc", exports / "dvc.csv", metric="val_acc", mode="max")
    marked = read("dvc", exports / "dvc.json", metric="val_acc", mode="max")
    for found in (table, marked):
        assert found.kept == {"ok": 3}
        assert found.dropped["queued: not finished"] == 1
        assert set(spaces(found)) == {"lr", "model.depth", "model.opt"}
        assert found.left_out["seed"] == "a seed"
        assert found.frame["task_id"].unique().tolist() == ["dvc"]
    assert table.dropped["a baseline, which is no experiment"] == 2
    assert table.frame["performance"].equals(marked.frame["performance"])
    assert table.left_out["loss"] == "looks like a measurement"


def test_an_error_is_a_failure(exports, read, tmp_path):
    text = (exports / "dvc.csv").read_text().replace(",,,,1.0,0.01,", ",,,,!,!,")
    (tmp_path / "exps.csv").write_text(text)
    found = read("dvc", tmp_path / "exps.csv", metric="val_acc", mode="max", task="name:iris")
    assert found.kept == {"ok": 2, "failed": 1}


def test_metric_and_direction_are_asked_for_and_other_files_refused(exports, read, tmp_path):
    with pytest.raises(InvalidTableError, match=r"--metric NAME.*'val_acc', 'loss'.*--mode max"):
        read("dvc", exports / "dvc.csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidTableError, match="Expected Experiment, rev and typ"):
        read("dvc", tmp_path / "a.csv")
    with pytest.raises(InvalidTableError, match="is a folder"):
        read("dvc", tmp_path)
