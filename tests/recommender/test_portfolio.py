import numpy as np
import pytest

from metaflow_hpo.recommender.portfolio import select_greedily, task_regret

REGRET = np.array(
    [
        [0.0, 0.4, 0.9, 1.0],
        [0.9, 0.4, 0.0, 1.0],
        [0.9, 0.4, 0.8, 0.0],
    ]
)
EQUAL = np.ones(3)


def test_configurations_are_picked_that_complement_each_other():
    # Means 0.6, 0.4, 0.57, 0.67: pick 1. Then each of 0, 2, 3 would bring 0.8 / 3; the better mean regret decides: 2.
    # Left are (0.4, 0, 0.4): 0 and 3 both leave 0.4 / 3; 0 has the better mean. Then 3.
    assert select_greedily(REGRET, EQUAL, 4) == [1, 2, 0, 3]


def test_weights_say_which_task_counts():
    # Only the third task: 3 is its best; after it nothing helps, and the means 0.9, 0.4, 0.8 decide.
    assert select_greedily(REGRET, np.array([0.0, 0.0, 2.0]), 4) == [3, 1, 2, 0]


def test_only_the_ratio_of_weights_matters():
    weights = np.array([0.2, 0.5, 0.3])
    assert select_greedily(REGRET, weights, 3) == select_greedily(REGRET, 70.0 * weights, 3)


def test_what_was_never_tried_counts_as_the_worst():
    # Means: 0.65, (0.2 + 1) / 2 = 0.6, 0.55.
    regret = np.array([[0.6, 0.2, 0.5], [0.7, np.nan, 0.6]])
    assert select_greedily(regret, np.ones(2), 3) == select_greedily(np.nan_to_num(regret, nan=1.0), np.ones(2), 3)
    assert select_greedily(regret, np.ones(2), 1) == [2]


@pytest.mark.parametrize("seed", range(10))
def test_a_portfolio_never_picks_twice_starts_with_the_best_mean_and_never_gets_worse(seed):
    rng = np.random.default_rng(seed)
    regret, weights = rng.random((6, 15)), rng.random(6)
    order = select_greedily(regret, weights, 15)
    assert sorted(order) == list(range(15))
    assert order[0] == np.argmin(weights @ regret)
    mean_incumbent = [weights @ regret[:, order[:k]].min(axis=1) for k in range(1, 16)]
    assert (np.diff(mean_incumbent) <= 1e-12).all()
    assert select_greedily(regret, weights, 4) == order[:4]


def test_more_than_the_pool_gives_the_whole_pool():
    assert sorted(select_greedily(REGRET, EQUAL, 99)) == [0, 1, 2, 3]


def test_regret_is_zero_at_the_best_and_one_at_the_worst_of_each_task():
    found = task_regret(np.array([[0.2, 0.6, 0.4], [-3.0, -1.0, np.nan], [0.5, 0.5, np.nan]]))
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.5], [1.0, 0.0, np.nan], [0.0, 0.0, np.nan]])


def test_with_durations_the_most_gain_per_second_comes_first():
    # Gains of the first pick are 1 - mean regret: .7 and .4; the second takes a quarter of the time.
    regret = np.array([[0.2, 0.5], [0.4, 0.7]])
    assert select_greedily(regret, np.ones(2), 2) == [0, 1]
    assert select_greedily(regret, np.ones(2), 2, duration=np.array([4.0, 1.0])) == [1, 0]
    assert select_greedily(regret, np.ones(2), 2, duration=np.array([1.5, 1.0])) == [0, 1]


def test_equal_durations_change_nothing():
    rng = np.random.default_rng(3)
    regret, weights = rng.random((7, 30)), rng.random(7)
    assert select_greedily(regret, weights, 12, duration=np.full(30, 2.5)) == select_greedily(regret, weights, 12)
