import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import History

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial):
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    opt = trial.suggest_categorical("opt", ["sgd", "adam", None])
    if opt == "sgd":
        trial.suggest_float("momentum", 0.0, 0.99)
    trial.suggest_int("width", 16, 256, step=16)
    for layer in range(trial.suggest_int("layers", 1, 3)):
        trial.suggest_int(f"units_{layer}", 4, 64, log=True)
    for epoch in range(3):
        trial.report(float("nan") if trial.number == 1 and epoch == 1 else epoch * lr, epoch)
        if trial.number == 4 and epoch == 1:
            raise optuna.TrialPruned
    trial.set_user_attr("rows", 150)
    return float("nan") if trial.number == 3 else lr


def make_study(storage, name="iris", direction="maximize", trials=20):
    study = optuna.create_study(
        storage=storage, study_name=name, direction=direction, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=trials)
    return study


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path / 'trials.db'}"


def test_a_storage_gives_ranges_conditions_curves_and_what_became_of_each_trial(storage, read, spaces):
    study = make_study(storage)
    study.enqueue_trial({"lr": 0.01})  # waits
    study.ask()  # takes the enqueued one, and runs for ever
    study.enqueue_trial({"lr": 0.02})
    found = read("optuna", storage)
    assert found.kept == {"ok": 18, "failed": 1, "stopped": 1}
    assert found.dropped == {"running: not finished": 1, "waiting: not finished": 1}
    assert found.direction == "max"
    frame = found.frame
    assert frame["task_id"].unique().tolist() == ["iris"]
    assert frame["performance"][0] == study.trials[0].value
    assert frame["status"].tolist()[3:5] == ["failed", "stopped"]
    assert math.isnan(frame["performance"][3])  # a returned NaN is a failure, never 0
    assert math.isnan(frame["performance"][4])  # what a pruned trial reported last is not final
    assert (frame["duration_s"] > 0).all()
    lr = study.trials[0].params["lr"]
    assert frame["learning_curve"][0].tolist() == [0.0, lr, 2 * lr]
    assert len(frame["learning_curve"][1]) == 2  # without the NaN of one epoch
    assert len(frame["learning_curve"][4]) == 2
    space = spaces(found)
    assert (space["lr"]["low"], space["lr"]["high"], space["lr"]["log"]) == (1e-5, 1e-1, True)
    assert space["opt"]["choices"] == ["sgd", "adam", None]
    assert space["momentum"]["condition"] == {"parent": "opt", "values": ["sgd"]}
    assert (space["width"]["type"], space["width"]["low"], space["width"]["high"]) == ("int", 16, 256)
    assert space["units_2"]["condition"] == {"parent": "layers", "values": [3]}
    assert space["units_1"]["condition"] == {"parent": "layers", "values": [2, 3]}
    assert space["units_0"]["condition"] is None


def test_the_same_trials_come_from_a_journal_a_file_and_the_study_itself(tmp_path, storage, read):
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    make_study(journal)
    study = make_study(storage)
    expected = read("optuna", storage).frame.drop(columns="duration_s")
    for address in (tmp_path / "journal.log", tmp_path / "trials.db", study):
        found = read("optuna", address).frame.drop(columns="duration_s")
        assert found.drop(columns="learning_curve").equals(expected.drop(columns="learning_curve"))


def test_a_csv_of_trials_dataframe_asks_for_the_direction_and_the_task_in_one_message(tmp_path, storage, read, spaces):
    make_study(storage).trials_dataframe().to_csv(tmp_path / "study.csv")
    with pytest.raises(InvalidTableError, match=r"--mode max or --mode min.*; --task COLUMN"):
        read("optuna", tmp_path / "study.csv")
    found = read("optuna", tmp_path / "study.csv", mode="max", task="name:iris")
    assert found.kept == {"ok": 18, "failed": 1, "stopped": 1}
    expected = read("optuna", storage).frame
    assert found.frame["performance"].equals(expected["performance"])
    assert found.frame["duration_s"].round(5).equals(expected["duration_s"].round(5))
    assert spaces(found)["momentum"]["condition"] == {"parent": "opt", "values": ["sgd"]}
    assert spaces(found)["units_2"]["condition"] == {"parent": "layers", "values": [3]}
    with pytest.raises(InvalidTableError, match="No trial has 'attr:color'"):
        read("optuna", tmp_path / "study.csv", mode="max", task="attr:color")
    assert read("optuna", tmp_path / "study.csv", mode="max", task="attr:rows").dropped == {
        "no attr:rows that names the task": 1  # pruned before it was set
    }


def test_studies_whose_spaces_differ_are_on_one_axis_by_value(storage, read, spaces):
    for name, low, high, log, choices in (
        ("old", 1e-4, 1e-2, True, [64, 128]),
        ("new", 0.0, 1e-1, False, [64, 128, 256]),
    ):
        study = optuna.create_study(storage=storage, study_name=name)
        study.optimize(
            lambda trial, low=low, high=high, log=log, choices=choices, name=name: (
                trial.suggest_float("lr", low, high, log=log)
                + trial.suggest_categorical("batch", choices)
                + (trial.suggest_float("dropout", 0, 1) if name == "new" else 0)
            ),
            n_trials=8,
        )
    found = read("optuna", storage)
    space = spaces(found)
    assert (space["lr"]["low"], space["lr"]["high"], space["lr"]["log"]) == (0.0, 0.1, False)
    assert space["batch"]["choices"] == [64, 128, 256]
    assert space["dropout"]["condition"] is None
    old = found.frame["task_id"] == "old"
    assert found.frame.loc[old, "hp_dropout"].isna().all()
    assert found.frame.loc[~old, "hp_dropout"].notna().all()
    assert read("optuna", storage, assume={"dropout": 0.0}).frame.loc[old, "hp_dropout"].eq(0.0).all()
    assert read("optuna", storage, only="o*").frame["task_id"].unique().tolist() == ["old"]
    with pytest.raises(InvalidTableError, match="Expected studies named x"):
        read("optuna", storage, only="x")


def test_a_logarithmic_scale_wins_where_both_ranges_are_positive(storage, read, spaces):
    for name, log in (("a", True), ("b", False)):
        study = optuna.create_study(storage=storage, study_name=name)
        study.optimize(lambda trial, log=log: trial.suggest_float("lr", 1e-4, 1e-1, log=log), n_trials=4)
    assert spaces(read("optuna", storage))["lr"]["log"]


def test_a_study_of_several_objectives_asks_for_one_and_skips_trials_without_values(storage, read):
    study = optuna.create_study(storage=storage, study_name="two", directions=["maximize", "minimize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=4)
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.PRUNED,
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
        )
    )
    with pytest.raises(InvalidTableError, match="--metric NAME, its name, one of 'values_0', 'values_1'"):
        read("optuna", storage)
    found = read("optuna", storage, metric="values_1")
    assert found.direction == "min"
    assert found.frame["performance"].tolist() == [1.0] * 4
    assert found.dropped == {"pruned without values": 1}


def test_a_trial_enqueued_outside_of_its_range_widens_it(storage, read, spaces):
    study = optuna.create_study(storage=storage, study_name="s")
    study.enqueue_trial({"x": 5.0})
    with pytest.warns(UserWarning, match="out of range"):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    found = read("optuna", storage)
    assert spaces(found)["x"]["high"] == 5.0
    assert found.kept == {"ok": 3}


def test_attributes_of_a_study_describe_its_task(storage, read):
    make_study(storage, trials=3)
    assert read("optuna", storage, features=["rows"]).frame["mf_rows"].eq(150).all()
    with pytest.raises(InvalidTableError, match="'param:lr' has several values within the task 'iris'"):
        read("optuna", storage, features=["param:lr"])
    with pytest.raises(InvalidTableError, match="No trial has a number in 'colour'"):
        read("optuna", storage, features=["colour"])


def test_a_storage_that_is_not_there_is_not_made(tmp_path, read):
    with pytest.raises(InvalidTableError, match="there is no"):
        read("optuna", f"sqlite:///{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\x00" + bytes(100))
    with pytest.raises(InvalidTableError, match="Expected"):
        read("optuna", tmp_path / "other.db")


def test_a_study_without_a_hyperparameter_did_not_choose_none(tmp_path, storage, read):
    for name in ("old", "new"):
        study = optuna.create_study(storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler(seed=1))
        study.optimize(
            lambda trial, name=name: (
                trial.suggest_float("x", 0, 1)
                + (trial.suggest_categorical("depth", [None, 2, 3]) or 1 if name == "new" else 0)
            ),
            n_trials=12,
        )
    found = read("optuna", storage)
    found.write(tmp_path / "past.parquet")
    History.read(tmp_path / "past.parquet").write(tmp_path / "again.parquet")
    for name in ("past.parquet", "again.parquet"):
        history = History.read(tmp_path / name)
        depths = {t.task_id: {history.configurations[p].get("depth", "no") for p in t.positions} for t in history.tasks}
        assert depths == {"old": {"no"}, "new": {None, 2, 3}}
        assert any("depth is missing in 12 of 24 trials" in note for note in history.notes)
