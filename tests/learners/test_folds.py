import math
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris

from metaflow_hpo.collect.trials import refit_trial, train_trials
from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.array_learner import ArrayLearner
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.folds import make_folds, prepare_folds
from metaflow_hpo.learners.isolation import IsolatedLearner
from metaflow_hpo.learners.learner import Fidelity
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.svm import SVM
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.modalities.splits import assign_folds, count_folds
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.space import Float, SearchSpace
from metaflow_hpo.tables import trial_to_record
from metaflow_hpo.task import Task


def make_data(regression=False, metric=None):
    x, y = load_diabetes(return_X_y=True) if regression else load_iris(return_X_y=True)
    features = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    is_test = np.arange(len(x)) % 4 == 0
    kind, classes = ("regression", 0) if regression else ("multiclass", 3)
    task = Task(
        task_id="toy", family="toy", modality="table", kind=kind, target="y", licence="BSD-3-Clause",
        metric=Metric.read(metric or ("r2" if regression else "balanced_accuracy")), source="scikit-learn",
        sha256="0" * 64, rows=len(x), columns=x.shape[1], classes=classes, test_rows=int(is_test.sum()),
    )  # fmt: skip
    return TableData(task, features, y.astype(np.float64) if regression else y.astype(np.int64), is_test)


def evaluate(data, learner=None, epochs=5, **options):
    learner = learner or MLP()
    epochs = min(epochs, learner.fidelity.maximum)
    [(_, trial)] = train_trials(
        data, learner, [learner.space.default], strategy="default", seed=0, fidelity=epochs, **options
    )
    return trial


class Stub(ArrayLearner):
    """A learner that predicts class 0, or the mean, or fails on one fold."""

    name, modalities, fidelity = "stub", ("table",), Fidelity("epochs", 2)
    space = SearchSpace((Float("x", 0.0, 1.0, 0.5),))

    def __init__(self, fails_on: int = -1):
        self.fails_on = fails_on

    def measure_costs(self, folds, configurations, epochs):
        return np.ones((len(configurations), len(folds)))

    def train_folds(
        self, folds, configurations, *, seed, epochs, judge=None
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        for index in range(len(configurations)):
            yield index, [self.predict(fold, number) for number, fold in enumerate(folds)]

    def predict(self, fold: Fold, number: int) -> FoldOutcome:
        if number == self.fails_on:
            return FoldOutcome(np.empty(0, np.float32), np.empty(0, np.float32), 1.0, "diverged: on purpose")
        m = len(fold.y_valid)
        curve = np.array([-2.0 if number == 0 else 0.4, 0.6], np.float32)
        if fold.classes == 0:
            return FoldOutcome(np.full(m, 1.0, np.float32), curve, 1.0)
        return FoldOutcome(np.eye(fold.classes, dtype=np.float32)[np.zeros(m, int)], curve, 1.0)


def test_each_training_row_is_validated_once_and_the_last_fold_holds_the_test_rows():
    data = make_data()
    folds = make_folds(data)
    assert len(folds) == 6
    assert sum(len(fold.y_valid) for fold in folds[:-1]) == len(data.train_target)
    assert np.array_equal(folds[-1].y_train, data.train_target)
    assert np.array_equal(folds[-1].y_valid, data.test_target)


def test_a_regression_target_is_standardised_on_the_rows_trained_on():
    for fold in make_folds(make_data(regression=True)):
        assert fold.y_train.mean() == pytest.approx(0, abs=1e-6)
        assert fold.y_train.std() == pytest.approx(1, abs=1e-5)
        assert fold.classes == 0
        assert 60 < fold.target_scale < 90  # the disease progression has a standard deviation of 77


def test_performance_averages_the_metric_over_the_cross_validation_folds():
    trial = evaluate(make_data(), Stub(), epochs=2)
    assert trial.performance == pytest.approx(1 / 3)
    assert trial.test_performance == pytest.approx(1 / 3)
    assert set(trial.scores) == {
        f"{t}{m}" for t in ("", "test_") for m in ("accuracy", "balanced_accuracy", "log_loss")
    }
    assert trial.duration_s == 6.0
    assert trial.learning_curve == pytest.approx(((0 + 4 * 0.4) / 5, 0.6))  # floored at 0, the test fold left out
    assert (trial.strategy, trial.learner, trial.fidelity) == ("default", "stub", 2)


def test_errors_are_oriented_and_in_units_of_the_target():
    data = make_data(regression=True, metric="rmse")
    trial = evaluate(data, Stub(), epochs=2)
    train, test = data.train_target, data.test_target
    expected = np.sqrt(np.mean((test - (train.mean() + train.std())) ** 2))
    assert trial.test_performance == pytest.approx(-expected, rel=1e-4)
    assert trial.performance == pytest.approx(-trial.scores["rmse"])
    assert evaluate(make_data(regression=True), Stub(), epochs=2).performance == 0.0  # R2 below 0 counts as 0


@pytest.mark.parametrize(("number", "where"), [(2, "in fold 3 of 5"), (5, "on the refit")])
def test_a_failure_in_any_fold_is_a_failed_trial(number, where):
    trial = evaluate(make_data(), Stub(fails_on=number), epochs=2)
    assert trial.status == "failed"
    assert trial.reason == f"diverged: on purpose ({where})"
    assert math.isnan(trial.performance)
    assert math.isnan(trial.test_performance)


@pytest.mark.parametrize("learner", [MLP(), SVM()], ids=["mlp", "svm"])
@pytest.mark.parametrize("regression", [False, True], ids=["classification", "regression"])
def test_changing_test_rows_changes_nothing_that_is_selected_on(learner, regression):
    data = make_data(regression)
    features = data.features.copy()
    features.loc[data.is_test] = 1e3
    one, other = evaluate(data, learner), evaluate(replace(data, features=features), learner)
    assert (one.performance, one.learning_curve) == (other.performance, other.learning_curve)
    assert one.test_performance != other.test_performance


def test_changing_validation_rows_leaves_the_preparation_of_their_fold_alone():
    data = make_data()
    groups = pd.factorize(pd.util.hash_pandas_object(data.train_features, index=False))[0]
    number = assign_folds(data.train_target, 5, False, 0, groups)
    features = data.features.copy()
    features.loc[np.flatnonzero(~data.is_test)[number == 1]] *= -77.0
    one, other = make_folds(data), make_folds(replace(data, features=features))
    assert np.array_equal(one[1].x_train, other[1].x_train)
    assert not np.array_equal(one[1].x_valid, other[1].x_valid)
    assert not np.array_equal(one[0].x_train, other[0].x_train)


@pytest.mark.parametrize("regression", [False, True], ids=["classification", "regression"])
def test_the_learning_curve_ends_at_the_performance(regression):
    trial = evaluate(make_data(regression), epochs=7)
    assert len(trial.learning_curve) == 7
    assert trial.learning_curve[-1] == pytest.approx(trial.performance, abs=1e-5)
    assert evaluate(make_data(regression), SVM()).learning_curve == ()


def test_folds_are_prepared_once_and_forgotten_with_the_rows():
    data = make_data()
    folds = prepare_folds(data)
    assert prepare_folds(data) is folds
    assert prepare_folds(replace(data)) is not folds
    forgotten = weakref.ref(folds[0])
    del data, folds
    assert forgotten() is None


class StopAt:
    """A judge that stops everything at one epoch."""

    def __init__(self, epoch):
        self.checkpoints = (epoch,)
        self.asked = []

    def __call__(self, curve):
        self.asked.append(tuple(curve.tolist()))
        return "stopped: enough"


def test_a_trial_that_the_judge_stops_has_its_curve_and_no_performance():
    data = make_data()
    judge = StopAt(3)
    trial = evaluate(data, refit=False, judge=judge)
    whole = evaluate(data)
    assert (trial.status, trial.reason) == ("stopped", "stopped: enough")
    assert math.isnan(trial.performance)
    assert math.isnan(trial.test_performance)
    assert trial.learning_curve == whole.learning_curve[:3]
    assert len(judge.asked) == 1
    assert judge.asked[0] == pytest.approx(trial.learning_curve)


def test_a_learner_that_cannot_be_judged_trains_to_the_end():
    judge = StopAt(1)
    assert evaluate(make_data(), SVM(), refit=False, judge=judge).status == "ok"
    assert judge.asked == []


def test_a_judge_is_refused_where_it_would_see_test_rows():
    with pytest.raises(MetaflowHPOError, match="would see the test rows"):
        evaluate(make_data(), judge=StopAt(1))


@pytest.mark.parametrize("learner", [MLP(), IsolatedLearner(MLP()), SVM()], ids=["mlp", "mlp in processes", "svm"])
@pytest.mark.parametrize("regression", [False, True], ids=["classification", "regression"])
def test_a_refit_made_up_for_gives_the_same_trial(learner, regression):
    data = make_data(regression)
    whole, validated = evaluate(data, learner), evaluate(data, learner, refit=False)
    assert math.isnan(validated.test_performance)
    assert not any(name.startswith("test_") for name in validated.scores)
    assert validated.performance == whole.performance
    assert validated.learning_curve == whole.learning_curve
    refitted = refit_trial(data, learner, validated)
    assert refitted.duration_s > validated.duration_s
    assert replace(refitted, duration_s=0) == replace(whole, duration_s=0)


def test_a_refit_that_fails_makes_the_trial_a_failed_one():
    data = make_data()
    trial = refit_trial(data, Stub(fails_on=0), evaluate(data, Stub(), refit=False))
    whole = evaluate(data, Stub(fails_on=count_folds(112)))
    assert trial.reason == whole.reason == "diverged: on purpose (on the refit)"
    assert trial_to_record(trial) == trial_to_record(whole)


def test_bad_requests_are_refused_before_anything_is_trained():
    with pytest.raises(SearchSpaceMismatchError, match="misses 'learning_rate'"):
        train_trials(make_data(), MLP(), [{}], strategy="default", seed=0)
    with pytest.raises(SearchSpaceMismatchError, match=r"fidelity_epochs must be in 1\.\.50; got 99"):
        train_trials(make_data(), MLP(), [], strategy="default", seed=0, fidelity=99)


def test_folds_keep_rows_with_equal_features_together():
    frame = pd.DataFrame({"a": np.repeat(np.arange(100.0), 3), "y": np.tile(["u", "v", "v"], 100)})
    data = prepare_task(frame, task_id="t", target="y", source="test", licence="none")
    folds = make_folds(data)
    for fold in folds[:-1]:
        assert not set(fold.x_train[:, 0].round(4)) & set(fold.x_valid[:, 0].round(4))
        assert len(fold.x_valid) > 0
