import json
import shutil

import pytest

from metaflow_hpo.errors import InvalidTableError


def test_ranges_conditions_curves_and_failures_are_keras_tuners_own(exports, read, spaces):
    found = read("keras-tuner", exports / "keras_tuner")
    assert found.frame["task_id"].value_counts().to_dict() == {"iris": 12, "wine": 12}
    assert (found.metric, found.direction) == ("val_accuracy", "max")
    assert found.kept == {"ok": 19, "failed": 5}
    space = spaces(found)
    assert (space["lr"]["low"], space["lr"]["high"], space["lr"]["log"]) == (1e-4, 1e-1, True)
    assert (space["units"]["type"], space["units"]["low"], space["units"]["high"]) == ("int", 16, 128)
    assert space["opt"]["choices"] == ["sgd", "adam"]
    assert space["momentum"]["condition"] == {"parent": "opt", "values": ["sgd"]}
    assert set(space) == {"lr", "units", "opt", "bn", "momentum"}  # without what is fixed
    assert found.frame.loc[found.frame["status"] == "failed", "reason"].str.endswith("too small").all()


def test_an_inactive_hyperparameter_is_absent_whatever_value_was_recorded(exports, read):
    frame = read("keras-tuner", exports / "keras_tuner").frame
    assert (frame["hp_momentum"].notna() == (frame["hp_opt"] == "sgd")).all()


def test_the_best_epoch_counts_as_in_keras_tuners_score(exports, read):
    frame = read("keras-tuner", exports / "keras_tuner" / "iris").frame
    records = [json.loads(path.read_text()) for path in sorted((exports / "keras_tuner/iris").glob("*/trial.json"))]
    scores = [record["score"] for record in records if record["status"] == "COMPLETED"]
    assert frame.loc[frame["status"] == "ok", "performance"].tolist() == scores
    last = read("keras-tuner", exports / "keras_tuner" / "iris", at="last").frame
    assert (last["performance"] < frame["performance"])[frame["status"] == "ok"].all()
    assert [len(curve) for curve in frame.loc[frame["status"] == "ok", "learning_curve"]] == [4] * len(scores)


def test_hyperbands_own_values_are_dropped_and_its_epochs_are_the_fidelity(tmp_path, exports, read):
    shutil.copytree(exports / "keras_tuner" / "iris", tmp_path / "iris")
    for i, path in enumerate(sorted((tmp_path / "iris").glob("*/trial.json"))):
        record = json.loads(path.read_text())
        record["hyperparameters"]["values"] |= {"tuner/epochs": 2 + 2 * (i % 2), "tuner/bracket": 1, "tuner/round": 0}
        path.write_text(json.dumps(record))
    found = read("keras-tuner", tmp_path / "iris")
    assert not [c for c in found.frame if c.startswith("hp_tuner")]
    assert found.frame["fidelity_epochs"].tolist() == [2, 4] * 6
    assert "Trials of Hyperband with 2, 4 epochs." in found.notes


def test_choices_that_were_added_before_resuming_are_united(tmp_path, exports, read, spaces):
    shutil.copytree(exports / "keras_tuner" / "iris", tmp_path / "iris")
    path = sorted((tmp_path / "iris").glob("*/trial.json"))[-1]
    record = json.loads(path.read_text())
    choice = next(item for item in record["hyperparameters"]["space"] if item["config"]["name"] == "opt")
    choice["config"]["values"] = ["sgd", "adam", "lion"]
    path.write_text(json.dumps(record))
    assert spaces(read("keras-tuner", tmp_path))["opt"]["choices"] == ["sgd", "adam", "lion"]


def test_a_trial_that_runs_is_dropped_and_a_damaged_file_is_named(tmp_path, exports, read):
    shutil.copytree(exports / "keras_tuner" / "iris", tmp_path / "iris")
    first, second = sorted((tmp_path / "iris").glob("*/trial.json"))[1:3]
    record = json.loads(first.read_text())
    first.write_text(json.dumps(record | {"status": "RUNNING"}))
    assert read("keras-tuner", tmp_path).dropped == {"running: not finished": 1}
    second.write_text(second.read_text()[:100])
    with pytest.raises(InvalidTableError, match=r"Expected JSON in .*trial.json"):
        read("keras-tuner", tmp_path)
