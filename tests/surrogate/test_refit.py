"""An incremental fit: new tasks reach the networks that may see them, and no network ever sees its own families."""

import numpy as np
import pytest
import torch

from metaflow_hpo.surrogate.fit import FitSettings, WarmStart, fit_surrogate
from metaflow_hpo.surrogate.splits import assign_folds, extend_folds, split_families
from tests.conftest import changed, identical

TINY = FitSettings(
    folds=3,
    max_epochs=2,
    members=1,
    accelerator="cpu",
    ends_epochs=2,
    refit_epochs=2,
    learning_rate=1e-3,
    refit_learning_rate=1e-2,
)
KNOWN = list(range(9))


def fit_twice(meta, folder, known=KNOWN):
    """Fit on the first nine tasks, then go on with the other three."""
    before = meta.subset(known)
    first, _ = fit_surrogate(before, "mlp", TINY, folder / "first")
    start = WarmStart(first, frozenset(before.task_ids))
    return first, *fit_surrogate(meta, "mlp", TINY, folder / "second", start=start)


@pytest.fixture(scope="module")
def twice(meta, tmp_path_factory):
    return fit_twice(meta, tmp_path_factory.mktemp("refit"))


def test_no_family_moves_when_tasks_are_added_one_after_the_other():
    families = [f"family_{n}" for n in range(40)]
    folds = assign_folds(families[:10], 5)
    for count in range(11, 41):
        extended = extend_folds(folds, families[:count])
        assert {family: extended[family] for family in folds} == folds
        assert set(extended) == set(families[:count])
        folds = extended
    sizes = np.bincount(list(folds.values()))
    assert list(sizes) == [8] * 5
    assert extend_folds(folds, list(reversed(families))) == folds


def test_the_second_fit_leaves_every_family_in_its_fold(twice):
    first, second, _ = twice
    assert {family: second.fold_of_family[family] for family in first.fold_of_family} == first.fold_of_family
    assert len(second.fold_of_family) == 12


@pytest.mark.parametrize("j", [0, 1, 2])
def test_a_network_trained_on_has_never_seen_the_families_of_its_fold(meta, twice, tmp_path, j):
    _, second, _ = twice
    hidden = split_families(meta.families, second.fold_of_family)[j].test
    assert set(hidden) & set(KNOWN)
    assert set(hidden) - set(KNOWN)
    rng = np.random.default_rng(99)
    performance, features = meta.performance.copy(), meta.meta_features.copy()
    performance[hidden] = rng.random((len(hidden), performance.shape[1]))
    features[hidden] = 100.0 * rng.normal(size=(len(hidden), features.shape[1]))
    _, other, _ = fit_twice(changed(meta, performance=performance, meta_features=features), tmp_path)
    assert identical(second, other, j)
    # The same change must reach a network that was trained on these families, or this test would show nothing.
    assert not identical(second, other, (j + 1) % 3)


def test_meta_validation_families_only_decide_when_to_stop(meta, twice, tmp_path):
    first, _, _ = twice
    start = WarmStart(first, frozenset(meta.task_ids[t] for t in KNOWN))
    second, _ = fit_surrogate(meta, "mlp", TINY, tmp_path / "one", start=start)
    assert all(np.array_equal(second.standardisers[j].center, first.standardisers[j].center) for j in range(3))


def test_each_network_is_at_least_as_good_on_its_meta_validation_families_as_before(meta, twice, tmp_path):
    first, _, reports = twice
    start = WarmStart(first, frozenset(meta.task_ids))
    _, untouched = fit_surrogate(meta, "mlp", TINY, tmp_path, start=start)  # nothing is new: measured, not trained
    assert [report.epochs for report in untouched] == [0, 0, 0]
    losses = [
        (now.metrics["validation_loss"], was.metrics["validation_loss"])
        for now, was in zip(reports, untouched, strict=True)
    ]
    losses += [
        (now.metrics["validation_ends_loss"], was.metrics["validation_ends_loss"])
        for now, was in zip(reports, untouched, strict=True)
    ]
    assert all(now <= was + 1e-6 for now, was in losses)
    assert any(report.epochs > 0 for report in reports)


def test_a_network_without_a_new_task_to_train_on_stays_as_it_was(meta, tmp_path):
    known = list(range(11))
    first, second, reports = fit_twice(meta, tmp_path, known)
    fold = second.fold_of_family[meta.families[11]]
    untouched = [fold, (fold - 1) % 3]  # it is their meta-test or meta-validation family
    assert all(identical(first, second, j) for j in untouched)
    assert [reports[j].epochs for j in untouched] == [0, 0]


def test_the_same_second_fit_gives_the_same_bits(meta, twice, tmp_path):
    torch.rand(5)
    _, again, _ = fit_twice(meta, tmp_path)
    assert all(identical(twice[1], again, j) for j in range(3))
