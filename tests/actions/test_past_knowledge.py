"""What past tasks teach a search, from however few of them and whatever their search space was."""

import json

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.past_knowledge import PastKnowledge, know_past, read_past
from metaflow_hpo.alignment import is_whole
from metaflow_hpo.collect.strategies.registry import LEARNING, make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.history import History
from metaflow_hpo.learners.function import learner_from_function
from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.trial import Trial

SPACE = {"lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.5}}
RATES = np.geomspace(1e-4, 1.0, 9)
TODAY = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "batch": [64, 128, 256],
    "optimizer": ["adam", "sgd"],
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
}


def learner_of(space, **options):
    return learner_from_function(lambda configuration, task, report: 0.0, space, name="toy", **options)


def trials_of(tasks=3, **columns):
    """Trials whose performance falls with the distance of lr from 1e-2, on a few tasks."""
    rates = np.asarray(columns.pop("lr", np.geomspace(1e-4, 1.0, 12)))
    drawn = np.random.default_rng(0)
    rows = [
        {
            "task_id": f"t{task}",
            "hp_lr": rate,
            **{f"hp_{name}": choices[drawn.integers(len(choices))] for name, choices in columns.items()},
            "performance": -abs(np.log10(rate) + 2 + 0.1 * task),
        }
        for task in range(tasks)
        for rate in rates
    ]
    return pd.DataFrame(rows)


def ask(known, learner, name="recommended", told=6):
    """Return what a strategy proposes, one after the other, each told to be worth its lr."""
    strategy = make_strategy(name, StrategyContext(learner.space, past=known.tasks, parallel=1))
    asked = []
    for _ in range(told):
        [configuration] = strategy.ask(1)
        asked.append(configuration)
        strategy.tell([Trial.told(configuration, -abs(np.log10(configuration["lr"]) + 2))])
    return asked


def test_one_past_task_is_enough_for_a_search(tmp_path):
    path = tmp_path / "past.csv"
    pd.DataFrame({"task_id": "first", "hp_lr": RATES, "performance": -np.abs(np.log10(RATES) + 3)}).to_csv(path)
    learner = learner_of(SPACE)
    known = read_past(path, learner)
    assert len(known.tasks.scores) == 1
    strategy = make_strategy("recommended", StrategyContext(learner.space, past=known.tasks))
    assert strategy.ask(1)[0]["lr"] == 1e-3


HISTORIES = {
    "wider": trials_of(depth=[1, 2, 3], batch=[64, 128], optimizer=["adam"]),
    "narrower": trials_of(),
    "outside": trials_of(lr=np.geomspace(1e-6, 10.0, 15), batch=[32, 64]),
    "an inactive value filled in": trials_of(batch=[64, 128], optimizer=["adam", "sgd"], momentum=[0.5, 0.9]),
    "choices as text": trials_of(batch=["64", "128"], optimizer=["adam", "lion"]),
    "other choices of that name": trials_of(optimizer=["newton", "bfgs"]),
    "words among numbers": trials_of(momentum=["none", 0.5]),
    "linear from nought": trials_of(lr=[1e-9, 0.02, 0.04, 0.06, 0.08, 0.1]).replace({"hp_lr": {1e-9: 0.0}}),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_of_another_space_teaches_and_only_what_lies_in_todays_is_proposed(name, tmp_path):
    learner = learner_of(TODAY)
    HISTORIES[name].to_csv(tmp_path / "past.csv", index=False)
    known = read_past(tmp_path / "past.csv", learner)
    asked = ask(known, learner)
    assert all(is_whole(learner.space, configuration) for configuration in asked)
    assert 2e-3 <= asked[0]["lr"] <= 5e-2


LOCAL = [name for name in LEARNING if not name.startswith(("syne_tune", "flaml"))]


@pytest.mark.parametrize("strategy", LOCAL)
def test_every_strategy_that_learns_takes_a_history_of_another_space(strategy):
    learner = learner_of(TODAY)
    known = know_past(trials_of(lr=np.geomspace(1e-6, 10.0, 15), batch=[32, 64]), learner)
    assert all(is_whole(learner.space, configuration) for configuration in ask(known, learner, strategy))


def test_a_new_choice_is_among_what_may_be_proposed():
    learner = learner_of(TODAY)
    known = know_past(trials_of(batch=[64, 128]), learner)
    assert {c["batch"] for c in known.tasks.configurations} == {64, 128, 256}


def test_choices_that_are_all_others_teach_nothing_of_that_hyperparameter():
    learner = learner_of(TODAY)
    known = know_past(trials_of(optimizer=["newton", "bfgs"]), learner)
    [optimizer] = [hp for hp in known.tasks.space.hyperparameters if hp.name == "optimizer"]
    assert optimizer.choices == ("adam", "sgd")
    assert all("optimizer" not in c for c in History.from_past(known.tasks).configurations if "batch" not in c)


def test_what_older_trials_lacked_may_be_assumed():
    learner = learner_of({"lr": TODAY["lr"], "decay": {"type": "float", "low": 0.0, "high": 0.1}})
    newer = trials_of().assign(hp_decay=0.05, task_id="newer")
    older = trials_of()
    both = pd.concat([older, newer])
    optional = {hp.name: hp.optional for hp in know_past(both, learner).tasks.space.hyperparameters}
    assumed = know_past(both, learner, assume={"decay": 0.0}).tasks.space.hyperparameters
    assert optional == {"lr": False, "decay": True}
    assert not any(hp.optional for hp in assumed)


def test_what_cannot_be_assumed_is_said_before_the_search():
    learner = learner_of(TODAY)
    with pytest.raises(SearchSpaceMismatchError, match=r"lr = 0 cannot be assumed.*log scale"):
        know_past(trials_of(), learner, assume={"lr": 0})
    with pytest.raises(SearchSpaceMismatchError, match=r"to be assumed; got 'decay'"):
        know_past(trials_of(), learner, assume={"decay": 0})


def test_a_value_is_assumed_only_where_it_plays_a_role():
    learner = learner_of(TODAY)
    past = trials_of(batch=[64], optimizer=["adam", "sgd"])
    aligned = History.from_frame(past).aligned_to(learner.space, assume={"momentum": 0.9})
    assert all(("momentum" in c) == (c["optimizer"] == "sgd") for c in aligned.configurations)


def test_a_history_with_nothing_in_common_is_refused_before_the_search():
    past = trials_of().rename(columns={"hp_lr": "hp_rate"})
    with pytest.raises(SearchSpaceMismatchError, match=r"differ in hyperparameters of .*'lr'.*'rate'"):
        know_past(History.from_frame(past), learner_of(TODAY))


def test_the_same_space_is_seen_on_all_that_was_tried():
    space = SearchSpace.read(SPACE)
    history = History.from_frame(trials_of(), space=space)
    known = PastKnowledge.of(history, space)
    assert known.tasks.configurations == history.configurations
    assert known.tasks.space == space
    np.testing.assert_array_equal(known.tasks.scores, history.past_tasks().scores)


def test_a_fitted_folder_of_another_space_teaches(tmp_path):
    from metaflow_hpo.evaluate.fitting import fit_recommender

    (tmp_path / "fitted").mkdir()
    fit_recommender(History.from_frame(trials_of(batch=[32, 64]))).save(tmp_path / "fitted")
    learner = learner_of(TODAY)
    asked = ask(know_past(tmp_path / "fitted", learner), learner, told=2)
    assert all(is_whole(learner.space, configuration) for configuration in asked)


def test_trials_and_learning_curves_come_from_one_table(tmp_path):
    frame = trials_of(tasks=1, lr=np.geomspace(1e-4, 1e-1, 210))
    shape = 1 - np.exp(-np.arange(50) / 8)
    curves = [json.dumps([0.9 + p * s + 0.01 * np.sin(9 * p * s) for s in shape]) for p in 0.1 * frame["performance"]]
    frame = frame.assign(learner="toy", status="ok", fidelity_epochs=50, learning_curve=curves)
    frame.to_csv(tmp_path / "past.csv", index=False)
    known = read_past(tmp_path / "past.csv", learner_of(SPACE, fidelity=Fidelity("epochs", 50)))
    assert known.stopping is not None
    assert len(known.tasks.configurations) == 210
