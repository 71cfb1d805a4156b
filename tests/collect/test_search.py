import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.collect import search as search_module
from metaflow_hpo.collect.search import find_best, search
from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.learner import Fidelity, Outcome
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.svm import SVM
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.space import Categorical, Float, Integer, SearchSpace, configuration_id
from metaflow_hpo.tables import trial_to_record
from metaflow_hpo.task import Task

STRATEGIES = ("sobol", "random", "grid", "tpe", "hyperopt")
EPOCHS = 7


def make_data(rows=40):
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    target = (features["a"] > 0).to_numpy().astype(np.int64)
    is_test = np.arange(rows) < rows // 5
    task = Task(
        task_id="t", family="t", modality="table", kind="binary", metric=Metric.read("accuracy"), target="y",
        licence="CC0", source="made", sha256="0" * 64, rows=rows, columns=2, classes=2, test_rows=rows // 5,
    )  # fmt: skip
    return TableData(task, features, target, is_test)


DATA = make_data()


class Trainer:
    """Scores by a formula and counts what it trains; finishes in reverse order, each after one tick of the clock."""

    name, modalities, fidelity = "fake", (), Fidelity("epochs", EPOCHS)
    space = SearchSpace((Float("x", 0.0, 1.0, 0.5), Categorical("c", ("p", "q"), "p"), Integer("n", 1, 9, 2)))

    def __init__(self, clock=None, stop_after=None):
        self.trained = []
        self.refitted = []
        self.calls = 0
        self.closed = 0
        self.clock = clock
        self.stop_after = stop_after

    def train(self, data, configurations, *, fidelity, seed, judge=None, refit=False):
        self.calls += 1
        try:
            for index in reversed(range(len(configurations))):
                if self.stop_after is not None and len(self.trained) >= self.stop_after:
                    raise KeyboardInterrupt
                configuration = configurations[index]
                self.trained.append(configuration)
                if self.clock is not None:
                    self.clock.now += 1
                yield index, self.score(configuration, seed, judge, refit)
        finally:
            self.closed += 1

    def score(self, configuration, seed, judge, refit):
        performance, duration = configuration.get("x", 0.5) + 0.01 * seed, len(self.trained)
        if configuration["n"] == 9:
            return Outcome(duration_s=duration, reason="diverged")
        if judge is not None and performance < judge:
            return Outcome(duration_s=duration, reason="stopped: too low", stopped=True, learning_curve=(0.1,))
        return Outcome(performance, 0.5 if refit else None, duration_s=duration)


class Refitter(Trainer):
    """Measures test performance by a refit, which fails for the best of all."""

    def refit(self, data, configuration, *, fidelity, seed):
        self.refitted.append(configuration_id(configuration))
        if configuration == BEST.configuration:
            return Outcome(duration_s=1, reason="diverged (on the refit)")
        return Outcome(test_performance=0.25, duration_s=1)


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(search_module, "time", clock)
    return clock


def strip(trials):
    return [{k: v for k, v in trial_to_record(trial).items() if k != "duration_s"} for trial in trials]


def run(trainer=None, **options):
    return search(DATA, trainer or Trainer(), **{"strategy": "sobol", "trials": 10, **options})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trials_come_in_the_order_of_the_strategy_at_full_fidelity(strategy):
    trials = run(strategy=strategy, seed=3)
    assert {(trial.strategy, trial.seed, trial.fidelity) for trial in trials} == {(strategy, 3, 7)}
    first = make_strategy(strategy, StrategyContext(Trainer.space, seed=3, budget=10, fidelity=EPOCHS)).ask(1)
    assert trials[0].configuration == first[0]
    if strategy in ("sobol", "random"):
        asked = make_strategy(strategy, StrategyContext(Trainer.space, seed=3, budget=10, fidelity=EPOCHS)).ask(10)
        assert [trial.configuration for trial in trials] == asked


def test_a_static_strategy_trains_everything_in_one_call():
    trainer = Trainer()
    run(trainer, trials=30)
    assert (trainer.calls, len(trainer.trained)) == (1, 30)


@pytest.mark.parametrize(("strategy", "killed_after"), list(itertools.product((*STRATEGIES, "halving"), (2, 22))))
def test_a_killed_search_resumes_without_training_twice_and_ends_the_same(strategy, killed_after):
    whole = run(strategy=strategy, trials=25)
    journal = []
    with pytest.raises(KeyboardInterrupt):
        run(
            Trainer(stop_after=min(killed_after, len(whole) - 1)), strategy=strategy, trials=25, on_trial=journal.append
        )
    trainer = Trainer()
    resumed = run(trainer, strategy=strategy, trials=25, known=journal, on_trial=journal.append)
    assert strip(resumed) == strip(whole)
    assert len(trainer.trained) == len(whole) - min(killed_after, len(whole) - 1)
    assert sorted(t.key for t in journal) == sorted(t.key for t in whole)


def test_a_search_that_is_known_trains_and_reports_nothing():
    known, seen, trainer = run(trials=20), [], Trainer()
    assert strip(run(trainer, trials=8, known=known[::-1], on_trial=seen.append)) == strip(known[:8])
    assert (trainer.calls, seen) == (0, [])


@pytest.mark.parametrize("change", [{"task_id": "u"}, {"learner": "mlp"}, {"seed": 1}, {"fidelity": 3}])
def test_trials_of_another_task_learner_seed_or_fidelity_are_not_reused(change):
    trainer = Trainer()
    run(trainer, trials=4, known=[replace(trial, **change) for trial in run(trials=4)])
    assert len(trainer.trained) == 4


def test_a_trial_of_another_strategy_is_copied_and_reported():
    known = [replace(trial, strategy="recommended", duration_s=99.0) for trial in run(trials=4)[:2]]
    seen, trainer = [], Trainer()
    trials = run(trainer, trials=4, known=known, on_trial=seen.append)
    assert strip(trials) == strip(run(trials=4))
    assert [trial.duration_s for trial in trials[:2]] == [99.0, 99.0]
    assert len(trainer.trained) == 2
    assert len(seen) == 4


def test_a_trial_of_this_strategy_is_preferred_to_a_copy():
    (own,) = run(trials=1)
    other = replace(own, strategy="random", duration_s=99.0)
    for known in ([own, other], [other, own]):
        assert run(trials=1, known=known) == [own]


def test_the_search_stops_when_time_is_up_and_keeps_what_is_done(clock):
    trainer, seen = Trainer(clock), []
    trials = run(trainer, trials=40, seconds=20.5, on_trial=seen.append)
    assert len(trials) == len(seen) == len(trainer.trained) == 21
    assert trainer.closed == trainer.calls
    positions = {trial.configuration_id: number for number, trial in enumerate(run(trials=40))}
    order = [positions[trial.configuration_id] for trial in trials]
    assert order == sorted(order)
    assert order[:16] == list(range(16))


def test_one_trial_at_least_is_trained_however_little_time_there_is(clock):
    assert len(run(Trainer(clock), seconds=1e-9)) == 1


def test_a_search_that_is_out_of_time_returns_what_is_known(clock):
    known = run(trials=3)
    clock.monotonic = lambda: next(ticks)
    ticks = itertools.count()
    trainer = Trainer()
    assert run(trainer, trials=10, seconds=0.5, known=known) == known
    assert trainer.calls == 0


def test_trainings_under_way_are_closed_when_the_caller_fails():
    trainer = Trainer()

    def fail(trial):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(trainer, on_trial=fail)
    assert (trainer.closed, len(trainer.trained)) == (1, 1)


def test_an_exhausted_space_ends_the_search():
    class Tiny(Trainer):
        space = SearchSpace((Integer("n", 1, 3, 2),))

    assert len(search(DATA, Tiny(), strategy="random", trials=10)) == 3


def test_a_learner_may_return_a_plain_iterator():
    class Plain(Trainer):
        def train(self, *args, **options):
            return iter(list(super().train(*args, **options)))

    assert strip(run(Plain())) == strip(run())


def test_halving_trains_each_rung_at_its_own_epochs():
    trainer = Trainer()
    trials = run(trainer, strategy="halving", trials=12)
    # Rungs of 3 and 7 epochs: 3 go to 1, then 2 straight at 7, and so on until the budget is spent.
    assert [trial.fidelity for trial in trials] == [3, 3, 3, 7, 7, 7, 3, 3, 3, 7, 7, 7]
    assert trainer.calls == 6
    for start in (0, 6):
        ok = [trial for trial in trials[start : start + 3] if trial.status == "ok"]
        assert trials[start + 3].configuration == max(ok, key=lambda trial: trial.performance).configuration


def test_a_fidelity_is_the_highest_rung_of_halving():
    trials = run(strategy="halving", trials=6, fidelity=6)
    assert [trial.fidelity for trial in trials] == [2, 2, 2, 6, 6, 6]


def test_a_known_trial_is_reused_at_its_own_fidelity_only():
    whole = run(strategy="halving", trials=6)
    twice = next(trial for trial in whole[:3] if trial.configuration == whole[3].configuration)
    trainer = Trainer()
    resumed = run(trainer, strategy="halving", trials=6, known=[replace(twice, duration_s=99.0)])
    assert strip(resumed) == strip(whole)
    assert (len(trainer.trained), trainer.trained.count(twice.configuration)) == (5, 1)
    assert [trial.duration_s for trial in resumed].count(99.0) == 1


def test_halving_reuses_a_random_search_at_full_fidelity():
    trainer = Trainer()
    # Random search with the same seed tries the configurations that the brackets start with.
    trials = run(trainer, strategy="halving", trials=6, known=run(strategy="random", trials=5))
    assert [trial.fidelity for trial in trials[-3:]] == [7, 7, 7]
    assert len(trainer.trained) == 3


@pytest.mark.parametrize("seconds", [1e-9, 2.5, 3.5, 5.5])
def test_halving_stops_when_time_is_up_and_goes_on_later(clock, seconds):
    trainer, journal = Trainer(clock), []
    trials = run(trainer, strategy="halving", trials=9, seconds=seconds, on_trial=journal.append)
    assert len(trials) == len(journal) == math.ceil(seconds)
    assert trainer.closed == trainer.calls
    whole = run(strategy="halving", trials=9)
    assert {trial.key for trial in trials} <= {trial.key for trial in whole[: len(trials) + 2]}
    assert strip(run(strategy="halving", trials=9, known=journal)) == strip(whole)


BEST = find_best(run())


def test_only_the_best_is_refitted_and_the_next_best_where_that_fails():
    learner, seen = Refitter(), []
    trials = run(learner, refit="best", on_trial=seen.append)
    second = find_best(trials)
    assert learner.refitted == [BEST.configuration_id, second.configuration_id]
    assert second.test_performance == 0.25
    assert sorted(t.performance for t in run() if t.status == "ok")[-2] == second.performance
    assert [t.configuration_id for t in trials] == [t.configuration_id for t in run()]
    assert sum(math.isfinite(trial.test_performance) for trial in trials) == 1
    assert len(seen) == 10


def test_a_learner_that_needs_no_refit_is_not_asked_for_one():
    trials = run(refit="best")
    assert strip(trials) == strip(run(Trainer(), refit="best", known=trials))


def test_a_best_that_was_refitted_before_is_not_refitted_again():
    first, learner = run(Refitter(), refit="best"), Refitter()
    assert strip(run(learner, refit="best", known=first)) == strip(first)
    assert (learner.calls, learner.refitted) == (0, [])


def test_what_another_search_left_out_is_made_up_for_where_all_are_wanted():
    first = run(Refitter(), refit="best")
    learner, seen = Refitter(), []
    trials = run(learner, refit="all", known=first, on_trial=seen.append)
    assert all(math.isfinite(trial.test_performance) for trial in trials if trial.status == "ok")
    assert learner.calls == 0
    assert sorted(learner.refitted) == sorted(t.configuration_id for t in seen)
    assert len(learner.refitted) == sum(trial.status == "ok" for trial in trials) - 1


def stop_below_best(trials):
    """Stop what is worse than the best of the trials before; the judge of `Trainer` is a number."""
    best = find_best(trials)
    return None if best is None else best.performance


def test_later_trials_are_stopped_by_what_earlier_batches_reached():
    trials = run(Refitter(), strategy="tpe", trials=12, refit="best", stopping=stop_below_best)
    for position, trial in enumerate(trials):
        if trial.status == "stopped":
            assert trial.configuration["x"] < find_best(trials[:position]).performance
    assert {trial.status for trial in trials} >= {"ok", "stopped"}


def test_a_killed_search_that_stops_trials_goes_on_with_the_same_decisions():
    options = {"strategy": "tpe", "trials": 12, "refit": "best", "stopping": stop_below_best}
    whole, journal = run(**options), []
    with pytest.raises(KeyboardInterrupt):
        run(Trainer(stop_after=5), on_trial=journal.append, **options)
    trainer = Trainer()
    assert strip(run(trainer, known=journal, **options)) == strip(whole)
    assert len(trainer.trained) == 7


def test_a_search_that_stops_nothing_trains_stopped_trials_to_the_end():
    options = {"strategy": "tpe", "trials": 6, "refit": "best"}
    known = run(stopping=stop_below_best, **options)
    again = run(known=known, **options)
    assert "stopped" in {trial.status for trial in known}
    assert "stopped" not in {trial.status for trial in again}


def test_a_search_without_a_good_trial_refits_nothing():
    class Failing(Refitter):
        def score(self, *args):
            return Outcome(reason="diverged")

    learner = Failing()
    trials = search(DATA, learner, strategy="random", trials=3, refit="best")
    assert ({trial.status for trial in trials}, learner.refitted) == ({"failed"}, [])


def test_the_best_is_chosen_among_the_trials_of_the_most_epochs():
    trials = run(strategy="halving", trials=6)
    low, high = replace(trials[0], performance=5.0), [t for t in trials if t.fidelity == 7]
    assert find_best([low, *high]) == max(high, key=lambda trial: trial.performance)
    failed = replace(high[0], performance=float("nan"), status="failed", reason="diverged")
    assert find_best([low, failed]) == low
    assert find_best([failed]) is None
    assert find_best([]) is None
    assert find_best([low, replace(low, seed=5)]) == low


@pytest.mark.parametrize("strategy", ["sobol", "halving"])
@pytest.mark.parametrize("epochs", [0, 8])
def test_a_fidelity_out_of_range_is_refused_before_anything_is_trained(strategy, epochs):
    trainer = Trainer()
    with pytest.raises(SearchSpaceMismatchError, match=rf"must be in 1\.\.7; got {epochs}"):
        run(trainer, strategy=strategy, fidelity=epochs)
    assert trainer.calls == 0


def test_halving_is_refused_for_a_learner_without_epochs():
    with pytest.raises(SearchSpaceMismatchError, match="needs a full fidelity of at least 3; got 1"):
        search(DATA, SVM(), strategy="halving", trials=5)


@pytest.mark.parametrize("trials", [0, -3])
def test_a_search_without_trials_is_refused(trials):
    with pytest.raises(SearchSpaceMismatchError, match=f"at least 1 trial; got trials={trials}"):
        run(trials=trials)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_time_limit_must_be_positive(seconds):
    with pytest.raises(SearchSpaceMismatchError, match="time limit"):
        run(seconds=seconds)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(MetaflowHPOError, match="must be one of sobol"):
        run(strategy="magic")


def test_a_real_learner_is_searched_and_resumed():
    whole = search(DATA, SVM(), strategy="sobol", trials=5)
    resumed = search(DATA, SVM(), strategy="sobol", trials=5, known=whole[3:])
    assert whole[0].configuration == SVM().space.default
    assert all(0.3 < trial.performance <= 1 for trial in whole)
    assert strip(resumed) == strip(whole)


def test_networks_are_halved_with_whole_curves_and_resumed_bit_for_bit():
    options = {"strategy": "halving", "trials": 13, "fidelity": 9, "seed": 2}
    whole = search(DATA, MLP(engine="torch"), **options)
    assert [trial.fidelity for trial in whole] == [1] * 9 + [3] * 3 + [9]
    assert all(len(trial.learning_curve) == trial.fidelity for trial in whole if trial.status == "ok")
    resumed = search(DATA, MLP(engine="torch"), known=[*whole[2:4], *whole[9:11]], **options)
    assert strip(resumed) == strip(whole)
