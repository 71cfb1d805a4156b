import numpy as np
import pytest

from metaflow_hpo.modalities.splits import assign_folds, count_folds, split_into_folds


@pytest.mark.parametrize(("rows", "folds"), [(499, 5), (500, 3), (4999, 3), (5000, 2)])
def test_larger_tasks_have_fewer_folds(rows, folds):
    assert count_folds(rows) == folds


def test_classes_are_spread_evenly_over_folds():
    target = np.array([0] * 13 + [1] * 30 + [2] * 4)
    number = assign_folds(target, 5, False, 0)
    for label in range(3):
        counts = np.bincount(number[target == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(number)) <= 1


def test_quantiles_of_the_target_are_spread_evenly_over_folds():
    target = np.random.default_rng(0).normal(size=103) ** 3
    number = assign_folds(target, 5, True, 0)
    ranks = np.argsort(np.argsort(target))
    for block in range(20):
        assert sorted(number[ranks // 5 == block]) == [0, 1, 2, 3, 4]
    assert np.array_equal(number, assign_folds(target, 5, True, 0))
    assert not np.array_equal(number, assign_folds(target, 5, True, 1))


@pytest.mark.parametrize("regression", [False, True])
def test_rows_of_a_group_share_a_fold_and_classes_stay_spread(regression):
    rng = np.random.default_rng(0)
    groups = np.unique(rng.integers(0, 400, 1000), return_inverse=True)[1]
    target = rng.normal(size=1000) if regression else (rng.random(1000) < 0.3).astype(np.int64)
    number = assign_folds(target, 5, regression, 0, groups)
    assert all(len(set(number[groups == g])) == 1 for g in range(groups.max() + 1))
    assert np.bincount(number).tolist() == pytest.approx([200] * 5, abs=30)
    level = [target[number == k].mean() for k in range(5)]
    assert level == pytest.approx([target.mean()] * 5, abs=0.25 if regression else 0.1)


def test_folds_without_repeated_rows_do_not_change():
    target = np.arange(100) % 3
    assert (assign_folds(target, 5, False, 0, np.arange(100)) == assign_folds(target, 5, False, 0)).all()


def test_groups_are_given_up_where_a_fold_would_be_empty():
    groups = np.arange(100) % 2
    assert set(assign_folds(np.arange(100) % 3, 5, False, 0, groups)) == set(range(5))


def test_every_training_row_is_validated_once_and_no_test_row_is_ever_trained_on():
    rng = np.random.default_rng(0)
    target, is_test = rng.integers(0, 3, 200), rng.random(200) < 0.2
    splits = split_into_folds(target, is_test, regression=False)
    assert sorted(np.concatenate([s.valid for s in splits.validation])) == np.flatnonzero(~is_test).tolist()
    for split in splits.validation:
        assert sorted([*split.train, *split.valid]) == np.flatnonzero(~is_test).tolist()
    assert splits.test.valid.tolist() == np.flatnonzero(is_test).tolist()
    assert splits.test.train.tolist() == np.flatnonzero(~is_test).tolist()
