import numpy as np
import pytest
import torch
from scipy.stats import qmc

from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.mlp.kernel import hash32 as kernel_hash32
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.mlp.population import Member, Population, Rows, hash32
from metaflow_hpo.learners.mlp.recipe import SPACE, draw_start, make_recipe
from metaflow_hpo.learners.mlp.stacked_engine import measure_mb, plan_groups, train_population
from metaflow_hpo.learners.threads import single_threaded_torch
from metaflow_hpo.modalities.modality import Fold

CPU = torch.device("cpu")


def make_fold(classes: int, rows: int = 90, seed: int = 0, number: int = 0) -> Fold:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows + 40, 5)).astype(np.float32)
    signal = x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=len(x))
    if classes:
        y = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]))
    else:
        y = (signal / signal.std()).astype(np.float32)
    return Fold(x[:rows], y[:rows], x[rows:], y[rows:], classes, number=number)


def spread(count: int, **fixed):
    units = qmc.Sobol(len(SPACE.names), seed=2).random(count)
    return [SPACE.validate({**configuration, **fixed}) for configuration in SPACE.from_unit(units)]


def train(folds, configurations, epochs=6, **options):
    return dict(MLP(**options).train_folds(folds, configurations, seed=0, epochs=epochs))


def make_member(index=0, number=0, rows=100, **values):
    x = np.zeros((rows, 5), np.float32)
    fold = Fold(x, np.zeros(rows, np.int64), x[:40], np.zeros(40, np.int64), 2)
    return Member(index, number, make_recipe(SPACE.validate({**SPACE.default, **values}), fold, 3), rows, 40)


def assert_close(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.reason == b.reason == ""
        np.testing.assert_allclose(a.predictions, b.predictions, rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(a.learning_curve, b.learning_curve, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_networks_follow_the_reference_whatever_they_are_stacked_with(classes):
    folds = [
        make_fold(classes, rows, seed=rows, number=number) for number, rows in enumerate((90, 91, 135))
    ]  # the last, incomplete batch differs
    configurations = spread(8, dropout=0.0, learning_rate=0.003)
    stacked = train(folds, configurations, engine="stacked", device="cpu")
    reference = train(folds, configurations, engine="torch", device="cpu")
    for index in range(len(configurations)):
        assert_close(stacked[index], reference[index])


@pytest.mark.parametrize("classes", [0, 3])
def test_with_dropout_they_follow_the_kernel_as_the_masks_are_the_same(classes):
    folds = [make_fold(classes, rows, number=number) for number, rows in enumerate((90, 135))]
    configurations = spread(8, learning_rate=0.003)
    assert max(configuration["dropout"] for configuration in configurations) > 0.4
    stacked = train(folds, configurations, engine="stacked", device="cpu")
    kernel = train(folds, configurations, engine="numba")
    for index in range(len(configurations)):
        assert_close(stacked[index], kernel[index])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["stacked", "torch"])
def test_the_gpu_follows_the_cpu(engine):
    folds = [make_fold(3, rows) for rows in (90, 135)]
    configurations = spread(8, dropout=0.0, learning_rate=0.003)
    gpu = train(folds, configurations, engine=engine, device="cuda")
    cpu = train(folds, configurations, engine="torch", device="cpu")
    for index in range(len(configurations)):
        assert_close(gpu[index], cpu[index])


def test_hashes_are_those_of_the_kernel():
    numbers = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    expected = np.array([kernel_hash32(number) for number in numbers], np.uint32)
    assert np.array_equal(hash32(torch.from_numpy(numbers.view(np.int32))).numpy().view(np.uint32), expected)


def test_padding_stays_zero():
    fold, configurations = make_fold(3), spread(16, layers=2, activation="tanh", batch_size=32)
    members = [Member(i, 0, make_recipe(c, fold, 2), 90, 40) for i, c in enumerate(configurations)]
    starts = [draw_start(member.recipe, 90, 0, configurations[member.index], 0) for member in members]
    rows = [Rows.gather([fold], CPU, validation=validation) for validation in (False, True)]
    population = Population(members, starts, *rows)
    with single_threaded_torch():
        population.train_epoch(0, lambda: True)
    for number in range(3):
        weights, bias = population.layer(population.parameters, number)
        for member, w, b in zip(members, weights, bias, strict=True):
            i, o = member.recipe.widths[number : number + 2]
            assert not w[i:].any()
            assert not w[:, o:].any()
            assert not b[:, o:].any()
            assert w[:i, :o].all()


def test_groups_share_depth_and_activation_and_have_similar_sizes():
    members = [
        make_member(0, width=128),
        make_member(1, width=124),
        make_member(2, width=64),
        make_member(3, width=128, activation="tanh"),
        make_member(4, width=128, layers=3),
        make_member(5, width=128, batch_size=32),
        make_member(6, width=128, optimizer="sgd", momentum=0.5, dropout=0.5),
    ]
    costs = np.array([[1.0], [1.0], [9.0], [2.0], [4.0], [2.5], [1.1]])
    groups = plan_groups(members, costs, 1e6)
    assert [[member.index for member in group] for group in groups] == [[2], [4], [0, 1, 6], [5], [3]]


def test_groups_are_cut_to_the_memory_and_the_most_steps_come_first():
    members = [make_member(index, rows=rows) for index, rows in enumerate([100, 300, 200, 100, 100])]
    room_mb = 2.5 * max(map(measure_mb, members))
    groups = plan_groups(members, np.array([[1.0], [3.0], [2.0], [1.0], [1.0]]), room_mb)
    assert [[member.index for member in group] for group in groups] == [[1, 2], [0, 3], [4]]
    assert [len(group) for group in plan_groups(members, np.ones((5, 1)), 1e-9)] == [1] * 5


def test_a_network_that_diverges_leaves_its_group_alone():
    fold = make_fold(0)
    wild = Fold(fold.x_train * 100, fold.y_train * 100, fold.x_valid * 100, fold.y_valid * 100, 0)
    tame = [SPACE.validate({**SPACE.default, "dropout": rate, "learning_rate": 1e-3}) for rate in (0.0, 0.1)]
    bad = {**tame[0], "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    mixed = train([wild], [tame[0], bad, tame[1]], engine="stacked", device="cpu")
    assert mixed[1][0].reason.startswith("diverged: validation loss")
    assert len(mixed[1][0].learning_curve) < 6
    alone = train([wild], tame, engine="stacked", device="cpu")
    for one, other in ((mixed[0], alone[0]), (mixed[2], alone[1])):
        assert one[0].reason == ""
        np.testing.assert_allclose(one[0].predictions, other[0].predictions, rtol=1e-3)


def test_a_group_without_enough_memory_is_halved_down_to_the_one_that_is_too_large():
    fold, configurations = make_fold(2), spread(4, layers=1, width=64, batch_size=64, activation="relu")
    recipes = [[make_recipe(configuration, fold, 2)] for configuration in configurations]

    def draw(index, number):
        if index == 2:
            np.empty(2**50)  # 8 PiB
        return draw_start(recipes[index][number], 90, 0, configurations[index], number)

    outcomes = dict(train_population([fold], recipes, draw, np.ones((4, 1)), Limits(), CPU))
    assert outcomes[2][0].reason.startswith("memory: Unable to allocate 8.00 PiB")
    expected = train([fold], configurations, 2, engine="stacked", device="cpu")
    for index in (0, 1, 3):
        assert_close(outcomes[index], expected[index])
