import logging
import os
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from metaflow_hpo.collect.search import search
from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.function import Stop, learner_from_function
from metaflow_hpo.learners.learner import Fidelity, Learner
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.modalities.opaque import read_opaque

TASK = read_opaque({"task_id": "digits", "metric": "accuracy", "data": "here.npz"})
LOSS = read_opaque({"task_id": "digits", "metric": {"name": "loss", "direction": "min"}})
SPACE = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}, "flip": [True, False, None]}
ISOLATIONS = ("thread", "process")


def make(train, **options):
    return learner_from_function(train, SPACE, **{"name": "own", "fidelity": 4, **options})


def run(train, *, task=TASK, count=1, judge=None, fidelity=4, limits=None, **options):
    learner = make(train, **options)
    if limits is not None:
        learner = learner.within(limits)
    configurations = [{"x": 0.125 * (1 + number), "flip": True} for number in range(count)]
    trained = dict(learner.train(task, configurations, fidelity=fidelity, seed=7, judge=judge))
    return trained[0] if count == 1 else [trained[number] for number in range(count)]


class StopAt:
    """A judge that stops what is below 0.5 at its checkpoints."""

    def __init__(self, *checkpoints):
        self.checkpoints = checkpoints
        self.asked = []

    def __call__(self, curve):
        self.asked.append(len(curve))
        return "stopped: too low" if curve[-1] < 0.5 else ""


def report_all(configuration, task, report):
    for step in range(1, report.fidelity + 1):
        report(step, configuration["x"] * step)
    return 0.9


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_function_gets_configuration_task_seed_and_fidelity(isolation):
    def train(configuration, task, report):
        assert configuration == {"x": 0.125, "flip": True}
        assert (task.task_id, task.address, report.seed, report.fidelity) == ("digits", "here.npz", 7, 3)
        report(1, 0.25)
        return {"score": np.float32(0.5), "test_score": 0.75, "f1": 0.4, "note": "text"}

    outcome = run(train, isolation=isolation, fidelity=3)
    assert outcome.reason == ""
    assert (outcome.performance, outcome.test_performance, outcome.learning_curve) == (0.5, 0.75, (0.25,))
    assert outcome.scores == {"f1": 0.4, "accuracy": 0.5, "test_accuracy": 0.75}
    assert outcome.duration_s >= 0


def test_a_loss_is_turned_so_that_higher_is_better():
    outcome = run(lambda configuration, task, report: (report(1, 3.0), 2.0)[1], task=LOSS)
    assert (outcome.performance, outcome.learning_curve) == (-2.0, (-3.0,))
    assert outcome.scores == {"loss": 2.0}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_exception_is_a_failed_trial_with_its_traceback_in_the_log(isolation, caplog):
    def train(configuration, task, report):
        report(1, 0.5)
        raise RuntimeError("out of\nluck")

    with caplog.at_level(logging.WARNING, "metaflow_hpo"):
        outcome = run(train, isolation=isolation)
    assert outcome.reason.startswith("error: RuntimeError: out of luck (test_function.py, line ")
    assert outcome.performance is None
    assert outcome.learning_curve == (0.5,)
    assert "Traceback (most recent call last)" in caplog.text
    assert 'raise RuntimeError("out of\\nluck")' in caplog.text


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "no number: expected score as a number, got None"),
        ("0.9", "no number: expected score as a number, got '0.9'"),
        (True, "no number: expected score as a number, got True"),
        (float("nan"), "diverged: score is nan"),
        (float("inf"), "diverged: score is inf"),
        ({}, r"no score: expected a number or {'score': number}, got {}"),
        ({"score": 0.5, "test_score": float("nan")}, "diverged: test_score is nan"),
        ({"failed": "the data are broken"}, "failed: the data are broken"),
        (93.5, "error: score 93.5 lies outside 0.0 to 1.0 of accuracy"),
    ],
)
def test_what_is_no_score_is_a_failed_trial_with_its_reason(result, reason):
    assert run(lambda configuration, task, report: result).reason == reason


@pytest.mark.parametrize(("step", "score"), [(1.5, 0.5), (-1, 0.5), ("1", 0.5), (1, "high"), (1, None)])
def test_a_report_that_is_no_number_is_an_error_of_the_function(step, score):
    assert "error: ValueError: report: a s" in run(lambda configuration, task, report: report(step, score)).reason


def test_steps_may_count_from_zero_or_leave_some_out():
    def train(steps):
        def inner(configuration, task, report):
            for step in steps:
                report(step, 0.1 * step)
            return 1.0

        return run(inner).learning_curve

    assert train([0, 1, 2]) == pytest.approx((0, 0.1, 0.2))
    assert train([1, 2]) == pytest.approx((0.1, 0.2))
    assert train([2, 4]) == pytest.approx((0.2, 0.2, 0.2, 0.4))


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_judge_stops_a_training_at_its_report(isolation):
    judge = StopAt(2, 3)
    outcome = run(report_all, judge=judge, isolation=isolation)
    assert (outcome.stopped, outcome.reason, outcome.performance) == (True, "stopped: too low", None)
    assert outcome.learning_curve == (0.125, 0.25)
    assert judge.asked == [2]


def test_a_judge_is_not_asked_at_the_end_or_of_what_is_not_finite():
    judge = StopAt(4)
    assert run(report_all, judge=judge).performance == 0.9
    assert judge.asked == []
    judge = StopAt(1)
    assert run(lambda c, t, report: (report(1, float("nan")), 0.5)[1], judge=judge).performance == 0.5
    assert judge.asked == []


def test_a_function_that_swallows_the_request_to_stop_is_stopped_all_the_same():
    def train(configuration, task, report):
        for step in range(1, 5):
            try:
                report(step, 0.1)
            except Stop:
                continue
        return 1.0

    outcome = run(train, judge=StopAt(2))
    assert outcome.stopped
    assert outcome.learning_curve == (0.1, 0.1)


def sleep(configuration, task, report):
    for step in range(1, 6000):
        time.sleep(0.1)
        report(step, 0.5)
    return 0.5


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_limit_of_time_ends_a_training(isolation):
    outcome = run(sleep, limits=Limits(seconds=0.35), isolation=isolation)
    assert outcome.reason.startswith("time: more than 0.35 s (")
    assert "finished" not in outcome.reason
    assert not outcome.stopped


def test_a_function_without_reports_is_too_late_in_a_thread_and_ended_in_a_process():
    def hang(configuration, task, report):
        time.sleep(0.3 if report.seed == 7 and threading.current_thread() is threading.main_thread() else 0)
        return 0.5

    assert run(hang, limits=Limits(seconds=0.1)).reason == "time: more than 0.1 s (finished too late)"

    def hang_on(configuration, task, report):
        time.sleep(600)

    outcome = run(hang_on, limits=Limits(seconds=0.5), isolation="process")
    assert outcome.reason == "time: more than 0.5 s (before its first report)"


def test_a_limit_of_memory_ends_a_process():
    def eat(configuration, task, report):
        held = np.ones(int(4e7))  # 320 MB
        time.sleep(600)
        return float(held[0])

    outcome = run(eat, limits=Limits(memory_mb=250))
    assert outcome.reason.startswith("memory: needs ")
    assert outcome.reason.endswith(" MB, limit 250 MB")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_training_without_memory_fails(isolation):
    def train(configuration, task, report):
        raise MemoryError

    assert run(train, isolation=isolation).reason.startswith("memory: MemoryError (test_function.py")


def test_a_process_that_dies_is_a_failed_trial():
    assert run(lambda c, t, r: os.kill(os.getpid(), 9), isolation="process").reason == (
        "crashed: its process was killed by signal 9 (before its first report)"
    )
    assert run(lambda c, t, r: os._exit(3), isolation="process").reason == (
        "error: its process exited with 3 (before its first report)"
    )


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_workers_train_side_by_side(isolation, tmp_path):
    def train(configuration, task, report):
        (tmp_path / str(configuration["x"])).touch()
        while len(list(tmp_path.iterdir())) < 4:  # for ever, if they trained one by one
            time.sleep(0.01)
        return configuration["x"]

    outcomes = run(train, count=4, workers=4, isolation=isolation)
    assert [outcome.performance for outcome in outcomes] == [0.125, 0.25, 0.375, 0.5]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_closing_early_ends_what_runs(isolation):
    def train(configuration, task, report):
        if configuration["x"] < 0.2:
            return 0.5
        return sleep(configuration, task, report)

    learner = make(train, workers=2, isolation=isolation)
    trained = learner.train(TASK, [{"x": x, "flip": None} for x in (0.1, 0.9, 0.8)], fidelity=4, seed=0)
    assert next(trained)[0] == 0
    began = time.monotonic()
    trained.close()
    assert time.monotonic() - began < 300  # of 600
    assert not [p for p in psutil.Process().children() if "function import work" in " ".join(p.cmdline())]


def test_what_a_process_prints_stays_off_standard_output(capfd):
    run(lambda c, t, r: print("hello"), isolation="process")
    assert "hello" not in capfd.readouterr().out


def test_the_first_three_that_fail_alike_stop_the_search_and_are_not_kept():
    kept, calls = [], []

    def train(configuration, task, report):
        calls.append(configuration)
        raise KeyError(f"no column {configuration['x']}")

    with pytest.raises(MetaflowHPOError, match=r"first 3 of 'own' on digits all failed alike, the last: KeyError") as e:
        search(TASK, make(train), strategy="sobol", trials=20, on_trial=kept.append)
    assert "Correct the code and search again" in str(e.value)
    assert (len(calls), kept) == (3, [])


def test_failures_that_differ_or_come_later_are_data():
    kept, calls = [], []

    def counting(configuration, task, report):
        calls.append(1)
        raise [KeyError, ValueError, TypeError][len(calls) % 3]("no")

    trials = search(TASK, make(counting), strategy="sobol", trials=6, on_trial=kept.append)
    assert {trial.status for trial in trials} == {"failed"}
    assert len(kept) == 6

    def later(configuration, task, report):
        if configuration["x"] != 0.5:
            raise KeyError("no")
        return 0.5

    trials = search(TASK, make(later), strategy="sobol", trials=6)
    assert [trial.status for trial in trials] == ["ok"] + ["failed"] * 5
    two = []
    search(TASK, make(counting), strategy="sobol", trials=2, on_trial=two.append)
    assert len(two) == 2


def test_all_strategies_search_with_a_function_and_resume():
    def train(configuration, task, report):
        for step in range(1, report.fidelity + 1):
            report(step, configuration["x"] * step / 9)
        return 1 - abs(configuration["x"] - 0.7)

    for strategy in ("sobol", "random", "grid", "tpe", "hyperopt", "halving"):
        learner = make(train, fidelity=9, workers=2)
        whole = search(TASK, learner, strategy=strategy, trials=9)
        resumed = search(TASK, learner, strategy=strategy, trials=9, known=whole[:4])
        assert [replace(t, duration_s=0) for t in resumed] == [replace(t, duration_s=0) for t in whole]


@pytest.mark.parametrize("strategy", ["sobol", "random", "grid", "tpe", "optuna_gp", "hyperopt", "halving"])
def test_choices_of_any_type_are_searched_by_every_strategy(strategy):
    space = {
        "mode": [1, True, "1", None, 0.5],
        "x": {"type": "float", "low": 0, "high": 1, "when": {"mode": [True, None]}},
    }
    seen = []

    def train(configuration, task, report):
        seen.append(repr(configuration["mode"]))
        assert ("x" in configuration) == (configuration["mode"] is True or configuration["mode"] is None)
        return configuration.get("x", 0.1)

    trials = search(TASK, learner_from_function(train, space, fidelity=9), strategy=strategy, trials=16)
    assert {trial.status for trial in trials} == {"ok"}
    assert {"1", "True", "'1'"} <= set(seen) or strategy not in ("random", "grid")


def test_a_bad_request_is_refused_before_anything_is_called():
    learner = make(report_all)
    with pytest.raises(SearchSpaceMismatchError, match="misses 'flip'"):
        learner.train(TASK, [{"x": 0.5}], fidelity=1, seed=0)
    with pytest.raises(SearchSpaceMismatchError, match=r"fidelity_epochs must be in 1\.\.4; got 5"):
        learner.train(TASK, [], fidelity=5, seed=0)
    with pytest.raises(SearchSpaceMismatchError, match="a unit that is a name"):
        Fidelity("no unit", 3)


def test_names_and_defaults():
    assert learner_from_function(report_all, SPACE).name.endswith("test_function.report_all")
    assert learner_from_function(report_all, SPACE).fidelity == Fidelity("epochs", 1)
    assert make(report_all, fidelity=Fidelity("steps", 9)).fidelity.unit == "steps"
    assert isinstance(make(report_all), Learner)
