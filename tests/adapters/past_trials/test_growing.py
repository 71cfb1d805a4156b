"""A history grows by what is found with it, and stays a history."""

import multiprocessing

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters.past_trials.growing import ADDED_AT, SOURCE, check_growing, grow
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import History
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace

RATE = Float("lr", 1e-4, 1e-1, 1e-2, log=True)
SPACE = SearchSpace((RATE,))


def found(task_id="new", count=4, **columns):
    rates = np.geomspace(1e-4, 1e-1, count)
    return pd.DataFrame({"task_id": task_id, "hp_lr": rates, "performance": -np.abs(np.log10(rates) + 2), **columns})


def add(path, frame, space=SPACE, direction="max", source="test"):
    grow(path, frame, space, direction=direction, source=source)
    return pd.read_parquet(path)


def test_a_new_file_is_a_history(tmp_path):
    add(tmp_path / "past.parquet", found())
    history = History.read(tmp_path / "past.parquet")
    assert history.space == SPACE
    assert history.task_ids == ("new",)
    assert not list(tmp_path.glob(".*.tmp"))


def test_each_trial_says_who_found_it_and_when(tmp_path):
    frame = add(tmp_path / "past.parquet", found(), source="optuna")
    assert set(frame[SOURCE]) == {"optuna"}
    assert pd.to_datetime(frame[ADDED_AT]).notna().all()


def test_a_trial_that_is_written_again_takes_its_own_place_and_all_others_stay(tmp_path):
    path = tmp_path / "past.parquet"
    History.from_frame(pd.concat([found("old"), found("new")]), space=SPACE).write(path)
    add(path, found("new", 3))
    frame = add(path, found("new", 5).assign(performance=7.0))
    assert frame.groupby("task_id").size().to_dict() == {"old": 4, "new": 4 + 5}
    assert frame.loc[frame[SOURCE] == "test", "performance"].tolist() == [7.0] * 5


def test_performances_are_written_in_the_units_of_the_history(tmp_path):
    path = tmp_path / "past.parquet"
    losses = found("old").assign(performance=lambda f: -f["performance"])
    History.from_frame(losses, space=SPACE, lower_is_better=True).write(path)
    add(path, found("new"), direction="max")
    history = History.read(path)
    assert history.lower_is_better
    np.testing.assert_allclose(history.performance[0], history.performance[1])


def test_a_wider_space_is_united_and_what_older_trials_lack_is_optional(tmp_path):
    path = tmp_path / "past.parquet"
    add(path, found("old"))
    optimizer = Categorical("optimizer", ("adam", "sgd"), "adam")
    momentum = Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",)))
    wider = SearchSpace((Float("lr", 1e-5, 1.0, 1e-2, log=True), optimizer, momentum))
    add(path, found("new", hp_optimizer=["adam", "sgd"] * 2, hp_momentum=[np.nan, 0.5] * 2), wider)
    space = {hp.name: hp for hp in History.read(path).space.hyperparameters}
    assert (space["lr"].low, space["lr"].high) == (1e-5, 1.0)
    assert space["optimizer"].optional
    assert space["momentum"].condition == momentum.condition


def test_words_in_place_of_numbers_are_another_thing(tmp_path):
    path = tmp_path / "past.parquet"
    add(path, found("old"))
    words = SearchSpace((Categorical("lr", ("low", "high"), "low"), Integer("layers", 1, 4, 2)))
    frame = found("new", hp_layers=[1, 2, 3, 4]).assign(hp_lr=["low", "high"] * 2)
    add(path, frame, words)
    history = History.read(path)
    assert {hp.name: type(hp) for hp in history.space.hyperparameters} == {"lr": Float, "layers": Integer}
    assert all("lr" not in history.configurations[p] for p in history.tasks[0].positions)


def test_choices_that_are_numbers_join_those_written_as_text(tmp_path):
    path = tmp_path / "past.parquet"
    space = SearchSpace((RATE, Categorical("batch", (64, 128), 64)))
    History.from_frame(found("old", hp_batch=[64, 128] * 2), space=space).write(path)
    add(path, found("new", hp_batch=[64.0, 256.0] * 2), SearchSpace((RATE, Categorical("batch", (64, 256), 64))))
    history = History.read(path)
    assert {c["batch"] for c in history.configurations} == {64, 128, 256}


def test_a_plain_table_stays_one(tmp_path):
    path = tmp_path / "past.parquet"
    found("old", learner="net").to_parquet(path)
    frame = add(path, found("new"))
    assert set(frame["learner"]) == {"net"}
    assert History.read(path).task_ids == ("new", "old")


@pytest.mark.parametrize("past", ["past.csv", None, pd.DataFrame()])
def test_what_cannot_grow_is_refused(past):
    with pytest.raises(InvalidTableError, match=r"ends in \.parquet"):
        check_growing(past)


def test_two_processes_do_not_lose_what_the_other_writes(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_three, args=(tmp_path / "past.parquet", name)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(pd.read_parquet(tmp_path / "past.parquet")["task_id"]) == {f"{n}{i}" for n in "ab" for i in range(3)}


def _add_three(path, name):
    for number in range(3):
        add(path, found(f"{name}{number}"))
