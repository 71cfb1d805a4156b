import numpy as np
import pytest

from metaflow_hpo.modalities.table.landmark_names import LANDMARKS
from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP
from metaflow_hpo.surrogate.anchors import find_anchors

COLUMNS = tuple(f"mf_landmark_{name}" for name in LANDMARKS)
NAMES = ("mf_is_regression", "mf_log_classes", "mf_landmark_linear", "mf_landmark_stump", "mf_landmark_network_gain")


def test_worst_is_looked_for_at_guessing_and_best_at_the_best_landmark():
    tasks = np.array([[0.0, np.log10(4.0), 0.7, 0.9, 5.0], [1.0, 0.0, 0.6, 0.2, 5.0]])
    np.testing.assert_allclose(find_anchors(tasks, NAMES), [[0.25, 0.9], [0.0, 0.6]])


def test_the_best_is_never_looked_for_below_the_worst_or_outside_of_the_metric():
    tasks = np.array([[0.0, np.log10(2.0), 0.3, 0.4, 0.0], [0.0, np.log10(2.0), 1.7, 0.4, 0.0]])
    np.testing.assert_allclose(find_anchors(tasks, NAMES), [[0.4, 0.4], [0.5, 1.0]])


def test_without_landmarks_nothing_is_known_of_the_ends():
    assert find_anchors(np.zeros((3, 1)), ["mf_is_regression"]).tolist() == [[0.3, 0.8]] * 3


def test_every_landmark_is_a_meta_feature_and_no_difference_of_them_is_a_landmark():
    assert set(COLUMNS) <= set(TABLE_GROUP.columns)
    others = {name for name in TABLE_GROUP.columns if name.startswith("mf_landmark_")} - set(COLUMNS)
    assert others
    assert all("_minus_" in name or name.endswith("_gain") for name in others)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_best_of_all_landmarks_counts_but_the_nearest_neighbour(name):
    tasks = np.full((1, len(TABLE_GROUP.columns)), 0.25)
    tasks[0, TABLE_GROUP.columns.index(name)] = 0.75
    expected = 0.25 if name.endswith("nearest_neighbour") else 0.75
    assert find_anchors(tasks, TABLE_GROUP.columns)[0, 1] == expected
