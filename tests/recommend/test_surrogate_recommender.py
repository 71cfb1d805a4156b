from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.recommend.baselines import PortfolioRecommender
from metaflow_hpo.recommend.portfolio import task_regret, weigh_by_distance
from metaflow_hpo.recommend.surrogate_recommender import FOREST_SHARE, SurrogateRecommender
from metaflow_hpo.recommend.task_distance import StandardDistance
from metaflow_hpo.recommend.task_forest import TaskForest
from tests.conftest import changed


@pytest.fixture
def by_distance(meta, surrogate):
    return SurrogateRecommender.fit(surrogate, meta, 0.5, forest=TaskForest.without_say(12))


def test_without_trust_and_with_equal_meta_features_it_is_the_portfolio(meta, surrogate):
    alike = changed(meta, meta_features=np.ones_like(meta.meta_features))
    recommender = SurrogateRecommender.fit(surrogate, alike, 0.0)
    assert recommender.select(np.ones(4), 24) == PortfolioRecommender.fit(alike).select(np.ones(4), 24)


def test_with_full_trust_only_the_prediction_counts(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 1.0)
    row = meta.meta_features[0]
    assert recommender.select(row, 24) == list(np.argsort(recommender.believed_regret(row), kind="stable"))


@pytest.mark.parametrize("trust", [0.0, 0.25, 1.0])
def test_the_prediction_is_one_more_scenario_that_weighs_as_much_as_it_is_trusted(meta, surrogate, trust):
    recommender = SurrogateRecommender.fit(surrogate, meta, trust)
    row = meta.meta_features[2]
    regret, weights = recommender.scenarios(row)
    np.testing.assert_array_equal(regret[:-1], task_regret(meta.performance))
    np.testing.assert_array_equal(regret[-1], recommender.believed_regret(row))
    np.testing.assert_allclose(weights[:-1], (1 - trust) * recommender.similarity(row))
    assert weights[-1] == trust


def test_what_a_past_task_never_tried_is_predicted(meta, surrogate):
    performance = meta.performance.copy()
    performance[3, 7] = np.nan
    recommender = SurrogateRecommender.fit(surrogate, changed(meta, performance=performance), 0.25)
    regret, _ = recommender.scenarios(meta.meta_features[2])
    assert regret[3, 7] == pytest.approx(recommender.believed_regret(meta.meta_features[2])[7])


def test_where_the_forest_has_proved_itself_it_weighs_the_past_tasks(forty_tasks, surrogate):
    """The best configuration depends on the first of four meta-features alone; distance counts all four alike."""
    recommender = SurrogateRecommender.fit(surrogate, forty_tasks, 0.0)
    assert recommender.forest.share == FOREST_SHARE
    best_at = forty_tasks.meta_features[:, 0]
    for at in (0.2, 0.5, 0.8):
        row = np.array([at, 0.5, 3.0, 0.0])
        weights = recommender.similarity(row)
        assert weights.sum() == pytest.approx(1.0)
        assert weights.min() >= 0.1 / 40 - 1e-12
        by_distance = weigh_by_distance(recommender.distance.squared(row))
        assert weights @ np.abs(best_at - at) < 0.6 * (by_distance @ np.abs(best_at - at))


def test_the_order_of_past_tasks_changes_nothing(forty_tasks, surrogate):
    order = np.random.default_rng(1).permutation(40)
    one = SurrogateRecommender.fit(surrogate, forty_tasks, 0.5)
    other = SurrogateRecommender.fit(surrogate, forty_tasks.subset(order), 0.5)
    assert other.forest.share == one.forest.share == FOREST_SHARE
    for row in forty_tasks.meta_features[:5] + 0.01:
        np.testing.assert_allclose(other.similarity(row), one.similarity(row)[order])
        assert other.select(row, 5) == one.select(row, 5)


def test_where_meta_features_tell_nothing_past_tasks_are_weighed_by_distance(forty_tasks, surrogate):
    noise = np.random.default_rng(0).normal(size=(40, 4))
    recommender = SurrogateRecommender.fit(surrogate, changed(forty_tasks, meta_features=noise), 0.0)
    assert recommender.forest.share == 0
    np.testing.assert_array_equal(
        recommender.similarity(np.zeros(4)), weigh_by_distance(recommender.distance.squared(np.zeros(4)))
    )


def test_what_past_tasks_never_tried_does_not_stop_the_forest(forty_tasks, surrogate):
    performance = forty_tasks.performance.copy()
    performance[::3, ::5] = np.nan
    weights = SurrogateRecommender.fit(surrogate, changed(forty_tasks, performance=performance), 0.0).similarity(
        np.array([0.2, 0.5, 3.0, 0.0])
    )
    assert weights.sum() == pytest.approx(1.0)


def test_similarity_sums_to_one_favours_near_tasks_and_never_forgets_a_task(meta, by_distance):
    recommender = by_distance
    for row in (*meta.meta_features, np.full(4, 1e6), np.zeros(4)):
        similarity = recommender.similarity(row)
        assert similarity.sum() == pytest.approx(1.0)
        assert similarity.min() >= 0.5 / 12
    order = np.argsort(recommender.distance.squared(meta.meta_features[3]))
    assert order[0] == 3
    assert (np.diff(recommender.similarity(meta.meta_features[3])[order]) <= 0).all()


def test_similarity_is_half_uniform_and_half_a_softmax(by_distance):
    points = np.zeros((12, 4))
    points[:, 0] = np.arange(12.0)
    line = replace(by_distance, distance=StandardDistance(_Identity(), points))
    # Squared distances 0, 1, 4, ..., 121; the median lies between 25 and 36.
    near = np.exp(-(np.arange(12.0) ** 2) / (2 * 30.5))
    np.testing.assert_allclose(line.similarity(np.zeros(4)), 0.5 / 12 + 0.5 * near / near.sum())


class _Identity:
    def transform(self, meta_features):
        return meta_features


def test_the_believed_regret_is_the_distance_to_the_position_believed_best(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 0.5)
    positions = surrogate.predict(meta.meta_features[[6]], meta.points).positions[:, 0].mean(axis=0)
    believed = recommender.believed_regret(meta.meta_features[6])
    np.testing.assert_allclose(believed, positions.max() - positions)
    assert believed.min() == 0.0
    assert believed.max() <= 1.0


def test_only_the_allowed_networks_are_believed(meta, surrogate):
    row = meta.meta_features[0]
    positions = surrogate.predict(row[None], meta.points, [1]).positions[:, 0].mean(axis=0)
    believed = SurrogateRecommender.fit(surrogate, meta, 0.5, networks=[1]).believed_regret(row)
    np.testing.assert_allclose(believed, positions.max() - positions)
