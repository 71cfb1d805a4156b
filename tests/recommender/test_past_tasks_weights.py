"""How past tasks and the networks weigh, before the first trial."""

from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.recommender.new_task import DESCRIBED
from metaflow_hpo.recommender.portfolio import select_greedily, task_regret, weigh_by_distance
from metaflow_hpo.recommender.recommender import NEARNESS_WIDTH, Recommender
from metaflow_hpo.recommender.task_forest import TaskForest
from tests.conftest import changed, serve


@pytest.fixture
def by_distance(meta, surrogate):
    return serve(surrogate, meta, forest=TaskForest.without_say(12))


def believed_regret(recommender, row):
    positions = recommender.predict(row, recommender.past.points).positions[:, 0].mean(axis=0)
    return positions.max() - positions


def test_without_trust_and_with_equal_meta_features_it_is_the_portfolio(meta, surrogate):
    alike = changed(meta, meta_features=np.ones_like(meta.meta_features))
    recommender = serve(surrogate, alike, 0.0)
    assert recommender.order(np.ones(4), 24) == select_greedily(task_regret(alike.performance), np.ones(12), 24)


def test_with_full_trust_only_the_prediction_counts(meta, surrogate):
    recommender, row = serve(surrogate, meta, 1.0), meta.meta_features[0]
    assert recommender.order(row, 24) == list(np.argsort(believed_regret(recommender, row), kind="stable"))


@pytest.mark.parametrize("trust", [0.25, 1.0])
def test_the_prediction_is_one_more_scenario_that_weighs_as_much_as_it_is_trusted(meta, surrogate, trust):
    recommender, row = serve(surrogate, meta, trust), meta.meta_features[2]
    task = recommender.begin(row)
    np.testing.assert_allclose(task.past.regret[:-1], 1.0 - meta.normalised, atol=1e-12)
    np.testing.assert_allclose(task.past.regret[-1], believed_regret(recommender, row))
    np.testing.assert_allclose(task.weights[:-1], (1 - trust) * recommender.weigh(row))
    assert task.weights[-1] == trust


def test_without_trust_the_networks_are_no_scenario(meta, surrogate):
    assert len(serve(surrogate, meta, 0.0).begin(meta.meta_features[2]).past.regret) == 12


def test_only_the_allowed_networks_are_believed(meta, surrogate):
    row = meta.meta_features[0]
    positions = surrogate.predict(row[None], meta.points, [1]).positions[:, 0].mean(axis=0)
    task = serve(surrogate, meta, 0.5, networks=(1,)).begin(row)
    np.testing.assert_allclose(task.past.regret[-1], positions.max() - positions)


def test_where_the_forest_has_proved_itself_it_weighs_the_past_tasks(forty_tasks):
    """The best configuration depends on the first of four meta-features alone; distance counts all four alike."""
    recommender = Recommender(forty_tasks.past_tasks(), DESCRIBED)
    assert recommender.fitted_forest.share == 0.9
    best_at = forty_tasks.meta_features[:, 0]
    for at in (0.2, 0.5, 0.8):
        row = np.array([at, 0.5, 3.0, 0.0])
        weights = recommender.weigh(row)
        assert weights.sum() == pytest.approx(1.0)
        assert weights.min() >= 0.1 / 40 - 1e-12
        by_distance = weigh_by_distance(recommender.distance.squared(row))
        assert weights @ np.abs(best_at - at) < 0.6 * (by_distance @ np.abs(best_at - at))


def test_the_order_of_past_tasks_changes_nothing(forty_tasks, surrogate):
    one = serve(surrogate, forty_tasks)
    other = serve(surrogate, forty_tasks.subset(np.random.default_rng(1).permutation(40)))
    order = [forty_tasks.task_ids.index(task_id) for task_id in other.past.task_ids]
    assert other.fitted_forest.share == one.fitted_forest.share == 0.9
    for row in forty_tasks.meta_features[:5] + 0.01:
        np.testing.assert_allclose(other.weigh(row), one.weigh(row)[order])
        assert other.order(row, 5) == one.order(row, 5)


def test_where_meta_features_tell_nothing_past_tasks_are_weighed_by_distance(forty_tasks):
    noise = np.random.default_rng(0).normal(size=(40, 4))
    recommender = Recommender(changed(forty_tasks, meta_features=noise).past_tasks(), DESCRIBED)
    assert recommender.fitted_forest.share == 0
    squared = recommender.distance.squared(np.zeros(4))
    np.testing.assert_array_equal(recommender.weigh(np.zeros(4)), weigh_by_distance(squared, width=NEARNESS_WIDTH))


def test_what_past_tasks_never_tried_does_not_stop_the_forest(forty_tasks):
    performance = forty_tasks.performance.copy()
    performance[::3, ::5] = np.nan
    past = changed(forty_tasks, performance=performance).past_tasks()
    weights = Recommender(past, DESCRIBED).weigh(np.array([0.2, 0.5, 3.0, 0.0]))
    assert weights.sum() == pytest.approx(1.0)


def test_weights_sum_to_one_favour_near_tasks_and_never_forget_a_task(meta, by_distance):
    for row in (*meta.meta_features, np.full(4, 1e6), np.zeros(4)):
        weights = by_distance.weigh(row)
        assert weights.sum() == pytest.approx(1.0)
        assert weights.min() >= 0.5 / 12
    order = np.argsort(by_distance.distance.squared(meta.meta_features[3]))
    assert order[0] == 3
    assert (np.diff(by_distance.weigh(meta.meta_features[3])[order]) <= 0).all()


def test_missing_meta_features_count_as_typical_ones(meta):
    features = meta.meta_features.copy()
    features[::3, 1] = np.nan
    recommender = Recommender(changed(meta, meta_features=features).past_tasks())
    row = features[4].copy()
    row[1] = np.nan
    filled = row.copy()
    filled[1] = recommender.distance.typical[1]
    np.testing.assert_allclose(recommender.weigh(row), recommender.weigh(filled))
    assert recommender.choose(row, 3).configurations == recommender.choose(filled, 3).configurations


def test_without_complementarity_each_configuration_is_best_for_itself(meta):
    recommender = Recommender(meta.past_tasks(), replace(DESCRIBED, complementary=False))
    row = meta.meta_features[1]
    expected = np.argsort(recommender.weigh(row) @ recommender.past.regret, kind="stable")[:5]
    assert recommender.order(row, 5) == expected.tolist()
