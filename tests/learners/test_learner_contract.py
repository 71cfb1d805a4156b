"""What every learner must do; a new learner is added to LEARNERS_UNDER_TEST and nothing else."""

import threading

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from threadpoolctl import threadpool_info

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.realmlp.learner import RealMLP
from metaflow_hpo.learners.registry import LEARNERS, get_learner
from metaflow_hpo.learners.svm import SVM
from metaflow_hpo.modalities.modality import Fold

LEARNERS_UNDER_TEST = {"mlp": MLP, "svm": SVM, "realmlp": RealMLP}


def make_fold(regression: bool, part: int = 0) -> Fold:
    x, y = load_diabetes(return_X_y=True) if regression else load_iris(return_X_y=True)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    y = ((y - y.mean()) / y.std()).astype(np.float32) if regression else y.astype(np.int64)
    valid = (np.arange(len(x)) % 3) == part
    return Fold(x[~valid], y[~valid], x[valid], y[valid], 0 if regression else 3)


@pytest.fixture(params=[False, True], ids=["classification", "regression"])
def folds(request):
    return [make_fold(request.param, part) for part in range(2)]


def draw_configurations(learner, count=6):
    units = np.random.default_rng(5).random((count, len(learner.space.hyperparameters)))
    return learner.space.from_unit(units)


def train_all(learner, folds, configurations, seed=3):
    return dict(learner.train_folds(folds, configurations, seed=seed, epochs=min(learner.fidelity.maximum, 4)))


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.reason == b.reason
        assert a.predictions.tobytes() == b.predictions.tobytes()
        assert a.learning_curve.tobytes() == b.learning_curve.tobytes()


@pytest.mark.parametrize("name", LEARNERS_UNDER_TEST)
class TestEveryLearner:
    def test_is_registered_under_its_name(self, name):
        assert name in LEARNERS.names
        assert get_learner(name).name == name

    def test_same_seed_gives_same_bits(self, name, folds):
        learner = get_learner(name)
        configurations = draw_configurations(learner)
        one, other = (train_all(learner, folds, configurations) for _ in range(2))
        for index in range(len(configurations)):
            assert_same_bits(one[index], other[index])

    def test_companions_order_and_threads_change_nothing(self, name, folds):
        configurations = draw_configurations(get_learner(name))
        together = train_all(LEARNERS_UNDER_TEST[name](workers=3), folds, configurations)
        backwards = train_all(LEARNERS_UNDER_TEST[name](workers=1), folds, configurations[::-1])
        alone = train_all(get_learner(name), folds, configurations[2:3])
        assert sorted(together) == list(range(len(configurations)))
        assert_same_bits(alone[0], together[2])
        for index in together:
            assert_same_bits(together[index], backwards[len(configurations) - 1 - index])

    def test_shapes_are_as_promised(self, name, folds):
        learner = get_learner(name)
        outcomes = train_all(learner, folds, [learner.space.default])[0]
        for fold, outcome in zip(folds, outcomes, strict=True):
            assert outcome.reason == ""
            assert outcome.predictions.dtype == np.float32
            assert outcome.duration_s > 0
            assert outcome.learning_curve.shape == (0 if learner.fidelity.maximum == 1 else 4,)
            if fold.classes:
                assert outcome.predictions.shape == (len(fold.x_valid), fold.classes)
                assert outcome.predictions.sum(axis=1) == pytest.approx(1, abs=1e-5)
            else:
                assert outcome.predictions.shape == (len(fold.x_valid),)

    def test_learns_better_than_chance(self, name, folds):
        learner = get_learner(name)
        [(_, outcomes)] = learner.train_folds(folds, [learner.space.default], seed=0, epochs=learner.fidelity.maximum)
        for fold, outcome in zip(folds, outcomes, strict=True):
            if fold.classes:
                assert np.mean(outcome.predictions.argmax(axis=1) == fold.y_valid) > 0.9
            else:
                assert np.mean((outcome.predictions - fold.y_valid) ** 2) < 0.75 * np.var(fold.y_valid)

    def test_rejects_an_invalid_configuration_at_once(self, name, folds):
        learner = get_learner(name)
        with pytest.raises(SearchSpaceMismatchError, match="Unknown hyperparameters"):
            learner.train_folds(folds, [{**learner.space.default, "colour": "red"}], seed=0, epochs=1)

    @pytest.mark.parametrize("epochs", [0, 51])
    def test_rejects_an_impossible_fidelity(self, name, folds, epochs):
        with pytest.raises(SearchSpaceMismatchError, match="fidelity_epochs must be in 1"):
            get_learner(name).train_folds(folds, [], seed=0, epochs=epochs)

    def test_no_configurations_give_nothing(self, name, folds):
        assert train_all(get_learner(name), folds, []) == {}

    def test_closing_early_gives_threads_and_blas_back(self, name, folds):
        learner = get_learner(name)
        threads, blas = threading.active_count(), blas_threads()
        iterator = learner.train_folds(folds, draw_configurations(learner, 16), seed=0, epochs=1)
        next(iterator)
        assert set(blas_threads()) == {1}
        iterator.close()
        assert threading.active_count() == threads
        assert blas_threads() == blas


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
