from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.mlp.recipe import SPACE
from metaflow_hpo.learners.stages import train_in_stages
from metaflow_hpo.modalities.modality import Fold

EPOCHS = 8


class Judge:
    """Stops what `stop(curve)` says, and remembers what it was asked."""

    def __init__(self, stop=lambda curve: False, checkpoints=(2, 5, 30)):
        self.checkpoints = checkpoints
        self.stop = stop
        self.asked = []

    def __call__(self, curve):
        self.asked.append(len(curve))
        return f"stopped: at {len(curve)}" if self.stop(curve) else ""


def make_folds(regression):
    x, y = load_diabetes(return_X_y=True) if regression else load_iris(return_X_y=True)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    y = ((y - y.mean()) / y.std()).astype(np.float32) if regression else y.astype(np.int64)
    parts = [np.arange(len(x)) % 3 == number for number in range(3)]
    classes = 0 if regression else 3
    return [Fold(x[~p], y[~p], x[p], y[p], classes, number=number) for number, p in enumerate(parts)]


def spread(count, **fixed):
    rng = np.random.default_rng(3)
    drawn = SPACE.from_unit(rng.random((count, len(SPACE.names))))
    return [SPACE.validate({**c, "width": 16, "learning_rate": 0.003, **fixed}) for c in drawn]


def train(folds, configurations, judge=None, learner=None):
    learner = learner or MLP()
    if judge is None:
        return dict(learner.train_folds(folds, configurations, seed=1, epochs=EPOCHS))
    return dict(learner.train_folds(folds, configurations, seed=1, epochs=EPOCHS, judge=judge))


def strip(outcomes):
    return [(o.predictions.tolist(), o.learning_curve.tolist(), o.reason, o.stopped) for o in outcomes]


@pytest.mark.parametrize("regression", [False, True], ids=["classification", "regression"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_what_is_not_stopped_has_the_bits_of_a_training_without_pauses(regression, workers):
    folds, configurations, judge = make_folds(regression), spread(7), Judge()
    whole = train(folds, configurations)
    staged = train(folds, configurations, judge, MLP(workers=workers))
    assert sorted(staged) == list(range(7))
    for index in range(7):
        assert strip(staged[index]) == strip(whole[index])
    assert sorted(judge.asked) == [2] * 7 + [5] * 7


def test_a_stopped_configuration_has_the_beginnings_of_its_curves_and_nothing_else():
    folds, configurations = make_folds(regression=False), spread(6)
    whole = train(folds, configurations)
    threshold = np.median([np.mean([o.learning_curve[1] for o in outcomes]) for outcomes in whole.values()])
    judge = Judge(lambda curve: len(curve) == 2 and curve[-1] < threshold)
    staged = train(folds, configurations, judge)
    stopped = [index for index, outcomes in staged.items() if outcomes[0].stopped]
    assert len(stopped) == 3
    for index, outcomes in staged.items():
        if index not in stopped:
            assert strip(outcomes) == strip(whole[index])
            continue
        for outcome, reference in zip(outcomes, whole[index], strict=True):
            assert outcome.stopped
            assert outcome.reason == "stopped: at 2"
            assert outcome.learning_curve.tolist() == reference.learning_curve[:2].tolist()
            assert outcome.predictions.size == 0
            assert outcome.duration_s > 0


def test_the_judge_sees_the_mean_curve_floored_at_zero():
    folds, seen = make_folds(regression=True), []
    configurations = spread(2)
    whole = train(folds, configurations)
    train(folds, configurations, Judge(lambda curve: seen.append(curve.tolist()), checkpoints=(5,)))
    means = [np.mean([np.maximum(o.learning_curve[:5], 0) for o in whole[i]], axis=0).tolist() for i in (0, 1)]
    assert sorted(seen) == sorted(means)


def test_where_one_fold_diverges_the_others_are_not_trained_on():
    folds = make_folds(regression=True)
    wild = replace(folds[1], x_valid=folds[1].x_valid * 1e8)
    judge = Judge()
    [outcomes] = train([folds[0], wild, folds[2]], spread(1), judge).values()
    assert outcomes[1].reason.startswith("diverged")
    assert [outcome.reason for outcome in (outcomes[0], outcomes[2])] == ["", ""]
    assert judge.asked == []
    assert [len(outcome.learning_curve) for outcome in outcomes] == [2, 1, 2]


def test_limits_hold_over_stages():
    folds, configurations = make_folds(regression=False), spread(3)
    too_large = train(folds, configurations, Judge(), MLP(limits=Limits(memory_mb=1e-6)))
    assert all("memory: needs" in o.reason for outcomes in too_large.values() for o in outcomes)
    too_slow = train(folds, configurations, Judge(), MLP(limits=Limits(seconds=1e-9)))
    assert all(any(o.reason.startswith("time:") for o in outcomes) for outcomes in too_slow.values())


class Broken:
    learning_curve, duration_s = np.zeros(0, np.float32), 0.0

    def __init__(self, error):
        self.error = error

    def advance(self, epochs, stop):
        raise self.error


def stage(begin):
    return list(train_in_stages(begin, np.ones((2, 2)), 4, Judge(), 2, Limits()))


def test_memory_that_runs_out_is_a_failed_trial_and_a_program_that_fails_raises():
    outcomes = stage(lambda index, fold: Broken(MemoryError("no room")))
    assert [o.reason for _, folds in outcomes for o in folds] == ["memory: no room"] * 4

    def begin(index, fold):
        raise MemoryError

    assert [o.reason for _, folds in stage(begin) for o in folds] == ["memory: an allocation failed"] * 4
    with pytest.raises(ZeroDivisionError):
        stage(lambda index, fold: Broken(ZeroDivisionError()))


def test_closing_early_ends_the_threads():
    folds = make_folds(regression=False)
    trained = MLP().train_folds(folds, spread(4), seed=0, epochs=EPOCHS, judge=Judge())
    _, outcomes = next(trained)
    trained.close()
    assert all(isinstance(outcome, FoldOutcome) for outcome in outcomes)


def test_the_plain_engine_asks_nobody_and_trains_to_the_end():
    folds, judge = make_folds(regression=False), Judge(lambda curve: True)
    [outcomes] = train(folds, spread(1), judge, MLP(engine="torch", device="cpu")).values()
    assert judge.asked == []
    assert [len(outcome.learning_curve) for outcome in outcomes] == [EPOCHS] * 3
