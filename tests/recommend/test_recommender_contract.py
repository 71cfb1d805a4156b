import numpy as np
import pytest

from metaflow_hpo.evaluate.protocol import Recommended
from metaflow_hpo.recommend.baselines import (
    DefaultRecommender,
    NearestTaskRecommender,
    PortfolioRecommender,
    RandomRecommender,
    find_default,
)

RECOMMENDERS = ["recommended", "recommended alone", "portfolio", "nearest_task", "default", "random"]


@pytest.fixture(params=RECOMMENDERS)
def make(request, meta, surrogate):
    """Return a function that fits the recommender on some past tasks."""
    makers = {
        "recommended": lambda past: Recommended.on(past, None, surrogate, 0.5),
        "recommended alone": lambda past: Recommended.on(past, None, surrogate, 1.0, [2]),
        "portfolio": PortfolioRecommender.fit,
        "nearest_task": NearestTaskRecommender.fit,
        "default": lambda past: DefaultRecommender(find_default(past)),
        "random": lambda past: RandomRecommender(len(past.configurations), 3),
    }
    return makers[request.param]


class TestEveryRecommender:
    def test_has_the_name_it_bears_in_tables(self, request, make, meta):
        expected = request.node.callspec.params["make"].split()[0]
        assert make(meta).name == expected

    @pytest.mark.parametrize("count", [1, 5, 24, 100])
    def test_returns_distinct_positions_of_the_pool_and_no_more_than_asked(self, make, meta, count):
        recommender = make(meta)
        order = recommender.select(meta.meta_features[3], count)
        assert 1 <= len(order) <= min(count, 24)
        assert len(order) == (1 if recommender.name == "default" else min(count, 24))
        assert len(set(order)) == len(order)
        assert all(type(c) is int and 0 <= c < 24 for c in order)

    def test_is_deterministic(self, make, meta):
        row = meta.meta_features[5]
        assert make(meta).select(row, 10) == make(meta).select(row.copy(), 10)

    def test_tries_the_same_first_however_many_are_asked(self, make, meta):
        recommender = make(meta)
        assert recommender.select(meta.meta_features[1], 3) == recommender.select(meta.meta_features[1], 10)[:3]

    def test_answers_for_a_task_unlike_all_others(self, make, meta):
        assert make(meta).select(np.full(4, 1e6), 2)

    def test_does_not_depend_on_the_order_of_past_tasks(self, make, meta):
        permuted = meta.subset(np.random.default_rng(0).permutation(12))
        row = meta.meta_features[7] + 0.01
        assert make(permuted).select(row, 5) == make(meta).select(row, 5)
