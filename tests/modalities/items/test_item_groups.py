import numpy as np
import pytest

from metaflow_hpo.modalities.items.groups import are_classes, number_groups, renumber, unite


def test_groups_are_numbered_as_they_appear_and_unknown_ones_stand_alone():
    assert number_groups(["b", "a", None, "b", "", " a ", -1]).tolist() == [0, 1, 2, 0, 3, 1, 4]


def test_uniting_cuts_through_none_of_the_groupings():
    one = np.array([0, 0, 1, 1, 2, 3])
    other = np.array([5, 6, 6, 7, 8, 9])
    assert unite([one, other]).tolist() == [0, 0, 0, 0, 1, 2]


def test_numbers_start_from_nought_in_order():
    assert renumber(np.array([7, 3, 7, 5])).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("groups", "target", "expected"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], True),  # the speaker is what is asked for
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1], True),  # two of the first class
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [0] * 6 + [1] * 6, False),  # three of each class
        ([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], False),  # everybody says everything
        ([0, 1, 2, 3, 4], [0, 0, 0, 1, 1], False),  # each of a rare class stands alone
        ([0, 0, 0, 0], [0, 0, 1, 1], False),  # one group for all
    ],
)
def test_groups_are_classes_where_none_of_a_class_can_be_held_out(groups, target, expected):
    assert are_classes(np.array(groups), np.array(target)) is expected
