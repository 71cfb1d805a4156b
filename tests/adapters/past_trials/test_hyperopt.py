import json
import pickle

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTableError

hyperopt = pytest.importorskip("hyperopt")


@pytest.fixture
def trials():
    """Twelve trials with a conditional space, of which one fails."""
    hp = hyperopt.hp
    space = {
        "lr": hp.loguniform("lr", np.log(1e-5), np.log(1e-1)),
        "opt": hp.choice("opt", [{"name": "adam"}, {"name": "sgd", "momentum": hp.uniform("momentum", 0, 1)}]),
        "width": hp.quniform("width", 8, 64, 8),
    }
    made = hyperopt.Trials()

    def objective(found):
        if len(made.trials) == 3:
            return {"status": hyperopt.STATUS_FAIL, "failure": "diverged"}
        return {"status": hyperopt.STATUS_OK, "loss": float("nan") if len(made.trials) == 5 else found["lr"]}

    hyperopt.fmin(
        objective, space, algo=hyperopt.rand.suggest, max_evals=12, trials=made,
        rstate=np.random.default_rng(0), show_progressbar=False,
    )  # fmt: skip
    return made


def test_documents_as_json_are_trials_with_choices_by_number(tmp_path, trials, read, spaces):
    (tmp_path / "iris.json").write_text(json.dumps(trials.trials, default=str))
    found = read("hyperopt", tmp_path / "iris.json")
    assert found.direction == "min"
    assert found.frame["task_id"].unique().tolist() == ["iris"]
    assert found.kept == {"ok": 10, "failed": 2}
    assert found.frame.loc[found.frame["status"] == "failed", "reason"].tolist() == ["diverged", "loss is nan"]
    assert found.frame["performance"][0] == trials.trials[0]["result"]["loss"]
    space = spaces(found)
    assert space["lr"]["log"]
    assert space["momentum"]["condition"] == {"parent": "opt", "values": [1]}
    assert (found.frame["duration_s"] >= 0).all()


def test_the_object_itself_and_a_folder_of_files_are_read_too(tmp_path, trials, read):
    assert read("hyperopt", trials, task="name:iris").kept == {"ok": 10, "failed": 2}
    for name in ("iris", "wine"):
        (tmp_path / f"{name}.json").write_text(json.dumps(trials.trials, default=str))
    assert set(read("hyperopt", tmp_path).frame["task_id"]) == {"iris", "wine"}


def test_trials_that_have_no_outcome_are_dropped(trials, read):
    documents = [dict(document) for document in trials.trials]
    documents[0]["state"], documents[1]["state"], documents[2]["state"] = 0, 1, 4
    dropped = read("hyperopt", documents, task="name:iris").dropped
    assert dropped == {"new: not finished": 1, "running: not finished": 1, "cancelled": 1}


def test_a_pickle_is_refused_unread_with_what_to_do(tmp_path, trials, read):
    (tmp_path / "trials.pkl").write_bytes(pickle.dumps(trials))
    (tmp_path / "renamed.json").write_bytes(pickle.dumps(trials))
    for name in ("trials.pkl", "renamed.json"):
        with pytest.raises(InvalidTableError, match=r"is a pickle: loading it would run.*json\.dump\(trials\.trials"):
            read("hyperopt", tmp_path / name)


def test_json_of_something_else_is_refused(tmp_path, read):
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(InvalidTableError, match="Expected a list of Hyperopt's documents"):
        read("hyperopt", tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[{")
    with pytest.raises(InvalidTableError, match="Expected JSON"):
        read("hyperopt", tmp_path / "a.json")
