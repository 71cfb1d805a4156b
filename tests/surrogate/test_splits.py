import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.surrogate.splits import assign_folds, split_families

FAMILIES = ["a", "a", "b", "c", "c", "c", "d", "e", "f", "g"]


def families_of(tasks):
    return {FAMILIES[t] for t in tasks}


@pytest.mark.parametrize("folds", [3, 4, 5, 7, 50])
def test_every_family_is_meta_validation_once_and_meta_test_once(folds):
    splits = split_families(FAMILIES, assign_folds(FAMILIES, folds))
    assert len(splits) == min(folds, 7)
    for part in ("validation", "test"):
        tasks = np.concatenate([getattr(split, part) for split in splits])
        assert sorted(tasks) == list(range(len(FAMILIES)))


@pytest.mark.parametrize("folds", [3, 4, 5, 7])
def test_no_family_is_in_two_parts_of_a_split(folds):
    for split in split_families(FAMILIES, assign_folds(FAMILIES, folds)):
        parts = [families_of(split.train), families_of(split.validation), families_of(split.test)]
        assert sum(len(part) for part in parts) == len(set.union(*parts)) == 7
        assert len(split.train) + len(split.validation) + len(split.test) == len(FAMILIES)
        assert all(parts)


def test_the_meta_validation_families_of_a_network_are_the_meta_test_families_of_the_next_fold():
    splits = split_families(FAMILIES, assign_folds(FAMILIES, 4))
    for j, split in enumerate(splits):
        assert list(split.validation) == list(splits[(j + 1) % 4].test)


def test_folds_differ_by_at_most_one_family():
    sizes = np.bincount(list(assign_folds(FAMILIES, 4).values()))
    assert sorted(sizes) == [1, 2, 2, 2]


def test_the_order_of_tasks_does_not_move_a_family_to_another_fold():
    permuted = np.random.default_rng(0).permutation(FAMILIES)
    assert assign_folds(list(permuted), 4) == assign_folds(FAMILIES, 4)


def test_fewer_than_three_folds_become_three():
    assert set(assign_folds(FAMILIES, 1).values()) == {0, 1, 2}


def test_fewer_than_three_families_are_refused():
    with pytest.raises(InvalidTableError, match=r"at least 3 families; found 2: \['.', '.'\]. Collect more tasks"):
        assign_folds(["a", "b", "a", "b"], 5)
