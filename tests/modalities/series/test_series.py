"""Series side by side: what is missing, where they end, and how they are shortened."""

import numpy as np

from metaflow_hpo.modalities.series.series import find_length, pack_series, shorten

NAN = np.nan


def array(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_steps_without_a_value_at_the_end_are_no_part_of_a_series() -> None:
    assert find_length(array([1, NAN, 2, NAN], [NAN, NAN, NAN, NAN])) == 3
    assert find_length(array([NAN, NAN])) == 0
    packed = pack_series([array([1, 2, 3, NAN]), array([4, NAN, NAN, NAN])])
    np.testing.assert_array_equal(packed.lengths, [3, 1])
    np.testing.assert_array_equal(packed.values, [[[1, 2, 3]], [[4, NAN, NAN]]])
    np.testing.assert_array_equal(packed.one(1), [[4]])


def test_equal_values_have_equal_bits() -> None:
    odd = np.array([[0x7FC00001, 0x80000000, 0x3F800000]], np.uint32).view(np.float32)  # another NaN, -0 and 1
    assert pack_series([odd]).values.tobytes() == pack_series([array([NAN, 0, 1])]).values.tobytes()


def test_positions_choose_series_in_their_order() -> None:
    packed = pack_series([array([1, 2]), array([3]), array([5, 6])])
    chosen = packed[np.array([2, 1])]
    np.testing.assert_array_equal(chosen.values, [[[5, 6]], [[3, NAN]]])
    np.testing.assert_array_equal(chosen.lengths, [2, 1])


def test_long_series_become_means_of_neighbours_that_are_there() -> None:
    packed = pack_series([array([1, 3, NAN, 5, NAN, NAN, 7]), array([2, 4, 6])])
    short = shorten(packed, 4)
    np.testing.assert_array_equal(short.values, [[[2, 5, NAN, 7]], [[3, 6, NAN, NAN]]])
    np.testing.assert_array_equal(short.lengths, [4, 2])
    assert shorten(packed, 7).values is packed.values
    assert shorten(packed, 6).values.shape == (2, 1, 4)
