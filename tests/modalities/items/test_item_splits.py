"""Splits of items are even by class, keep groups together and score no class that cannot be known."""

import numpy as np
import pytest

from metaflow_hpo.modalities.items.splits import choose_part, deal, split_items

from .toy import assemble_rows, draw


def test_classes_are_even_in_every_part():
    target = np.repeat([0, 1, 2], [50, 23, 7])
    part = deal(target, None, 5, seed=0)
    for label in range(3):
        counts = np.bincount(part[target == label], minlength=5)
        assert np.ptp(counts) <= 1
    assert np.bincount(part).tolist() == [16] * 5
    assert np.array_equal(part, deal(target, None, 5, seed=0))
    assert not np.array_equal(part, deal(target, None, 5, seed=1))


def test_groups_with_all_classes_are_dealt_evenly_and_whole():
    target = np.tile([0, 1, 2, 3], 60)
    groups = np.repeat(np.arange(12), 20)
    part = deal(target, groups, 4, seed=0)
    assert np.bincount(part).tolist() == [60] * 4
    for group in range(12):
        assert len(set(part[groups == group])) == 1


def test_groups_of_one_class_each_are_dealt_class_by_class():
    target = np.repeat([0, 1], 40)
    groups = np.repeat(np.arange(16), 5)
    part = deal(target, groups, 4, seed=0)
    assert np.bincount(part[target == 0]).tolist() == [10] * 4
    assert np.bincount(part[target == 1]).tolist() == [10] * 4


def test_the_part_nearest_to_its_share_is_chosen_and_never_all_or_nothing():
    assert choose_part(np.array([0] * 60 + [1] * 40), 5) == 1
    assert choose_part(np.array([2] * 10 + [3] * 90), 4) == 2


@pytest.mark.parametrize(("count", "splits"), [(100, 5), (124, 5), (125, 3), (499, 3), (500, 1), (900, 1)])
def test_there_is_one_split_from_400_training_items_on(count, splits):
    data = assemble_rows(*draw(count, 4))
    made = split_items(data)
    assert len(made.validation) == splits
    if splits == 1:
        assert len(made.validation[0].valid) == round((~data.is_test).sum() / 4)
    assert np.array_equal(np.flatnonzero(data.is_test), made.test.valid)


def test_groups_are_on_one_side_of_every_split():
    rows, labels = draw(240, 3)
    data = assemble_rows(rows, labels, groups=[i // 12 for i in range(240)])
    for split in split_items(data).validation:
        assert not set(data.groups[split.train]) & set(data.groups[split.valid])
        assert set(data.target[split.valid]) == {0, 1, 2}


def test_fewer_groups_than_folds_give_fewer_folds():
    rows, labels = draw(120, 3)
    data = assemble_rows(rows, labels, groups=[i // 30 for i in range(120)])
    assert len(split_items(data).validation) == 3


def test_a_class_that_cannot_be_learned_in_a_split_is_not_scored_in_it():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, ["only", *labels[1:]])
    label = data.class_names.index("only")
    for split in split_items(data).validation:
        assert label not in data.target[split.valid]


def test_one_group_for_training_is_split_by_class_alone():
    rows, labels = draw(100, 2)
    data = assemble_rows(rows, labels, groups=[int(i >= 40) for i in range(100)])
    made = split_items(data)
    assert data.task.test_rows == 40
    assert len(made.validation) == 5
