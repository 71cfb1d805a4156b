import re
import time

import numpy as np
import pytest

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.limits import Limits, Stopwatch
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.svm import SVM
from metaflow_hpo.learners.threads import train_in_threads
from metaflow_hpo.modalities.modality import Fold

LARGE = {**MLP.space.default, "width": 256, "layers": 4, "batch_size": 32}
SMALL = {**MLP.space.default, "width": 16, "layers": 1, "batch_size": 256}


def make_fold(rows=20_000):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    return Fold(x, y, x[:100], y[:100], 2)


def train(learner, folds, configurations, epochs=50):
    epochs = min(epochs, learner.fidelity.maximum)
    return dict(learner.train_folds(folds, configurations, seed=0, epochs=epochs))


def make_endless_fold():
    """More rows than any memory holds, in no memory at all."""
    x, y = np.zeros((1, 3), np.float32), np.zeros(1, np.int64)
    return Fold(np.broadcast_to(x, (2**46, 3)), np.broadcast_to(y, 2**46), x, y, 2)


@pytest.mark.parametrize("engine", ["numba", "torch", "stacked"])
def test_a_trial_over_its_time_fails_in_the_middle_of_its_training(engine):
    train(MLP(engine=engine, device="cpu"), [make_fold(10)], [SMALL], 1)  # so that nothing compiles below
    learner = MLP(engine=engine, device="cpu", workers=1, limits=Limits(seconds=0.3))
    [outcome, second] = train(learner, [make_fold()] * 2, [LARGE])[0]
    found = re.fullmatch(r"time: more than 0\.3 s \(after epoch (\d+) of 50\)", outcome.reason)
    assert found
    assert len(outcome.learning_curve) == int(found[1]) < 50
    assert outcome.predictions.size == 0
    assert second.reason.startswith("time: more than 0.3 s (")
    assert second.duration_s < 0.3 or engine == "stacked"


def test_a_trial_over_its_time_leaves_the_others_alone():
    fold = make_fold(2000)
    limited = train(MLP(limits=Limits(seconds=1.0)), [make_fold(200_000), fold], [LARGE], 1)
    assert limited[0][0].reason == "time: more than 1 s (after epoch 0 of 1)"
    folds = [make_fold(600)] * 2
    free = train(MLP(engine="numba"), folds, [SMALL, LARGE], 2)
    limited = train(MLP(engine="numba", limits=Limits(seconds=60.0, memory_mb=1000.0)), folds, [SMALL, LARGE], 2)
    for index in free:
        for one, other in zip(free[index], limited[index], strict=True):
            assert one.predictions.tobytes() == other.predictions.tobytes()
            assert one.reason == other.reason == ""


def test_the_seconds_of_a_trial_add_up_over_its_folds():
    def sleep(index, number, stop):
        time.sleep(0.6)
        return FoldOutcome(np.zeros(1, np.float32), np.zeros(1, np.float32), 0.6)

    [(_, outcomes)] = train_in_threads(sleep, np.ones((1, 4)), 1, Limits(seconds=1.1))
    reasons = [outcome.reason for outcome in outcomes]
    assert reasons == [
        "",
        "time: more than 1.1 s (finished too late)",
        "time: more than 1.1 s (not started)",
        "time: more than 1.1 s (not started)",
    ]


def test_the_flag_of_a_trial_goes_up_while_it_runs_and_no_other():
    with Stopwatch(2, 0.1) as stopwatch, stopwatch.running(0), stopwatch.running(1) as other:
        stopwatch.add(0, -100.0)  # a hundred seconds left
        deadline = time.monotonic() + 240
        while other[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stopwatch.is_over(1)
        assert not stopwatch.is_over(0)


def test_closing_early_stops_what_trains():
    iterator = MLP(engine="numba", workers=2).train_folds([make_fold()], [LARGE, SMALL], seed=0, epochs=50)
    index, _ = next(iterator)
    assert index == 1
    began = time.process_time()
    iterator.close()
    assert time.process_time() - began < 15  # of a minute or so


@pytest.mark.parametrize("engine", ["numba", "torch", "stacked"])
def test_a_trial_above_the_memory_limit_fails_before_it_allocates(engine):
    learner = MLP(engine=engine, device="cpu", limits=Limits(memory_mb=5))
    outcomes = train(learner, [make_fold(500), make_fold(300)], [LARGE, SMALL], 1)
    assert re.fullmatch(r"memory: needs \d+ MB, limit 5 MB", outcomes[0][0].reason)
    assert outcomes[0][0].reason == outcomes[0][1].reason
    assert [outcome.reason for outcome in outcomes[1]] == ["", ""]


def test_reasons_by_hand():
    limits = Limits(seconds=10.0, memory_mb=2048)
    assert limits.describe_memory(3100.2) == "memory: needs 3,100 MB, limit 2,048 MB"
    assert limits.describe_memory(2048) == ""
    assert Limits().describe_memory(1e9) == ""
    assert limits.describe_time("after epoch 7 of 50") == "time: more than 10 s (after epoch 7 of 50)"


@pytest.mark.parametrize("engine", ["numba", "torch", "stacked"])
def test_memory_that_runs_out_costs_the_trial(engine):
    learner = MLP(engine=engine, device="cpu")
    if engine == "stacked":
        with pytest.raises(MetaflowHPOError, match="rows do not fit into the memory of 'cpu'"):  # no trial could train
            train(learner, [make_endless_fold()], [SMALL])
        return
    outcomes = train(learner, [make_fold(100), make_endless_fold()], [SMALL])
    assert outcomes[0][0].reason == ""
    assert outcomes[0][1].reason.startswith("memory: Unable to allocate 256. TiB")


def test_an_svm_knows_its_memory_and_its_time():
    fold = make_fold(3000)
    assert train(SVM(limits=Limits(memory_mb=20)), [fold], [SVM.space.default])[0][0].reason == (
        "memory: needs 36 MB, limit 20 MB"
    )
    slow = train(SVM(limits=Limits(seconds=0.001)), [fold], [SVM.space.default])[0][0]
    assert slow.reason == "time: more than 0.001 s (finished too late)"
    assert train(SVM(limits=Limits(60, 1000)), [fold], [SVM.space.default])[0][0].reason == ""


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"memory_mb": -1.0}, {"seconds": float("nan")}])
def test_limits_are_above_zero(limits):
    with pytest.raises(MetaflowHPOError, match="of a trial must be above 0"):
        Limits(**limits)
