import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.evaluate.realised import (
    choose_random_trials,
    compare_realised,
    equivalent_random_trials,
    expected_best,
    summarise_realised,
)
from metaflow_hpo.trial import Trial

OK = Trial("iris", "flowers", "mlp", {"layers": 2}, "recommended", 1000, 50, 0.5, 0.4, 1.5)


def trial(performance, test_performance, task_id="iris"):
    return replace(OK, task_id=task_id, performance=performance, test_performance=test_performance)


FAILED = replace(OK, performance=math.nan, test_performance=math.nan, status="failed", reason="diverged")
POOL = np.array([0.1, 0.5, 0.3, 0.2])
POOL_TEST = np.array([0.9, 0.4, 0.3, 0.2])


def random_trials(task_id="iris"):
    frame = pd.DataFrame({"performance": POOL, "test_performance": POOL_TEST}).assign(task_id=task_id, status="ok")
    failed = pd.DataFrame({"performance": [np.nan], "test_performance": [np.nan]}).assign(
        task_id=task_id, status="failed"
    )
    return pd.concat([frame, failed])


@pytest.mark.parametrize("size", [4, 50])
def test_the_best_of_all_random_trials_is_chosen_by_performance_and_judged_on_the_test_rows(size):
    assert expected_best(POOL, POOL_TEST, size) == (0.5, 0.4)


def test_one_random_trial_gives_the_mean_of_the_pool():
    performance, test_performance = expected_best(POOL, POOL_TEST, 1)
    assert performance == pytest.approx(POOL.mean(), abs=0.04)
    assert test_performance == pytest.approx(POOL_TEST.mean(), abs=0.06)


def test_the_best_of_two_of_four():
    # Of the 6 pairs, 3 hold 0.5, 2 of the others hold 0.3, one is (0.1, 0.2).
    assert expected_best(POOL, POOL_TEST, 2)[0] == pytest.approx((3 * 0.5 + 2 * 0.3 + 0.2) / 6, abs=0.03)


def test_more_random_trials_are_never_worse():
    pool = np.random.default_rng(0).random(60)
    found = [expected_best(pool, pool, size)[0] for size in (1, 5, 20, 60)]
    assert found == sorted(found)
    assert found[-1] == pool.max()


def test_without_a_random_trial_nothing_is_known():
    assert np.isnan(expected_best(np.array([]), np.array([]), 10)).all()


@pytest.mark.parametrize(("reached", "trials"), [(0.6, 5.0), (0.5, 5.0), (0.4, 2.5), (0.0, 1.0), (math.nan, 1.0)])
def test_equivalent_random_trials(reached, trials):
    assert equivalent_random_trials(POOL, reached) == trials


def test_ways_to_choose_are_compared_task_by_task():
    trained = {
        "wine": [trial(0.2, 0.3, "wine"), trial(0.6, 0.7, "wine"), trial(0.4, 0.1, "wine")],
        "iris": [FAILED, trial(0.45, 0.35), trial(0.3, 0.25)],
    }
    table = compare_realised(trained, pd.concat([random_trials(), random_trials("wine")]))
    assert list(table["task_id"]) == ["iris", "wine"]
    assert list(table["family"]) == ["flowers", "flowers"]
    iris, wine = table.iloc[0], table.iloc[1]
    assert math.isnan(iris["first"])
    assert math.isnan(iris["first_test"])
    assert (iris["best_of_5"], iris["best_of_5_test"]) == (0.45, 0.35)
    assert (iris["default"], iris["default_test"]) == (0.3, 0.25)
    assert iris["equivalent_random_trials"] == 1.0
    assert (wine["first"], wine["first_test"]) == (0.2, 0.3)
    assert (wine["best_of_5"], wine["best_of_5_test"]) == (0.6, 0.7)
    assert (wine["default"], wine["default_test"]) == (0.4, 0.1)
    assert (wine["random_10"], wine["random_10_test"]) == (0.5, 0.4)
    # 0.5 and 0.3 of four are better than 0.2.
    assert wine["equivalent_random_trials"] == pytest.approx(5.0 / 3.0)


def test_only_the_first_five_recommendations_count():
    trials = [*[trial(0.1 * i, 0.1 * i) for i in range(1, 6)], trial(0.99, 0.99), trial(0.2, 0.2)]
    line = compare_realised({"iris": trials}, random_trials()).iloc[0]
    assert line["best_of_5"] == 0.5
    assert line["default"] == 0.2


def test_a_failed_default_has_no_performance():
    line = compare_realised({"iris": [trial(0.4, 0.4), FAILED]}, random_trials()).iloc[0]
    assert math.isnan(line["default_test"])


def test_gains_are_summarised_with_wins_ties_and_losses():
    table = pd.DataFrame(
        {
            "first_test": [0.5, 0.5, 0.5, np.nan],
            "best_of_5_test": [0.6, 0.6, 0.6, 0.6],
            "default_test": [0.4, 0.5, 0.8, 0.1],
            "random_10_test": [0.5] * 4,
            "random_50_test": [0.7] * 4,
        }
    )
    summary = summarise_realised(table).set_index(["way", "rival"])
    against_default = summary.loc[("first", "default")]
    assert against_default["mean_gain"] == pytest.approx((0.1 + 0.0 - 0.3) / 3)
    assert list(against_default[["wins", "ties", "losses"]]) == [1, 1, 1]
    assert against_default["low"] <= against_default["mean_gain"] <= against_default["high"]
    assert list(summary.loc[("best_of_5", "random_50"), ["wins", "ties", "losses"]]) == [0, 0, 4]
    assert len(summary) == 6


def test_the_shared_core_stands_for_random_search_where_there_is_none():
    rows = [
        ("mlp", "sobol", "default", 0),
        ("mlp", "sobol", "a", 0),
        ("mlp", "sobol", "a", 1),
        ("mlp", "tpe", "b", 0),
        ("svm", "random", "c", 0),
    ]
    trials = pd.DataFrame(rows, columns=["learner", "strategy", "configuration_id", "seed"])
    chosen = choose_random_trials(trials, "mlp", "default")
    assert chosen[["configuration_id", "seed"]].to_numpy().tolist() == [["a", 0]]
    with_random = pd.concat([trials, pd.DataFrame([("mlp", "random", "d", 5)], columns=trials.columns)])
    assert choose_random_trials(with_random, "mlp", "default")["configuration_id"].tolist() == ["d"]


def test_the_trials_that_stand_for_random_search_are_of_one_fidelity():
    lines = [("mlp", "random", "a", 0, 17), ("mlp", "random", "b", 0, 50), ("svm", "random", "c", 0, 99)]
    columns = ["learner", "strategy", "configuration_id", "seed", "fidelity_epochs"]
    trials = pd.DataFrame(lines, columns=columns).assign(task_id="iris")
    assert choose_random_trials(trials, "mlp", "default")["configuration_id"].tolist() == ["b"]
