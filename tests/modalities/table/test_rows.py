import numpy as np

from metaflow_hpo.modalities.table.rows import split_rows


def test_a_class_whose_rows_all_equal_rows_of_another_keeps_them_in_training():
    # The first two have equal features: held out with the first, the only row of class 1 would be lost to training.
    features = np.array([0, 0, *range(1, 21)], dtype=np.uint64)
    is_test = split_rows(np.arange(22, dtype=np.uint64), features, np.array([0, 1, *[0] * 20]))
    assert is_test.tolist() == [False, False, True, True, *[False] * 18]
