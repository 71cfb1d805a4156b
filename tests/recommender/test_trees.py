import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from metaflow_hpo.recommender.trees import Trees


@pytest.fixture(scope="module")
def forest():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5))
    return ExtraTreesRegressor(20, min_samples_leaf=2, random_state=0).fit(points, points[:, :2] ** 2)


def test_points_end_in_the_leaves_the_library_says(forest):
    trees = Trees.of(forest.estimators_)
    points = np.random.default_rng(1).normal(size=(200, 5))
    np.testing.assert_array_equal(trees.apply(points) - trees.roots, forest.apply(points))


def test_points_on_thresholds_end_where_the_library_says(forest):
    trees = Trees.of(forest.estimators_)
    split = trees.feature >= 0
    points = np.zeros((int(split.sum()), 5))
    points[np.arange(len(points)), trees.feature[split]] = trees.threshold[split]
    np.testing.assert_array_equal(trees.apply(points) - trees.roots, forest.apply(points))


def test_a_tree_that_never_split_has_one_leaf():
    forest = ExtraTreesRegressor(3, random_state=0).fit(np.ones((4, 2)), np.ones(4))
    trees = Trees.of(forest.estimators_)
    np.testing.assert_array_equal(trees.apply(np.zeros((2, 2))), [[0, 1, 2], [0, 1, 2]])


def test_arrays_bring_the_same_trees_back(forest):
    trees = Trees.of(forest.estimators_)
    points = np.random.default_rng(2).normal(size=(50, 5))
    np.testing.assert_array_equal(Trees.from_arrays(trees.to_arrays()).apply(points), trees.apply(points))


def test_no_trees_reach_no_leaves():
    assert Trees.none().apply(np.zeros((3, 4))).shape == (3, 0)
