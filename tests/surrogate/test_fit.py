from dataclasses import replace

import numpy as np
import pytest
import torch

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.surrogate.anchors import find_anchors
from metaflow_hpo.surrogate.fit import FitSettings, fit_surrogate
from metaflow_hpo.surrogate.network import EndsNetwork, SurrogateNetwork
from metaflow_hpo.surrogate.splits import split_families
from metaflow_hpo.surrogate.trained_network import BEYOND, NetworkShape
from tests.conftest import FIT, changed, identical, make_history

TINY = FitSettings(folds=3, max_epochs=2, members=1, accelerator="cpu", ends_epochs=2)


@pytest.fixture(scope="module")
def tiny(meta, tmp_path_factory):
    return fit_surrogate(meta, "mlp", TINY, tmp_path_factory.mktemp("tiny"))


def spoil(meta, tasks, *, performance=True, meta_features=True):
    """Return the meta-data set with other outcomes (and descriptions) of some tasks."""
    rng = np.random.default_rng(99)
    spoiled = {name: getattr(meta, name).copy() for name in ("performance", "meta_features")}
    if performance:
        spoiled["performance"][tasks] = rng.random((len(tasks), meta.performance.shape[1]))
    if meta_features:
        spoiled["meta_features"][tasks] = 100.0 * rng.normal(size=(len(tasks), meta.meta_features.shape[1]))
    return changed(meta, **spoiled)


@pytest.mark.parametrize("j", [0, 1, 2])
def test_outcomes_and_descriptions_of_meta_test_families_leave_their_network_bit_identical(meta, tiny, tmp_path, j):
    surrogate, _ = tiny
    split = split_families(meta.families, surrogate.fold_of_family)[j]
    other, _ = fit_surrogate(spoil(meta, split.test), "mlp", TINY, tmp_path)
    assert identical(surrogate, other, j)
    # The same change must reach the networks that were trained on these families, or this test would show nothing.
    assert not identical(surrogate, other, (j + 1) % 3)


def test_outcomes_of_meta_validation_families_do_not_reach_the_standardiser(meta, tiny, tmp_path):
    surrogate, _ = tiny
    split = split_families(meta.families, surrogate.fold_of_family)[0]
    other, _ = fit_surrogate(spoil(meta, split.validation), "mlp", TINY, tmp_path)
    np.testing.assert_array_equal(surrogate.standardisers[0].center, other.standardisers[0].center)
    np.testing.assert_array_equal(surrogate.standardisers[0].scale, other.standardisers[0].scale)


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(meta, tiny, tmp_path):
    torch.rand(17)
    again, _ = fit_surrogate(meta, "mlp", TINY, tmp_path)
    assert all(identical(tiny[0], again, j) for j in range(3))


def test_another_seed_gives_another_network(meta, tiny, tmp_path):
    other, _ = fit_surrogate(meta, "mlp", replace(TINY, seed=1), tmp_path)
    assert not any(identical(tiny[0], other, j) for j in range(3))


def test_fitting_leaves_the_global_generator_and_the_threads_alone(meta, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    fit_surrogate(meta, "mlp", TINY, tmp_path)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == threads


def test_every_fold_is_reported_with_its_validation_metrics(meta, tmp_path):
    seen = []
    _, reports = fit_surrogate(meta, "mlp", TINY, tmp_path, on_fold=seen.append)
    assert seen == reports
    assert [report.fold for report in reports] == [0, 1, 2]
    assert all(report.epochs == 2 for report in reports)
    names = {"validation_loss", "validation_score_mse", "validation_rank_correlation", "validation_ends_loss"}
    assert all(names <= set(report.metrics) and np.isfinite(list(report.metrics.values())).all() for report in reports)


def test_two_families_are_too_few(meta, tmp_path):
    with pytest.raises(InvalidTableError, match="at least 3 families; found 2"):
        fit_surrogate(meta.subset([0, 1]), "mlp", TINY, tmp_path)


def test_the_members_of_an_ensemble_start_apart_and_do_not_mix():
    torch.manual_seed(0)
    network = SurrogateNetwork(NetworkShape(encoded=3, meta_features=2, members=2)).eval()
    meta_features, encoded = torch.rand(5, 2), torch.rand(5, 3)
    with torch.no_grad():
        score, position, log_spread = network(meta_features, encoded)
        assert score.shape == position.shape == log_spread.shape == (2, 5)
        assert not torch.allclose(score[0], score[1])
        network.trunk[0].weight[1] += 1.0
        changed = network(meta_features, encoded)[0]
    assert torch.equal(changed[0], score[0])
    assert not torch.allclose(changed[1], score[1])


def test_features_are_hidden_in_training_only():
    network = SurrogateNetwork(NetworkShape(encoded=1, meta_features=4, members=1))
    inputs = torch.rand(8, 4), torch.rand(8, 1)
    with torch.no_grad():
        assert not torch.equal(network(*inputs)[0], network(*inputs)[0])
        network.eval()
        assert torch.equal(network(*inputs)[0], network(*inputs)[0])


def test_before_training_the_ends_of_a_task_are_looked_for_at_its_anchors():
    network = EndsNetwork(NetworkShape(encoded=1, meta_features=4, members=3)).eval()
    anchors = torch.tensor([[0.5, 0.9], [0.0, 1.0], [0.1, 0.1]])
    with torch.no_grad():
        found = network(torch.randn(3, 4), anchors)
    assert found.shape == (3, 3, 4)
    torch.testing.assert_close(found[..., :2], anchors.expand(3, -1, -1))


def test_no_task_is_believed_to_be_done_better_than_perfectly_by_more_than_a_little():
    network = EndsNetwork(NetworkShape(encoded=1, meta_features=4, members=1)).eval()
    network.layers[-1].bias.data[..., 1] = 50.0
    with torch.no_grad():
        found = network(torch.randn(2, 4), torch.tensor([[0.5, 0.6], [0.0, 1.0]]))
    torch.testing.assert_close(found[0, :, 1], torch.full((2,), 1.0 + BEYOND))


def test_the_ends_of_tasks_are_learned_relative_to_their_landmarks(tmp_path):
    rng = np.random.default_rng(5)
    meta = make_history(tasks=40, seed=6)
    landmark = rng.uniform(0.3, 0.9, 40)
    performance = (landmark - 0.1)[:, None] * rng.random((40, len(meta.configurations)))
    performance[:, 0], performance[:, 1] = landmark - 0.1, 0.05
    performance = np.maximum(performance, 0.05)
    features = np.column_stack([landmark, np.ones(40), rng.normal(size=40)])
    names = ("mf_landmark_linear", "mf_is_regression", "mf_noise")
    described = changed(meta, performance=performance, meta_features=features, meta_feature_names=names)
    surrogate, _ = fit_surrogate(described, "mlp", replace(FIT, ends_epochs=200, max_epochs=1), tmp_path)
    errors = []
    for t, family in enumerate(described.families):
        (j,) = surrogate.networks_blind_to(family)
        standardised = surrogate.standardisers[j].transform(features[[t]]).astype(np.float32)
        anchors = find_anchors(features[[t]], names).astype(np.float32)
        ends = surrogate.networks[j].ends(standardised, anchors).mean(axis=0)
        errors.append(np.abs(ends[0, :2] - [0.05, landmark[t] - 0.1]))
    assert np.mean(errors) < 0.02
