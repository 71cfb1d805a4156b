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


def test_with_full_trust_every_scenario_is_the_prediction(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 1.0)
    row = meta.meta_features[0]
    regret, _ = recommender.scenarios(row)
    believed = recommender.believed_regret(row)
    np.testing.assert_allclose(regret, np.tile(believed, (12, 1)))
    assert recommender.select(row, 24) == list(np.argsort(believed, kind="stable"))


@pytest.mark.parametrize("trust", [0.0, 0.25, 1.0])
def test_past_tasks_are_bent_towards_the_prediction_by_the_trust(meta, surrogate, trust):
    recommender = SurrogateRecommender.fit(surrogate, meta, trust)
    row = meta.meta_features[2]
    regret, weights = recommender.scenarios(row)
    past, believed = task_regret(meta.performance), recommender.believed_regret(row)
    np.testing.assert_allclose(regret, (1 - trust) * past + trust * believed)
    np.testing.assert_allclose(weights, recommender.similarity(row))


def test_what_a_past_task_never_tried_is_predicted(meta, surrogate):
    performance = meta.performance.copy()
    performance[3, 7] = np.nan
    recommender = SurrogateRecommender.fit(surrogate, replace(meta, performance=performance), 0.25)
    regret, _ = recommender.scenarios(meta.meta_features[2])
    assert regret[3, 7] == pytest.approx(recommender.believed_regret(meta.meta_features[2])[7])


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
    near = np.exp(-(np.arange(12.0) ** 2) / (2 * 30.5))
    np.testing.assert_allclose(line.similarity(np.zeros(4)), 0.5 / 12 + 0.5 * near / near.sum())


class _Identity:
    def transform(self, meta_features):
        return meta_features


def test_the_believed_regret_is_the_distance_to_the_position_believed_best(meta, surrogate):
    recommender = SurrogateRecommender.fit(surrogate, meta, 0.5)
    positions = surrogate.predict(meta.meta_features[[6]], meta.encoded).positions[:, 0].mean(axis=0)
    believed = recommender.believed_regret(meta.meta_features[6])
    np.testing.assert_allclose(believed, positions.max() - positions)
    assert believed.min() == 0.0
    assert believed.max() <= 1.0


def test_only_the_allowed_networks_are_believed(meta, surrogate):
    row = meta.meta_features[0]
    positions = surrogate.predict(row[None], meta.encoded, [1]).positions[:, 0].mean(axis=0)
    believed = SurrogateRecommender.fit(surrogate, meta, 0.5, networks=[1]).believed_regret(row)
    np.testing.assert_allclose(believed, positions.max() - positions)
