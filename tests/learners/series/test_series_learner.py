import numpy as np
import pytest
import torch

from metaflow_hpo.learners.networks.kept import TrainedItemNetwork, fit_on_fold
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.series.learner import SPACE, SeriesLearner
from metaflow_hpo.modalities.modality import Fold

SMALL = {"filters": 16}


def make_fold(steps=40, channels=1, training=60, scored=40):
    """Return noisy waves, slow and fast ones, of unequal lengths and with gaps."""
    rng = np.random.default_rng(0)
    y = np.arange(training + scored) % 2
    waves = np.sin((0.2 + 0.5 * y)[:, None, None] * np.arange(steps) + rng.uniform(0, 6, (len(y), channels, 1)))
    x = (waves + 0.2 * rng.normal(size=waves.shape)).astype(np.float32)
    for one, end in zip(x, rng.integers(steps // 2, steps + 1, len(y)), strict=True):
        one[:, end:] = np.nan
    x[rng.random(x.shape) < 0.02] = np.nan
    return Fold(x[:training], y[:training], x[training:], y[training:], 2)


def train(fold, configurations, epochs=8, **options):
    learner = SeriesLearner(workers=1)
    return [
        outcome[0]
        for _, outcome in sorted(learner.train_folds([fold], configurations, seed=0, epochs=epochs, **options))
    ]


def variants():
    yield {"encoder": "convolution", "depth": 3, "kernel": 8}
    yield {"encoder": "inception", "depth": 2, "kernel": 16}
    yield {"encoder": "gru"}


@pytest.mark.parametrize("variant", list(variants()), ids=lambda one: one["encoder"])
@pytest.mark.parametrize("steps", [40, 130])
def test_every_encoder_tells_slow_waves_from_fast_ones(variant, steps):
    shared = {hp.name: hp.default for hp in SPACE.hyperparameters if hp.condition is None}
    [outcome] = train(make_fold(steps), [{**shared, **SMALL, **variant, "learning_rate": 0.01}])
    assert outcome.reason == ""
    assert outcome.learning_curve[-1] > 0.9
    assert outcome.predictions.shape == (40, 2)


def test_random_configurations_train_whatever_the_shape():
    units = np.random.default_rng(1).random((12, len(SPACE.names)))
    configurations = [dict(one) | SMALL for one in SPACE.from_unit(units)]
    for fold in (make_fold(3, training=20, scored=8), make_fold(40, channels=3, training=24, scored=8)):
        outcomes = train(fold, configurations, epochs=1)
        assert [outcome.reason for outcome in outcomes] == [""] * 12


def test_what_follows_the_end_of_a_series_plays_no_role():
    fold = make_fold()
    network = fit_on_fold(SeriesLearner(), fold, SPACE.default, "series", ("slow", "fast"), seed=0, epochs=2)
    assert network is not None
    longer = np.concatenate([fold.x_valid, np.full((40, 1, 7), np.nan, np.float32)], axis=2)
    expected = network.predict(fold.x_valid).iloc[:, 1:].to_numpy()
    # Convolutions see a few zeros more or less behind the end, where an input ends as well.
    assert np.abs(network.predict(longer).iloc[:, 1:].to_numpy() - expected).max() < 0.1


def test_a_kept_network_predicts_the_same_after_it_was_saved(tmp_path):
    fold = make_fold()
    network = fit_on_fold(SeriesLearner(), fold, SPACE.default, "series", ("slow", "fast"), seed=0, epochs=2)
    assert network is not None
    network.save(tmp_path)
    assert TrainedItemNetwork.load(tmp_path).predict(fold.x_valid).equals(network.predict(fold.x_valid))


def test_it_is_found_by_its_name_and_has_a_space_of_its_own():
    learner = get_learner("series")
    assert learner.modalities == ("series",)
    assert learner.space.names[:2] == ("learning_rate", "weight_decay")
    gru = {**dict(SPACE.default), "encoder": "gru"}
    for name in ("depth", "kernel"):
        gru.pop(name)
    assert SPACE.validate(gru) == gru


def test_larger_networks_are_expected_to_cost_more():
    learner, shape = SeriesLearner(), (1, 200)
    cost = learner.measure_cost(SPACE.default, shape, 2)
    for name, value in {"filters": 64, "depth": 6, "kernel": 40, "batch_size": 16}.items():
        assert learner.measure_cost({**SPACE.default, "batch_size": 64, name: value}, shape, 2) > learner.measure_cost(
            {**SPACE.default, "batch_size": 64}, shape, 2
        )
    assert cost > 0


def test_mean_and_maximum_leave_out_what_is_not_there():
    from metaflow_hpo.learners.series.network import SeriesNetwork

    configuration = {**dict(SPACE.default), "encoder": "convolution", "kernel": 8, "depth": 2}
    network = SeriesNetwork(configuration, 2, 1, 2).eval()
    network.encoder = torch.nn.Identity()
    network.head = torch.nn.Identity()
    x = torch.tensor([[[1.0, 3.0, 9.0], [1.0, 1.0, 0.0]]])
    assert network(x)[0].tolist() == pytest.approx([2, 1, 3, 1])
