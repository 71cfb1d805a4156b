from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.cnn import CNN
from metaflow_hpo.learners.isolation import IsolatedLearner
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.networks.blocks import Dropout, draw_from
from tests.learners.networks.pictures import DivergingCNN, make_fold

SMALL = CNN.space.default | {"depth": 2, "width": 8}


def draw(count, seed=0):
    """Return configurations that are quick to train."""
    units = np.random.default_rng(seed).random((count, len(CNN.space.names)))
    return [c | {"depth": 2, "width": 8} for c in CNN.space.from_unit(units)]


def train(configurations, folds=None, learner=None, seed=0, epochs=2, **options):
    learner = learner or CNN(workers=2)
    return dict(learner.train_folds(folds or [make_fold()], configurations, seed=seed, epochs=epochs, **options))


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.predictions.tobytes() == b.predictions.tobytes()
        assert a.learning_curve.tobytes() == b.learning_curve.tobytes()


class TestBits:
    def test_are_those_of_the_seed_whatever_is_trained_beside_it(self):
        configurations, folds = draw(4), [make_fold(), make_fold(60, 30, number=1)]
        together = train(configurations, folds)
        for index, configuration in enumerate(configurations):
            assert_same_bits(together[index], train([configuration], folds, CNN(workers=1))[0])
            torch.rand(7)  # somebody else draws from the stream that all threads share

    def test_of_two_seeds_and_of_two_folds_differ(self):
        folds = [make_fold(), make_fold(number=1)]
        one, other = (train([SMALL], folds, seed=seed)[0] for seed in (0, 1))
        assert not np.array_equal(one[0].predictions, other[0].predictions)
        assert not np.array_equal(one[0].predictions, one[1].predictions)

    def test_of_the_callers_own_stream_are_left_alone(self):
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        train([SMALL])
        assert torch.equal(torch.rand(2), expected)

    @pytest.mark.slow
    def test_are_the_same_in_processes(self):
        learner = CNN().within(Limits(), isolation="process", workers=1)
        assert isinstance(learner, IsolatedLearner)
        assert_same_bits(train([SMALL], learner=learner)[0], train([SMALL])[0])


class _Judge:
    """Stops what is at or below a bound at its checkpoint."""

    checkpoints = (2,)

    def __init__(self, bound):
        self.bound, self.seen = bound, []

    def __call__(self, curve):
        self.seen.append(curve)
        return f"stopped: at {curve[-1]:.2f}" if curve[-1] <= self.bound else ""


class TestJudges:
    def test_stop_a_training_at_their_checkpoint(self):
        judge = _Judge(bound=1.0)
        [outcome] = train([SMALL], epochs=4, judge=judge)[0]
        assert outcome.stopped
        assert outcome.reason.startswith("stopped: at")
        assert len(outcome.learning_curve) == 2
        assert len(judge.seen) == 1

    def test_change_nothing_of_what_they_let_go_on(self):
        assert_same_bits(train([SMALL], epochs=4, judge=_Judge(bound=-1.0))[0], train([SMALL], epochs=4)[0])


class TestFailures:
    def test_a_training_that_diverges_is_a_failed_trial(self):
        [outcome] = train([SMALL], learner=DivergingCNN(workers=1))[0]
        assert outcome.reason == "diverged: validation loss nan after epoch 1 of 2"

    def test_a_training_beyond_its_seconds_is_a_failed_trial(self):
        learner = CNN().within(Limits(seconds=0.01), workers=1)
        [outcome] = train([SMALL | {"width": 64}], learner=learner, epochs=15)[0]
        assert outcome.reason.startswith("time: more than 0.01 s (in epoch ")

    def test_a_network_beyond_its_memory_is_a_failed_trial(self):
        learner = CNN().within(Limits(memory_mb=3), workers=1)
        small, large = train([SMALL, SMALL | {"width": 64, "depth": 6}], learner=learner).values()
        reasons = sorted([small[0].reason, large[0].reason])
        assert reasons[0] == ""
        assert reasons[1].startswith("memory: needs ")
        assert reasons[1].endswith(" MB, limit 3 MB")


def test_tensors_are_made_once_for_the_configurations_that_share_them():
    fitted = []

    @dataclass(frozen=True)
    class Counting(CNN):
        encoded_by = ("depth",)

        def fit_encoder(self, x_train, configuration):
            fitted.append(configuration["depth"])
            return super().fit_encoder(x_train, configuration)

    train([SMALL, SMALL | {"width": 9}, SMALL | {"depth": 3}], learner=Counting(workers=1), epochs=1)
    assert sorted(fitted) == [2, 3]


def test_the_most_expensive_is_trained_first():
    small, large = SMALL, SMALL | {"width": 32, "depth": 6}
    assert list(train([small, large], learner=CNN(workers=1), epochs=1)) == [1, 0]


class TestDropout:
    def test_keeps_the_mean_and_draws_from_its_own_generator(self):
        dropout = Dropout(0.25)
        dropout.generator = torch.Generator().manual_seed(1)
        out = dropout(torch.ones(100_000))
        assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert float(out.mean()) == pytest.approx(1, abs=0.01)
        dropout.generator.manual_seed(1)
        assert torch.equal(dropout(torch.ones(100_000)), out)

    def test_passes_all_where_nothing_is_trained(self):
        assert Dropout(0.9).eval()(torch.ones(3)).tolist() == [1, 1, 1]

    @pytest.mark.parametrize(
        "module", [nn.Dropout(0.5), nn.MultiheadAttention(4, 2, dropout=0.1), nn.GRU(4, 4, 2, dropout=0.1)]
    )
    def test_of_a_stream_that_all_share_is_refused(self, module):
        with pytest.raises(MetaflowHPOError, match="draws from a stream that all threads share"):
            draw_from(nn.Sequential(module), torch.Generator())
