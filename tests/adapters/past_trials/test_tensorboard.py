import shutil

import pytest

from metaflow_hpo.errors import InvalidTableError


def test_runs_with_hyperparameters_are_trials_with_the_curves_of_their_scalars(exports, read, spaces):
    found = read("tensorboard", exports / "tensorboard", metric="val_acc", mode="max")
    assert found.frame["task_id"].unique().tolist() == ["iris"]
    assert found.kept == {"ok": 6}
    assert found.frame["hp_lr"].tolist() == pytest.approx([10 ** (-1 - i / 2) for i in range(6)])
    assert found.frame["hp_opt"].tolist() == ["sgd", "adam"] * 3
    assert spaces(found)["bn"]["choices"] == [False, True]
    assert found.frame["learning_curve"][0].tolist() == pytest.approx(
        [0.316060, 0.432332, 0.475106, 0.490842], abs=1e-6
    )
    assert found.frame["performance"][0] == pytest.approx(0.490842, abs=1e-6)
    summary = read("tensorboard", exports / "tensorboard", metric="hparam/val_acc", mode="max")
    assert summary.frame["performance"][0] == pytest.approx(0.5)


def test_metrics_and_direction_are_asked_for(exports, read):
    with pytest.raises(InvalidTableError, match=r"--metric NAME.*'hparam/val_acc', 'val_acc'.*--mode max"):
        read("tensorboard", exports / "tensorboard")


def test_a_file_cut_short_keeps_its_whole_records_and_logs_without_hyperparameters_are_refused(tmp_path, exports, read):
    shutil.copytree(exports / "tensorboard", tmp_path / "logs")
    path = next((tmp_path / "logs/iris/run0").glob("*tfevents*"))
    path.write_bytes(path.read_bytes()[:-10])
    found = read("tensorboard", tmp_path / "logs", metric="val_acc", mode="max").frame
    assert len(found["learning_curve"][0]) == 3
    for folder in (tmp_path / "logs/iris").glob("*/h"):
        shutil.rmtree(folder)
    with pytest.raises(InvalidTableError, match="Expected runs with hyperparameters"):
        read("tensorboard", tmp_path / "logs")
