"""The learner `realmlp`: its compiled engine against plain PyTorch, its encoder, its recipe."""

import numpy as np
import pytest

from metaflow_hpo.actions.plan_searches import plan_searches
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.realmlp import engine, kernel
from metaflow_hpo.learners.realmlp.encoder import SCALINGS, Encoder
from metaflow_hpo.learners.realmlp.learner import RealMLP
from metaflow_hpo.learners.realmlp.recipe import SPACE, draw_schedule, draw_start, make_recipe, weigh_classes
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.settings import Settings
from metaflow_hpo.space import configuration_id
from tests.learners.realmlp import reference

GO_ON = np.zeros(1, np.int64)


@pytest.fixture(scope="module", autouse=True)
def compiled():
    engine.warm_up()


def make_fold(classes: int, rows: int = 150) -> Fold:
    """Rows with heavy tails, an indicator, a constant, and a target that depends on them."""
    rng = np.random.default_rng(0)
    x = rng.standard_t(3, (rows, 5)).astype(np.float32)
    x[:, 3], x[:, 4] = rng.random(rows) < 0.3, 0
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + x[:, 3]
    y = np.digitize(y, np.quantile(y, [0.6, 0.85])[: classes - 1]) if classes else (y / y.std()).astype(np.float32)
    return Fold(x[:100], y[:100], x[100:], y[100:], classes)


CASES = {
    "plain": {},
    "members and waves": {"members": 3, "embedding": "periodic", "frequency": 0.3, "activation": "mish"},
    "relu": {"activation": "relu", "layers": 1, "class_balance": 0.0, "label_smoothing": 0.0, "embedding": "none"},
    "silu": {"activation": "silu", "layers": 3, "schedule": "cosine", "scaling": "quantile", "width": 40},
}


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_compiled_training_is_that_of_pytorch(case, classes):
    fold = make_fold(classes)
    chosen = {**SPACE.default, "dropout": 0.0, "batch_size": 32, "learning_rate": 0.02, **case}
    if chosen["embedding"] == "none":
        del chosen["frequency"]
    configuration = SPACE.validate(chosen)
    training = engine.Training(fold, configuration, seed=1, epochs=3)
    outcome = training.advance(3, GO_ON)
    encoder = Encoder.fit(fold.x_train, configuration["scaling"])
    recipe = make_recipe(configuration, fold, encoder, 3)
    start = draw_start(recipe, len(fold.x_train), 1, configuration, fold.number)
    assert not np.allclose(start.parameters, training.parameters, atol=1e-3)
    parameters, predicted = reference.train(
        recipe, start, encoder.encode(fold.x_train), fold.y_train, encoder.encode(fold.x_valid)
    )
    assert training.parameters == pytest.approx(parameters, abs=2e-4)
    assert training._outputs == pytest.approx(predicted, abs=2e-4)
    if classes:
        assert outcome.predictions.sum(axis=1) == pytest.approx(1, abs=1e-5)
    else:
        assert np.ptp(outcome.predictions) <= np.ptp(fold.y_train)


def test_a_pause_changes_no_bit():
    fold, configuration = make_fold(3), SPACE.default
    whole, paused = (engine.Training(fold, configuration, seed=1, epochs=4) for _ in range(2))
    outcome = whole.advance(4, GO_ON)
    assert paused.advance(1, GO_ON) is None
    assert paused.advance(3, GO_ON) is None
    resumed = paused.advance(4, GO_ON)
    assert resumed.predictions.tobytes() == outcome.predictions.tobytes()
    assert resumed.learning_curve.tobytes() == outcome.learning_curve.tobytes()


def test_dropout_zeroes_its_share_and_only_in_training():
    fold = make_fold(0)
    configurations = [{**SPACE.default, "dropout": rate} for rate in (0.0, 0.5)]
    without, with_dropout = (engine.Training(fold, c, seed=1, epochs=2) for c in configurations)
    with_dropout.parameters[:] = without.parameters
    for training in (without, with_dropout):
        training.advance(1, GO_ON)
    assert not np.allclose(without.parameters, with_dropout.parameters)
    h, slope = np.ones((400, 50), np.float32), np.empty((400, 50), np.float32)
    kernel.activate(
        h, slope, np.zeros(50, np.float32), kernel.RELU, kernel.u4(0.3 * 2**32), kernel.f4(1 / 0.7), kernel.u4(7)
    )
    assert np.mean(h == 0) == pytest.approx(0.3, abs=0.02)
    assert set(np.unique(h)) == {np.float32(0), np.float32(1) * np.float32(1 / 0.7)}
    assert (slope == h).all()


def test_a_training_that_diverges_fails_with_its_reason():
    training = engine.Training(make_fold(0), {**SPACE.default, "learning_rate": 1e6}, seed=1, epochs=5)
    outcome = training.advance(5, GO_ON)
    assert "diverged" in outcome.reason
    assert len(outcome.learning_curve) < 5


def test_the_flag_ends_it_before_the_next_step():
    training = engine.Training(make_fold(2), SPACE.default, seed=1, epochs=5)
    assert "stopped (after epoch 0 of 5)" in training.advance(5, np.ones(1, np.int64)).reason


def test_memory_above_the_limit_is_refused():
    with pytest.raises(MemoryError, match="limit 1 MB"):
        engine.Training(make_fold(2), {**SPACE.default, "width": 256}, seed=1, epochs=50, limits=Limits(memory_mb=1))


@pytest.mark.parametrize("scaling", SCALINGS)
def test_numbers_are_scaled_and_indicators_stay(scaling):
    x = make_fold(0).x_train
    encoder = Encoder.fit(x, scaling)
    encoded = encoder.encode(x)
    assert encoder.numbers.tolist() == [0, 1, 2]
    assert (encoded[:, 3] == x[:, 3]).all()
    assert encoded.shape == (100, 4)  # nothing of the constant
    order = np.argsort(x[:, 0], kind="stable")
    assert (np.diff(encoded[order, 0]) >= 0).all()
    wild = np.full((1, 5), 1e6, np.float32)
    assert (
        encoder.encode(wild)[0, 0]
        == {"robust": 3.0, "quantile": pytest.approx(3.09, abs=0.01), "standard": 1e6}[scaling]
    )


def test_the_rank_of_a_value_that_is_frequent_is_its_middle():
    x = np.repeat([-1.0, 0.5, 2.0], [20, 20, 60]).astype(np.float32)[:, None]
    encoded = Encoder.fit(x, "quantile").encode(x)
    assert encoded[[0, 20, 40], 0] == pytest.approx([-1.28, -0.52, 0.52], abs=0.07)


def test_a_column_without_spread_between_its_quartiles_is_scaled_by_its_range():
    x = np.concatenate([np.full(90, 0.5), np.linspace(-3, 3, 10)]).astype(np.float32)[:, None]
    assert np.ptp(Encoder.fit(x, "robust").encode(x)) == pytest.approx(2, abs=0.2)


def test_class_weights_are_one_on_the_mean_of_the_rows():
    fold = make_fold(3)
    counts = np.bincount(fold.y_train)
    assert weigh_classes(fold, 0.0) == pytest.approx(np.ones(3))
    weights = weigh_classes(fold, 1.0)
    assert weights * counts == pytest.approx(np.full(3, 100 / 3))
    assert weigh_classes(fold, 0.5)[fold.y_train].mean() == pytest.approx(1)


def test_schedules_span_the_epochs_and_end_near_nothing():
    for schedule in ("coslog4", "cosine", "flat_cosine"):
        rates = draw_schedule(0.1, schedule, 8, 5)
        assert rates.shape == (8, 5)
        assert rates.max() == pytest.approx(0.1, rel=0.05)
        assert rates[-1, -1] < 0.001
        assert draw_schedule(0.1, schedule, 1, 1) > 0
    rising = np.diff(draw_schedule(0.1, "coslog4", 50, 20).ravel()) > 0
    assert np.count_nonzero(np.diff(rising.astype(int))) == 7  # four hills


def test_rows_without_a_number_have_no_embedding():
    fold = make_fold(2)
    x_train, x_valid = ((x > 0).astype(np.float32) for x in (fold.x_train, fold.x_valid))
    plain = Fold(x_train, x_train[:, 1].astype(np.int64), x_valid, x_valid[:, 1].astype(np.int64), 2)
    training = engine.Training(plain, SPACE.default, seed=0, epochs=50)
    assert training.recipe.shape.waves == 0
    assert training.advance(50, GO_ON).learning_curve[-1] == 1


def test_the_core_begins_with_the_default_and_the_anchors(tmp_path):
    learner = RealMLP()
    names = [configuration_id(c) for c in (learner.space.default, *learner.anchors)]
    assert len(set(names)) == len(names) > 20
    settings = Settings(data=tmp_path, learner="realmlp", core_trials=8, random_trials=0, repeat_every=0)
    plan = plan_searches(Pipeline(settings), "0" * 64)
    assert plan == [("anchors", len(names), 0), ("sobol", 8, 0)]
