import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.recommend.baselines import (
    NearestTaskRecommender,
    PortfolioRecommender,
    RandomRecommender,
    find_default,
)
from tests.conftest import changed


def test_the_nearest_past_task_lends_its_order(meta):
    recommender = NearestTaskRecommender.fit(meta)
    order = recommender.select(meta.meta_features[4] + 1e-6, 24)
    assert order == list(np.argsort(-meta.performance[4], kind="stable"))


def test_what_the_nearest_task_never_tried_comes_last(meta):
    performance = meta.performance.copy()
    performance[4, 0] = np.nan
    order = NearestTaskRecommender.fit(changed(meta, performance=performance)).select(meta.meta_features[4], 24)
    assert order[-1] == 0


def test_the_portfolio_is_blind_to_the_new_task(meta):
    recommender = PortfolioRecommender.fit(meta)
    assert recommender.select(meta.meta_features[0], 6) == recommender.select(np.zeros(4), 6)


def test_random_search_differs_between_seeds_and_between_tasks(meta):
    one, other = RandomRecommender(24, 0), RandomRecommender(24, 1)
    row = meta.meta_features[0]
    assert one.select(row, 24) != other.select(row, 24)
    assert one.select(row, 24) != one.select(row + 1.0, 24)


def test_random_search_prefers_no_configuration():
    firsts = [RandomRecommender(4, seed).select(np.zeros(2), 1)[0] for seed in range(400)]
    assert np.bincount(firsts, minlength=4).min() > 70


def test_the_default_is_found_wherever_it_stands(meta):
    assert find_default(meta) == 0
    moved = changed(meta, configurations=(*meta.configurations[1:], meta.configurations[0]))
    assert find_default(moved) == 23


def test_a_pool_without_the_default_is_refused(meta):
    with pytest.raises(InvalidTableError, match=r"pool of 24 configurations misses the learner's default .*'adam'"):
        find_default(changed(meta, configurations=(meta.configurations[1],) * 24))
