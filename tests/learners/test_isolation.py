import importlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.isolation import IsolatedLearner
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.svm import SVM
from metaflow_hpo.modalities.modality import Fold


def make_fold(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    return Fold(x[::2], y[::2], x[1::2], y[1::2], 2)


@pytest.fixture
def wild(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)  # worker processes get the path
    return importlib.import_module("wild_learner")


def train(learner, folds, configurations, epochs=1):
    return dict(learner.train_folds(folds, configurations, seed=0, epochs=epochs))


def act(*actions):
    return [{"action": action} for action in actions]


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.reason == b.reason == ""
        assert a.predictions.tobytes() == b.predictions.tobytes()
        assert a.learning_curve.tobytes() == b.learning_curve.tobytes()


def test_processes_give_the_same_bits_as_threads():
    folds = [make_fold(seed=0), make_fold(seed=1)]
    for learner in (MLP(workers=1), SVM(workers=1)):
        units = np.random.default_rng(5).random((2, len(learner.space.hyperparameters)))
        configurations, epochs = learner.space.from_unit(units), min(learner.fidelity.maximum, 2)
        inside = train(learner, folds, configurations, epochs)
        outside = train(IsolatedLearner(learner, 1), folds, configurations, epochs)
        for index in (0, 1):
            assert_same_bits(inside[index], outside[index])


def test_a_worker_killed_in_the_middle_of_a_training_costs_one_trial(wild, tmp_path):
    fold, announcement = make_fold(40_000), tmp_path / "pid"
    default = MLP.space.default
    small = [{**default, "width": 16, "batch_size": 256, "layers": 1, "dropout": rate} for rate in (0.1, 0.2)]
    large = {**default, "width": 256, "layers": 4, "batch_size": 32, "dropout": 0.0}
    learner = wild.Announced(workers=1, announcement=str(announcement))

    def kill():
        while not announcement.exists() or not announcement.read_text():
            time.sleep(0.05)
        time.sleep(1)  # it is in the compiled code now, or about to be
        os.kill(int(announcement.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = train(IsolatedLearner(learner, 1), [fold], [small[0], large, small[1]], epochs=50)
    killer.join()
    assert outcomes[1][0].reason == "crashed: worker killed by signal 9"
    assert outcomes[1][0].predictions.size == 0
    assert outcomes[1][0].duration_s >= 0.5
    expected = train(MLP(), [fold], small, epochs=50)
    assert_same_bits(outcomes[0], expected[0])
    assert_same_bits(outcomes[2], expected[1])


def test_a_crash_or_an_error_costs_its_configuration_and_the_rest_goes_on(wild, capfd):
    folds = [make_fold(), make_fold(seed=1)]
    outcomes = train(IsolatedLearner(wild.Wild(), 1), folds, act("predict", "crash", "raise", "predict"))
    assert [outcome.reason for outcome in outcomes[1]] == ["crashed: worker killed by signal 11"] * 2
    assert [outcome.reason for outcome in outcomes[2]] == ["crashed: worker exited with 1"] * 2
    assert "ZeroDivisionError: on purpose" in capfd.readouterr().err
    for index in (0, 3):
        for fold, outcome in zip(folds, outcomes[index], strict=True):
            assert outcome.reason == ""
            assert np.array_equal(outcome.predictions, fold.x_valid[:, 0] * 2)
            assert outcome.learning_curve[0] != os.getpid()
    assert multiprocessing.active_children() == []


def test_a_process_that_takes_too_long_is_ended(wild):
    learner = IsolatedLearner(wild.Wild(), 1, Limits(seconds=0.2))
    outcomes = train(learner, [make_fold()], act("hang", "predict"))
    assert outcomes[0][0].reason == "time: more than 0.2 s (its process was ended)"
    assert 1 < outcomes[0][0].duration_s < 300  # of 600
    assert outcomes[1][0].reason == ""


def test_closing_early_ends_the_processes(wild):
    iterator = IsolatedLearner(wild.Wild(), 2).train_folds([make_fold()], act("predict", "hang"), seed=0, epochs=1)
    index, _ = next(iterator)
    assert index == 0
    assert len(multiprocessing.active_children()) == 2
    iterator.close()
    assert multiprocessing.active_children() == []


def test_processes_that_cannot_start_are_an_error_of_the_program(wild):
    with pytest.raises(MetaflowHPOError, match=r"3 worker processes ended before.*exited with 7"):
        train(IsolatedLearner(wild.Unborn(), 1), [make_fold()], act("predict"))
    assert multiprocessing.active_children() == []


def test_nothing_is_started_for_nothing_or_for_a_bad_request(wild):
    assert train(IsolatedLearner(wild.Unborn()), [make_fold()], []) == {}
    with pytest.raises(SearchSpaceMismatchError, match="fidelity_epochs must be in 1"):
        IsolatedLearner(wild.Unborn()).train_folds([make_fold()], act("predict"), seed=0, epochs=2)


def test_what_cannot_be_interrupted_is_isolated_where_time_is_limited():
    limits = Limits(seconds=3.0)
    assert get_learner("svm", limits) == IsolatedLearner(SVM(1, limits), limits=limits)
    assert get_learner("mlp", limits) == MLP(limits=limits)
    assert get_learner("svm", Limits(memory_mb=10)) == SVM(limits=Limits(memory_mb=10))
    assert get_learner("mlp", isolation="process") == IsolatedLearner(MLP(workers=1))
