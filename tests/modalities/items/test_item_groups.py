import numpy as np

from metaflow_hpo.modalities.items.groups import number_groups, renumber, unite


def test_groups_are_numbered_as_they_appear_and_unknown_ones_stand_alone():
    assert number_groups(["b", "a", None, "b", "", " a ", -1]).tolist() == [0, 1, 2, 0, 3, 1, 4]


def test_uniting_cuts_through_none_of_the_groupings():
    one = np.array([0, 0, 1, 1, 2, 3])
    other = np.array([5, 6, 6, 7, 8, 9])
    assert unite([one, other]).tolist() == [0, 0, 0, 0, 1, 2]


def test_numbers_start_from_nought_in_order():
    assert renumber(np.array([7, 3, 7, 5])).tolist() == [0, 1, 0, 2]
