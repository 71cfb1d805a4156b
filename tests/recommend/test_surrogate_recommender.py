from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.recommend.baselines import PortfolioRecommender
from metaflow_hpo.recommend.portfolio import task_regret
from metaflow_hpo.recommend.surrogate_recommender import SurrogateRecommender


def test_without_trust_and_with_equal_meta_features_it_is_the_portfolio(meta, surrogate):
    alike = replace(meta, meta_features=np.ones_like(meta.meta_features))
    recommender = SurrogateRecommender.fit(surrogate, alike, 0.0)
    assert recommender.select(np.ones(4), 24) == PortfolioRecommender.fit(alike).select(np.ones(4), 24)


def test_with_full_trust_past_tasks_have_no_say(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 1.0)
    _, weights = recommender.scenarios(meta.meta_features[0])
    np.testing.assert_allclose(weights[:12], 0.0)
    np.testing.assert_allclose(weights[12:], 1.0 / 6.0)


@pytest.mark.parametrize("trust", [0.0, 0.25, 1.0])
def test_the_weights_of_all_scenarios_sum_to_one(meta, surrogate, trust):
    regret, weights = SurrogateRecommender.fit(surrogate, meta, trust).scenarios(meta.meta_features[2])
    assert regret.shape == (12 + 6, 24)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[12:].sum() == pytest.approx(trust)
    assert (weights >= 0).all()


def test_similarity_sums_to_one_favours_near_tasks_and_never_forgets_a_task(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 0.5)
    for row in (*meta.meta_features, np.full(4, 1e6), np.zeros(4)):
        similarity = recommender.similarity(row)
        assert similarity.sum() == pytest.approx(1.0)
        assert similarity.min() >= 0.5 / 12
    order = np.argsort(recommender.squared_distances(meta.meta_features[3]))
    assert order[0] == 3
    assert (np.diff(recommender.similarity(meta.meta_features[3])[order]) <= 0).all()


def test_similarity_is_half_uniform_and_half_a_softmax(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 0.5)
    points = np.zeros((12, 4))
    points[:, 0] = np.arange(12.0)
    line = replace(recommender, past_meta_features=points, standardiser=_Identity())
    # Squared distances 0, 1, 4, ..., 121; the median lies between 25 and 36.
    near = np.exp(-np.arange(12.0) ** 2 / (2 * 30.5))
    np.testing.assert_allclose(line.similarity(np.zeros(4)), 0.5 / 12 + 0.5 * near / near.sum())


class _Identity:
    def transform(self, meta_features):
        return meta_features


def test_a_member_believes_its_order_with_the_regrets_of_past_tasks(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 0.5)
    believed = recommender.believed_regret(meta.meta_features[6])
    scores = surrogate.predict(meta.meta_features[[6]], meta.encoded).scores[:, 0]
    typical = np.sort(task_regret(meta.performance), axis=1).mean(axis=0)
    np.testing.assert_allclose(np.sort(believed, axis=1), np.tile(typical, (6, 1)))
    np.testing.assert_array_equal(believed.argmin(axis=1), scores.argmax(axis=1))


def test_only_the_allowed_networks_are_believed(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 0.5, networks=[1])
    everyone = SurrogateRecommender.fit(surrogate, meta, 0.5)
    row = meta.meta_features[0]
    np.testing.assert_array_equal(recommender.believed_regret(row), everyone.believed_regret(row)[2:4])
