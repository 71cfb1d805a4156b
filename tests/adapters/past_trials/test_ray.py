import json
import math
import shutil

import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError


def test_experiments_in_a_folder_are_tasks_and_nested_names_are_joined(exports, read, spaces):
    found = read("ray", exports / "ray", metric="val_acc", mode="max")
    assert found.frame["task_id"].value_counts().to_dict() == {"iris": 10, "wine": 10}
    assert found.kept == {"ok": 8, "failed": 7, "stopped": 5}
    assert found.left_out == {"data_dir": "a path", "seed": "a seed"}
    assert set(spaces(found)) == {"lr", "model/hidden", "momentum", "opt"}
    failed = found.frame[found.frame["status"] == "failed"]
    assert failed["hp_model/hidden"].eq(16).all()
    assert failed["reason"].eq("RuntimeError: diverged").all()
    ok = found.frame[found.frame["status"] == "ok"]
    assert [len(curve) for curve in ok["learning_curve"]] == [4] * len(ok)
    assert all(curve[-1] == value for curve, value in zip(ok["learning_curve"], ok["performance"], strict=True))
    stopped = found.frame[found.frame["status"] == "stopped"]
    assert stopped["performance"].isna().all()
    assert stopped["learning_curve"].map(len).isin([1, 2]).all()


def test_one_experiment_is_read_alone_and_its_frame_is_the_same_but_for_failures(exports, read):
    folder = read("ray", exports / "ray" / "iris", metric="val_acc", mode="max").frame
    with pytest.raises(InvalidTableError, match=r"--metric NAME.*'val_acc', 'test_acc'.*--mode max.*--task COLUMN"):
        read("ray", exports / "ray_iris.csv")
    for address in (exports / "ray_iris.csv", pd.read_csv(exports / "ray_iris.csv")):
        found = read("ray", address, metric="val_acc", mode="max", task="name:iris")
        assert found.kept["stopped"] == (folder["status"] == "stopped").sum()
        assert any("does not say which trials failed" in note for note in found.notes)
    ok = folder[folder["status"] == "ok"].sort_values("hp_lr")
    same = found.frame[found.frame["hp_lr"].isin(ok["hp_lr"])].sort_values("hp_lr")
    assert same["performance"].tolist() == pytest.approx(ok["performance"].tolist(), abs=1e-12)


def test_a_metric_that_no_trial_has_lists_those_present(exports, read):
    with pytest.raises(InvalidTableError, match="No trial has the metric 'acc'; found 'val_acc', 'test_acc'"):
        read("ray", exports / "ray", metric="acc", mode="max")


def test_a_trial_that_still_runs_or_never_reported_is_dropped_and_a_cut_last_line_is_left_out(tmp_path, exports, read):
    shutil.copytree(exports / "ray" / "wine", tmp_path / "wine")
    trials = sorted(path.parent for path in (tmp_path / "wine").glob("*/params.json"))
    whole = [t for t in trials if len((t / "result.json").read_text().splitlines()) == 4]
    with (whole[0] / "result.json").open("a") as file:
        file.write('{"val_acc": 0.9, "training_it')
    (whole[1] / "result.json").write_text("")
    running = json.loads((whole[2] / "result.json").read_text().splitlines()[0])["trial_id"]
    state = {"trial_data": [[json.dumps({"trial_id": running, "status": "RUNNING"}), "{}"]]}
    (tmp_path / "wine" / "experiment_state-2026-11-30.json").write_text(json.dumps(state))
    found = read("ray", tmp_path, metric="val_acc", mode="max")
    assert found.dropped == {"no report": 1, "running: not finished": 1}
    lines = (whole[0] / "result.json").read_text().splitlines()
    assert json.loads(lines[3])["val_acc"] in found.frame["performance"].tolist()


def test_a_function_that_returns_early_by_itself_is_not_stopped(tmp_path, read):
    for name, epochs, done in (("a", 4, False), ("b", 2, False), ("c", 2, True)):
        folder = tmp_path / "e" / name
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps({"lr": len(name) + epochs + done}))
        lines = [
            {"loss": 1 / i, "training_iteration": i, "trial_id": name, "done": done and i == epochs}
            for i in range(1, epochs + 1)
        ]
        (folder / "result.json").write_text("\n".join(map(json.dumps, lines)))
    found = read("ray", tmp_path / "e", mode="min").frame
    assert found["status"].tolist() == ["ok", "ok", "stopped"]
    assert found["performance"].tolist()[:2] == [0.25, 0.5]


def test_a_folder_without_trials_is_refused(tmp_path, read):
    with pytest.raises(InvalidTableError, match="Expected an experiment of Ray Tune"):
        read("ray", tmp_path)
    with pytest.raises(InvalidTableError, match="there is no"):
        read("ray", tmp_path / "none")


def write_trial(folder, name, values, **params):
    (folder / name).mkdir(parents=True)
    (folder / name / "params.json").write_text(json.dumps(params))
    lines = [{"val_acc": v, "training_iteration": i, "trial_id": name} for i, v in enumerate(values, 1)]
    (folder / name / "result.json").write_text("\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize(
    ("at", "status", "best"),
    [(None, ["ok", "failed", "ok", "failed"], 0.9), ("best", ["ok", "ok", "ok", "failed"], 0.9)],
)
def test_a_metric_that_is_nan_is_no_score_and_its_point_is_skipped_in_the_curve(tmp_path, read, at, status, best):
    folder = tmp_path / "experiment"
    for number, values in enumerate([[0.5, 0.6], [0.7, math.nan], [math.nan, 0.9], [math.nan, math.nan]]):
        write_trial(folder, f"t{number}", values, lr=10.0**-number)
    frame = read("ray", folder, metric="val_acc", mode="max", at=at).frame
    assert frame["status"].tolist() == status
    assert frame["performance"].max() == best
    assert [list(curve) for curve in frame["learning_curve"]] == [[0.5, 0.6], [0.7], [0.9], []]
