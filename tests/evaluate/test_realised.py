import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.evaluate.realised import (
    Realised,
    choose_random_trials,
    compare_realised,
    count_equal_trials,
    expect_best,
    find_places,
    spread_over_families,
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


def test_the_best_of_all_random_trials_is_chosen_by_performance_and_judged_on_the_test_rows():
    assert expect_best(POOL, POOL_TEST)[-1] == pytest.approx(0.4)


def test_what_random_search_gives_is_the_mean_over_all_draws():
    for size in range(1, 5):
        draws = [max(draw) for draw in itertools.combinations(zip(POOL, POOL_TEST, strict=True), size)]
        assert expect_best(POOL, POOL)[size - 1] == pytest.approx(np.mean([best for best, _ in draws]))
        assert expect_best(POOL, POOL_TEST)[size - 1] == pytest.approx(np.mean([test for _, test in draws]))


def test_more_random_trials_are_never_worse_and_large_pools_stay_finite():
    pool = np.random.default_rng(0).random(3000)
    found = expect_best(pool, pool)
    assert (np.diff(found) >= 0).all()
    assert found[0] == pytest.approx(pool.mean())
    assert found[-1] == pytest.approx(pool.max())


def test_without_a_random_trial_nothing_is_known():
    line = compare_realised({"iris": [trial(0.4, 0.4), trial(0.3, 0.3)]}, random_trials("wine")).iloc[0]
    unknown = ["random_10", "random_10_test", "random_50", "random_50_test", "first_random_trials"]
    assert np.isnan(line[unknown].to_numpy(dtype=float)).all()


@pytest.mark.parametrize(("reached", "trials"), [(0.6, 4), (0.5, 4), (0.4, 2), (0.3, 1), (0.0, 0), (math.nan, 0)])
def test_what_was_reached_is_counted_in_random_trials(reached, trials):
    # The best of 1 to 4 is expected to be .275, .383, .45, .5.
    assert count_equal_trials(expect_best(POOL, POOL), reached) == trials


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
    assert (iris["first_random_trials"], iris["best_of_5_random_trials"]) == (0, 3)
    assert (wine["first"], wine["first_test"]) == (0.2, 0.3)
    assert (wine["best_of_5"], wine["best_of_5_test"]) == (0.6, 0.7)
    assert (wine["default"], wine["default_test"]) == (0.4, 0.1)
    # Five were drawn, of which one failed.
    assert math.isnan(wine["random_10"])
    assert (wine["first_random_trials"], wine["best_of_5_random_trials"]) == (0, 4)
    # On the test rows one random trial gives .45, more give less.
    assert (wine["first_random_trials_test"], wine["best_of_5_random_trials_test"]) == (0, 4)


def test_the_best_of_ten_random_trials_is_known_where_ten_were_drawn():
    drawn = pd.concat([random_trials(), random_trials()])
    line = compare_realised({"iris": [trial(0.4, 0.4), trial(0.3, 0.3)]}, drawn).iloc[0]
    assert (line["random_10"], line["random_10_test"]) == pytest.approx((0.5, 0.4))
    assert math.isnan(line["random_30"])
    assert "best_of_5" not in line  # only one was trained


def test_without_test_performances_nothing_is_said_of_them():
    drawn = random_trials().assign(test_performance=[0.9, np.nan, np.nan, np.nan, np.nan])
    found = Realised.compare({"iris": [trial(0.4, 0.4), trial(0.3, 0.25)]}, drawn)
    assert math.isnan(found.per_task["first_random_trials_test"].iloc[0])
    assert found.gains["rival"].tolist() == ["default"]
    assert found.numbers == {"gain/first_random_trials": 2.0, "gain/first_over_default": pytest.approx(0.15)}
    # A meta-data set has no column of which nothing is known.
    missing = Realised.compare({"iris": [trial(0.4, 0.4), trial(0.3, 0.25)]}, drawn.drop(columns="test_performance"))
    assert missing.numbers == found.numbers


def test_performances_of_tasks_that_are_not_comparable_become_places_between_worst_and_best():
    ranges = pd.DataFrame({"worst": [-200.0, 1.0], "best": [-100.0, 1.0]}, index=["iris", "wine"])
    drawn = pd.DataFrame(
        {"task_id": ["iris", "wine"], "performance": [-150.0, 1.0], "test_performance": [-250.0, 3.0], "status": "ok"}
    )
    trained = {"iris": [trial(-120.0, -140.0), FAILED], "wine": [trial(1.5, 0.5, "wine"), trial(1.0, 1.0, "wine")]}
    placed, random = find_places(trained, drawn, ranges)
    assert [(t.performance, t.test_performance) for t in placed["iris"][:1]] == [(0.8, 0.6)]
    assert placed["iris"][1].status == "failed"
    # All known performances are the same: units are left as they are.
    assert [t.performance for t in placed["wine"]] == [0.5, 0.0]
    assert random["performance"].tolist() == [0.5, 0.0]
    assert random["test_performance"].tolist() == [-0.5, 2.0]


def test_tasks_are_spread_over_families():
    families = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "c1": "c", "c2": "c"}
    first = spread_over_families(families, 3)
    assert sorted(families[task_id] for task_id in first) == ["a", "b", "c"]
    assert sorted(families[task_id] for task_id in spread_over_families(families, 5)) == ["a", "a", "b", "c", "c"]
    assert spread_over_families(dict(reversed(families.items())), 3) == first
    assert set(spread_over_families(families, 99)) == set(families)


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
            "random_30_test": [np.nan] * 4,
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
