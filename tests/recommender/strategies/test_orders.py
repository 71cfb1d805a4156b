import numpy as np

from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.recommender.portfolio import select_greedily


def order(name, history, row=None, *, seed=0, count=24):
    """Return the positions that a strategy asks for, all before the first trial."""
    past = history.past_tasks()
    context = StrategyContext(past.space, seed=seed, past=past, meta_features=row)
    return [past.configurations.index(configuration) for configuration in make_strategy(name, context).ask(count)]


def test_the_nearest_past_task_lends_its_order(meta):
    assert order("nearest_task", meta, meta.meta_features[4] + 1e-6) == list(
        np.argsort(-meta.performance[4], kind="stable")
    )


def test_where_nothing_is_known_of_the_task_the_nearest_is_the_typical_one(meta):
    assert sorted(order("nearest_task", meta)) == list(range(24))


def test_the_portfolio_is_blind_to_the_new_task(meta):
    blind = order("portfolio", meta)
    assert order("portfolio", meta, meta.meta_features[0]) == order("portfolio", meta, np.zeros(4)) == blind
    assert blind == select_greedily(1.0 - meta.normalised, np.ones(12), 24)


def test_mean_ranks_are_averaged_over_tasks(meta):
    ranks = (-meta.performance).argsort(axis=1).argsort(axis=1).mean(axis=0)
    assert ranks[order("mean_rank", meta)].tolist() == sorted(ranks)
