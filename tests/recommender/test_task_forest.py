import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.utils.extmath import randomized_svd

from metaflow_hpo.recommender import task_forest
from metaflow_hpo.recommender.task_forest import TaskForest

TASKS, POOL = 60, 20


def make(*, seed=0):
    """Regrets whose best configuration is the first or the last, as the first of eight meta-features says."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(TASKS, 8))
    side = features[:, 0] > 0
    rising = np.linspace(0.0, 1.0, POOL)
    regret = np.where(side[:, None], rising, rising[::-1]) + 0.02 * rng.random((TASKS, POOL))
    return features, regret, [f"family_{t // 2}" for t in range(TASKS)]


def test_tasks_on_the_same_side_weigh_more_where_a_meta_feature_tells():
    features, regret, families = make()
    forest = TaskForest.fit(features, regret, families)
    assert forest.share > 0  # which one is a matter of the last digit
    weights = forest.weigh(np.array([1.5, *np.zeros(7)]))
    np.testing.assert_allclose(weights.sum(), 1.0)
    assert weights[features[:, 0] > 0].sum() > 0.5 + 0.4 * forest.share
    assert int(np.argmin(weights @ regret)) == 0
    assert int(np.argmin(forest.weigh(np.array([-1.5, *np.zeros(7)])) @ regret)) == POOL - 1


def test_all_tasks_weigh_the_same_where_there_is_nothing_to_tell_apart():
    features, _, families = make()
    regret = np.tile(np.linspace(0.0, 1.0, POOL), (TASKS, 1))
    forest = TaskForest.fit(features, regret, families)
    assert forest.share == 0
    np.testing.assert_array_equal(forest.weigh(np.zeros(8)), 1.0 / TASKS)


def test_few_tasks_or_no_meta_features_give_equal_weights():
    features, regret, families = make()
    few = TaskForest.fit(features[:8], regret[:8], families[:8])
    np.testing.assert_allclose(few.weigh(np.zeros(8)), 1 / 8)
    blind = TaskForest.fit(np.empty((TASKS, 0)), regret, families)
    np.testing.assert_allclose(blind.weigh(np.empty(0)), 1 / TASKS)


def test_families_are_held_out_together():
    """Twins of one family that agree by chance must not prove the forest right."""
    rng = np.random.default_rng(3)
    half = TASKS // 2
    features = np.repeat(rng.normal(size=(half, 3)), 2, axis=0)
    regret = np.repeat(rng.random((half, POOL)), 2, axis=0)
    twins = [f"family_{t // 2}" for t in range(TASKS)]
    alone = [f"family_{t}" for t in range(TASKS)]
    assert TaskForest.fit(features, regret, alone).share > 0
    assert TaskForest.fit(features, regret, twins).share == 0


def test_only_the_given_shares_are_tried():
    features, regret, families = make()
    assert TaskForest.fit(features, regret, families, (0.4,)).share == 0.4


def test_a_forest_comes_back_from_its_arrays():
    features, regret, families = make()
    for forest in (TaskForest.fit(features, regret, families), TaskForest.without_say(TASKS)):
        again = TaskForest.from_arrays(forest.to_arrays())
        assert again.share == forest.share
        for row in features[:5]:
            np.testing.assert_array_equal(again.weigh(row), forest.weigh(row))


def test_what_was_never_tried_counts_as_the_worst():
    features, regret, families = make()
    unknown, worst = regret.copy(), regret.copy()
    unknown[::4, 3], worst[::4, 3] = np.nan, 1.0
    a, b = (TaskForest.fit(features, r, families).weigh(features[0]) for r in (unknown, worst))
    np.testing.assert_array_equal(a, b)


def test_the_trees_are_those_of_the_library():
    """Grown one by one, which takes half the time, they are the trees that scikit-learn's own forest grows."""
    features, regret, _ = make()
    trees = TaskForest.grow(features, regret, 0.9).trees
    centred = regret - regret.mean(axis=0)
    u, s, _ = randomized_svd(centred, n_components=task_forest._COMPONENTS, random_state=0)
    forest = ExtraTreesRegressor(len(trees.roots), min_samples_leaf=2, max_features=0.5, random_state=0)
    forest.fit(features, u * s)
    np.testing.assert_array_equal(trees.apply(features) - trees.roots, forest.apply(features))
