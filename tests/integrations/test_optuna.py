"""MetaSampler in real studies: Optuna's contract, and what its users ask for."""

import math
import pickle

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.history import History
from metaflow_hpo.integrations.doubt import ALONE, Trust, judge
from metaflow_hpo.integrations.optuna import MetaSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def objective(shift=0.0, sign=1.0):
    def train(trial):
        rate = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        layers = trial.suggest_int("layers", 1, 8)
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
        momentum = trial.suggest_float("momentum", 0.0, 0.99) if optimizer == "sgd" else 0.5
        loss = (math.log10(rate) + 3 + shift) ** 2 + 0.05 * (layers - 4) ** 2
        return -sign * (loss + (optimizer == "sgd") * (0.1 + (momentum - 0.9) ** 2))

    return train


@pytest.fixture(scope="module")
def past():
    studies = []
    for number in range(5):
        sampler = optuna.samplers.RandomSampler(seed=number)
        study = optuna.create_study(direction="maximize", sampler=sampler, study_name=f"past{number}")
        study.optimize(objective(0.1 * number - 0.2), n_trials=25)
        studies.append(study)
    return studies


def run(sampler, train, count=8, direction="maximize", **options):
    study = optuna.create_study(direction=direction, sampler=sampler, **options)
    study.optimize(train, n_trials=count)
    return study


def distinct(study):
    return len({tuple(sorted(trial.params.items())) for trial in study.trials})


def test_the_first_trial_is_informed(past):
    assert run(MetaSampler(past, seed=0), objective(), 1).best_value > -0.5


def test_a_study_that_minimises_is_searched_in_its_own_direction(past):
    study = run(MetaSampler(past, seed=0), objective(sign=-1.0), 5, direction="minimize")
    assert study.best_value < 0.3


def test_without_a_history_it_is_optunas_tpe():
    tpe = optuna.samplers.TPESampler(multivariate=True, group=True, seed=3)
    expected = run(tpe, objective(), 15)
    assert [t.params for t in run(MetaSampler(seed=3), objective(), 15).trials] == [t.params for t in expected.trials]


def test_a_seeded_study_that_is_resumed_does_not_repeat_itself(past, tmp_path):
    storage = f"sqlite:///{tmp_path}/trials.db"
    for _ in range(2):
        study = optuna.create_study(
            storage=storage, study_name="s", load_if_exists=True, sampler=MetaSampler(past, seed=1)
        )
        study.optimize(objective(), n_trials=25)
    assert distinct(study) == 50


def test_several_objectives_are_refused_before_the_objective_runs(past):
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=MetaSampler(past))
    with pytest.raises(MetaflowHPOError, match="one objective"):
        study.ask()


def test_trials_that_run_at_once_differ(past):
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=0))
    trials = [study.ask() for _ in range(6)]
    for trial in reversed(trials):
        objective()(trial)
    assert distinct(study) == 6


def test_threads_share_a_sampler(past):
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=0))
    study.optimize(objective(), n_trials=8, n_jobs=4)
    assert distinct(study) == 8


def test_workers_with_samplers_of_their_own_do_not_try_the_same(past, tmp_path):
    storage = f"sqlite:///{tmp_path}/trials.db"
    optuna.create_study(storage=storage, study_name="s", direction="maximize")
    workers = [optuna.load_study(storage=storage, study_name="s", sampler=MetaSampler(past, seed=0)) for _ in range(3)]
    for trial in [worker.ask() for worker in workers]:
        objective()(trial)
    assert distinct(workers[0]) == 3


def test_pruned_failed_nan_and_enqueued_trials_are_lived_with(past):
    def train(trial):
        value = objective()(trial)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            trial.report(value, 1)
            raise optuna.TrialPruned
        if trial.number == 3:
            raise ValueError
        return math.nan if trial.number == 4 else value

    study = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=0))
    study.enqueue_trial({"lr": 1e-4, "layers": 2})
    study.enqueue_trial({"lr": 7.0, "layers": 2})  # out of range: Optuna takes it with a warning
    with pytest.warns(UserWarning, match="out of range"):
        study.optimize(train, n_trials=8, catch=ValueError)
    assert study.trials[0].params["layers"] == 2
    assert [t.state for t in study.trials].count(TrialState.COMPLETE) == 4


def test_a_killed_workers_trial_expires(past):
    sampler = MetaSampler(past, seed=0, expire_after_s=0.0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    objective()(study.ask())
    alive = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=0))
    objective()(alive.ask())
    for one in (study, alive):
        objective()(one.ask())
    assert study.trials[1].params == study.trials[0].params
    assert alive.trials[1].params != alive.trials[0].params


def test_hyperband_and_a_copied_sampler(past):
    sampler = pickle.loads(pickle.dumps(MetaSampler(past, seed=0)))

    def train(trial):
        value = objective()(trial)
        for step in range(3):
            trial.report(value - 1 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=3)
    assert len(run(sampler, train, 8, pruner=pruner).trials) == 8


def test_an_explicit_search_space_is_taken(past):
    space = {"lr": FloatDistribution(1e-4, 1e-3, log=True), "optimizer": CategoricalDistribution(["adam", "sgd"])}

    def train(trial):
        return trial.suggest_float("lr", 1e-4, 1e-3, log=True) * (
            trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "sgd"
        )

    assert distinct(run(MetaSampler(past, search_space=space, seed=0), train, 5)) == 5


SPACES = {
    "narrower": lambda t: t.suggest_float("lr", 1e-5, 1e-4, log=True),
    "wider": lambda t: t.suggest_float("lr", 1e-8, 10.0, log=True),
    "linear": lambda t: t.suggest_float("lr", 0.0, 0.1),
    "steps": lambda t: t.suggest_float("lr", 0.0, 0.1, step=0.02),
    "choices": lambda t: t.suggest_categorical("lr", [1e-3, 1e-2]),
    "whole": lambda t: t.suggest_int("lr", 1, 9),
    "another": lambda t: t.suggest_float("alpha", 0.0, 1.0),
    "more": lambda t: t.suggest_float("lr", 1e-5, 1e-1, log=True) + t.suggest_float("alpha", 0.0, 1.0),
    "more choices": lambda t: len(t.suggest_categorical("optimizer", ["sgd", "adam", "lion"])),
    "other choices": lambda t: len(str(t.suggest_categorical("optimizer", [None, True, 3]))),
    "changing": lambda t: t.suggest_float("lr", 1e-5, 10.0 ** -(1 + t.number % 3), log=True),
    "single": lambda t: t.suggest_float("lr", 0.1, 0.1) + t.suggest_int("layers", 1, 30),
}


@pytest.mark.parametrize("name", SPACES)
def test_spaces_that_differ_are_never_an_error(past, name):
    study = run(MetaSampler(past, seed=0), SPACES[name], 5)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 5


def test_a_new_choice_is_tried(past):
    study = run(
        MetaSampler(past, seed=0), lambda t: t.suggest_categorical("optimizer", ["sgd", "adam", "lion"]) == "lion", 12
    )
    assert study.best_value == 1.0


def test_a_task_is_described_by_what_the_history_has(past):
    with pytest.raises(MetaflowHPOError, match="none"):
        MetaSampler(past, task={"rows": 3.0})


def test_misleading_history_fades(past):
    misled = []
    for study in past:
        lying = optuna.create_study(direction="maximize", study_name=study.study_name)
        for trial in study.trials:
            lying.add_trial(create_trial(params=trial.params, distributions=trial.distributions, value=-trial.value))
        misled.append(lying)
    ours = [run(MetaSampler(misled, seed=s), objective(), 20).best_value for s in range(3)]
    assert np.mean(ours) > -0.6


def test_what_a_study_finds_is_learned_from_by_the_next(tmp_path):
    path = tmp_path / "past.parquet"
    for number in range(3):
        sampler = MetaSampler(path, task={"rows": 10.0 * number}, learn=True, seed=number)
        run(sampler, objective(0.1 * number), 8, study_name=f"week{number}")
    history = History.read(path)
    assert history.task_ids == ("week0", "week1", "week2")
    assert history.meta_features.ravel().tolist() == [0.0, 10.0, 20.0]
    assert set(history.space.names) == {"lr", "layers", "optimizer", "momentum"}
    weeks = pd.read_parquet(path).groupby("task_id")
    assert weeks.size().tolist() == [8, 8, 8]  # the last trial of each, too
    assert weeks["source"].unique().map(list).tolist() == [["optuna"]] * 3
    best = run(MetaSampler(path, seed=9), objective(0.1), 1).best_value
    assert best >= weeks["performance"].max().min() - 0.1


def test_a_resumed_study_does_not_take_itself_for_a_past_task(tmp_path):
    path = tmp_path / "past.parquet"
    first = run(MetaSampler(path, learn=True, seed=0), objective(), 4, study_name="mine")
    again = MetaSampler(path, learn=True, seed=0)
    study = optuna.create_study(direction="maximize", sampler=again, study_name="mine")
    study.add_trials(first.trials)
    study.optimize(objective(), n_trials=2)
    assert len(study.trials) == distinct(study) == 6
    assert len(pd.read_parquet(path)) == 6


def test_a_history_of_one_trial_teaches_nothing_yet(tmp_path):
    path = tmp_path / "past.parquet"
    run(MetaSampler(path, learn=True, seed=0), objective(), 1, study_name="first")
    run(MetaSampler(path, learn=True, seed=0), objective(), 2, study_name="second")
    assert pd.read_parquet(path)["task_id"].tolist() == ["first", "second", "second"]


@pytest.mark.parametrize("state", ["failed", "pruned"])
def test_a_study_without_a_finished_trial_writes_nothing(tmp_path, state):
    def train(trial):
        objective()(trial)
        raise optuna.TrialPruned if state == "pruned" else ValueError

    study = optuna.create_study(sampler=MetaSampler(tmp_path / "past.parquet", learn=True, seed=0))
    study.optimize(train, n_trials=2, catch=ValueError)
    assert not (tmp_path / "past.parquet").exists()


def test_a_history_that_cannot_be_written_never_disturbs_a_study(tmp_path, caplog):
    (tmp_path / "past.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(MetaflowHPOError, match=r"past\.parquet"):
        MetaSampler(tmp_path / "past.parquet", learn=True)
    (tmp_path / "past.parquet").unlink()
    sampler = MetaSampler(tmp_path / "past.parquet", learn=True, seed=0)
    (tmp_path / "past.parquet").mkdir()
    assert len(run(sampler, objective(), 2).trials) == 2
    assert "are not written into" in caplog.text


def test_numbers_with_steps_are_not_tried_twice(past):
    def train(trial):
        rate = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        momentum = trial.suggest_float("momentum", 0.0, 0.9, step=0.3)
        return -((math.log10(rate) + 3) ** 2) - (momentum - 0.9) ** 2 + trial.suggest_int("layers", 2, 8, step=3)

    study = run(MetaSampler(past, seed=0), train, 12)
    assert distinct(study) == 12


def layered(trial):
    layers = trial.suggest_int("layers", 1, 3)
    units = [trial.suggest_int(f"units_{i}", 8, 64, log=True) for i in range(layers)]
    return -abs(layers - 2) - sum(abs(math.log2(u / 32)) for u in units)


def test_hyperparameters_that_depend_on_a_number_are_lived_with(past):
    studies = [run(optuna.samplers.RandomSampler(seed=s), layered, 25, study_name=f"deep{s}") for s in range(3)]
    study = run(MetaSampler(studies, seed=0), layered, 12)
    assert study.trials[0].params["layers"] == 2
    assert all(sum(n.startswith("units_") for n in t.params) == t.params["layers"] for t in study.trials)
    assert distinct(study) == 12


def test_a_hyperparameter_whose_choices_are_all_others_is_no_guide(past):
    def train(trial):
        rate = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        return -((math.log10(rate) + 3) ** 2) - (trial.suggest_categorical("optimizer", ["lion", "muon"]) == "lion")

    study = run(MetaSampler(past, seed=0), train, 10)
    assert study.trials[0].params["lr"] == pytest.approx(1e-3, rel=2.0)
    assert {t.params["optimizer"] for t in study.trials} == {"lion", "muon"}


def test_a_past_that_lies_is_tested_and_left():
    def trial(number, value, *, alone):
        attrs = {ALONE: True} if alone else {}
        one = create_trial(
            params={"lr": 0.1}, distributions={"lr": FloatDistribution(0, 1)}, value=value, system_attrs=attrs
        )
        one.number = number
        return one

    def decide(*values):
        trials = [trial(n, abs(v), alone=v < 0) for n, v in enumerate(values)]
        return judge(trials, optuna.study.StudyDirection.MAXIMIZE, len(values))

    assert [decide(*[0.5] * n) for n in range(4)] == [Trust.PAST, Trust.PAST, Trust.TEST, Trust.TEST]
    assert decide(0.5, 0.6, -0.4) == Trust.PAST  # won by the past
    assert decide(0.5, 0.6, -0.7) == Trust.TEST  # lost: tested again at once
    assert decide(0.5, 0.6, -0.6) == Trust.TEST  # level
    assert decide(0.5, 0.6, -0.7, -0.4) == Trust.PAST
    assert decide(0.5, 0.6, -0.7, -0.4, 0.6) == Trust.TEST  # sooner than after none was lost
    assert decide(0.5, 0.6, -0.7, -0.65, 0.9, 0.9, 0.9) == Trust.NONE  # two in a row lost: for good
    assert decide(0.5, 0.6, -0.4, 0.6, 0.6) == Trust.PAST
    assert decide(0.5, 0.6, -0.4, 0.6, 0.6, 0.6) == Trust.TEST  # and tested now and then


def finite(trial):
    rate = trial.suggest_categorical("lr", [1e-4, 1e-3])
    layers, optimizer = trial.suggest_int("layers", 1, 5), trial.suggest_categorical("optimizer", ["sgd", "adam"])
    return -((math.log10(rate) + 3) ** 2) - abs(layers - 3) - (optimizer == "sgd")


def test_twenty_workers_share_a_space_of_twenty_without_repeating_each_other(past):
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=0))
    trials = [study.ask() for _ in range(20)]
    for trial in trials:
        finite(trial)
    assert distinct(study) == 20


def test_a_proposal_depends_on_the_seed_the_number_and_the_finished_trials_alone(past):
    first = run(MetaSampler(past, seed=4), objective(), 13)
    again = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=4), study_name="elsewhere")
    again.add_trials(first.trials[:12])
    again.optimize(objective(), n_trials=1)
    assert again.trials[12].params == first.trials[12].params


def test_the_level_and_the_scale_of_a_past_task_play_no_role(past):
    moved = []
    for number, study in enumerate(past):
        other = optuna.create_study(direction="maximize", study_name=study.study_name)
        for t in study.trials:
            value = 2.0**number * t.value + 64 * number
            other.add_trial(create_trial(params=t.params, distributions=t.distributions, value=value))
        moved.append(other)
    one, two = (run(MetaSampler(p, seed=0), objective(), 2) for p in (past, moved))
    assert [t.params for t in one.trials] == [t.params for t in two.trials]


@pytest.mark.parametrize("seed", range(2))
def test_trials_that_are_added_to_a_study_count_as_its_own(past, seed):
    added = run(optuna.samplers.RandomSampler(seed=seed), objective(), 20)
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=seed))
    study.add_trials(added.trials)
    study.optimize(objective(), n_trials=2)
    assert max(t.value for t in study.trials[20:]) > np.quantile([a.value for a in added.trials], 0.75)
    assert distinct(study) == 22
