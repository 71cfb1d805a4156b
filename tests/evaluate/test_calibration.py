from dataclasses import replace

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate import calibration
from metaflow_hpo.evaluate.calibration import (
    calibrate,
    fit_interval,
    measure_coverage,
    measure_replayed,
    nonconformity,
    summarise_coverage,
    with_observed,
)
from metaflow_hpo.evaluate.fitting import fit_recommender
from metaflow_hpo.history import History
from metaflow_hpo.recommender.interval import IntervalScale, expect_performance
from metaflow_hpo.recommender.recommender import Recommender
from tests.conftest import changed, serve


def test_the_scale_is_the_raised_quantile_over_tasks():
    # Nine tasks with one score each: the level is 0.8 * 10 / 9 = 8 / 9, reached by the eighth.
    scores = {f"t{i}": np.array([float(i)]) for i in range(1, 10)}
    interval = fit_interval(scores)
    assert (interval.coverage, interval.scale) == (0.8, 8.0)


def test_few_tasks_need_the_largest_score():
    # Three tasks: 0.8 * 4 / 3 > 1.
    assert fit_interval({"a": np.array([1.0]), "b": np.array([2.0]), "c": np.array([9.0])}).scale == 9.0


def test_tasks_weigh_the_same_however_many_scores_they_give():
    # The level 0.5 * 3 / 2 = 0.75 lies in the middle of b, whose 100 scores weigh as much as the one of a.
    scores = {"a": np.array([0.5]), "b": np.arange(1.0, 101.0)}
    assert fit_interval(scores, 0.5).scale == 50.0


def test_the_order_of_tasks_does_not_change_the_scale():
    rng = np.random.default_rng(0)
    scores = {f"t{i}": rng.random(5) for i in range(20)}
    assert fit_interval(dict(reversed(scores.items()))) == fit_interval(scores)


def test_a_scale_is_never_zero():
    assert fit_interval({"a": np.zeros(3)}).scale == 1e-6


def test_coverage_is_measured_with_an_interval_fitted_without_the_fold():
    folds = {"a": 0, "b": 1, "c": 1}
    scores = {"a": np.array([1.5, 6.5]), "b": np.array([4.0, 7.0]), "c": np.array([3.0])}
    # Fold 0 is judged with the scale of b and c (7), fold 1 with the scale of a (6.5).
    assert measure_coverage(scores, folds) == {"a": 1.0, "b": 0.5, "c": 1.0}


def test_a_single_fold_has_no_interval_of_others():
    assert measure_coverage({"a": np.array([1.0])}, {"a": 0}) == {}


def test_scores_are_the_errors_of_the_network_that_never_saw_the_family(meta, surrogate):
    scores = nonconformity(meta, surrogate, {"task_02": [3, 0, 7]})
    network = surrogate.fold_of_family["family_02"]
    prediction = surrogate.predict(meta.meta_features[[2]], meta.points, [network])
    shown = expect_performance(prediction.mean[0], prediction.spread[0])
    expected = np.abs(meta.performance[2] - shown) / prediction.spread[0]
    assert set(scores) == {"task_02"}
    np.testing.assert_allclose(scores["task_02"], expected[[3, 0, 7]], rtol=1e-4)


def test_replayed_scores_do_not_depend_on_what_others_of_the_family_are_worth(meta, surrogate):
    # Changing the outcomes of a task's whole family changes its own scores only through its own outcomes.
    families = tuple("twins" if t in (0, 1) else f for t, f in enumerate(meta.families))
    fold = {**surrogate.fold_of_family, "twins": 0}
    twins = replace(surrogate, fold_of_family=fold)
    performance = meta.performance.copy()
    performance[1] = performance[1, ::-1]
    one = measure_replayed(serve(twins, changed(meta, families=families)), counts=(0, 3))
    spoiled = changed(meta, families=families, performance=performance)
    other = measure_replayed(serve(twins, spoiled), counts=(0, 3))
    for n in (0, 3):
        assert one[n]["task_00"].shape == (5,)
        np.testing.assert_array_equal(one[n]["task_00"], other[n]["task_00"])
    assert (one[3]["task_01"] != other[3]["task_01"]).any()


def test_intervals_after_trials_cover_what_they_promise_on_tasks_of_the_same_kind(forty_tasks, surrogate):
    scores = measure_replayed(serve(surrogate, forty_tasks), counts=(1, 3, 10))
    halves = [{n: dict(list(by.items())[part::2]) for n, by in scores.items()} for part in (0, 1)]
    interval = with_observed(IntervalScale(), halves[0])
    assert [n for n, _ in interval.observed] == [1, 3, 10]
    covered, back = summarise_coverage(*halves), summarise_coverage(*halves[::-1])
    assert all(0.7 <= (covered[n]["coverage"] + back[n]["coverage"]) / 2 <= 0.9 for n in ("1", "3", "10"))
    assert covered["3"]["scale"] == interval.at(3)


def test_intervals_of_a_long_table_are_fitted_on_a_part_of_it(monkeypatch):
    rng = np.random.default_rng(0)
    lines = [
        {"task_id": f"t{t:02d}", "hp_x": x, "performance": -abs(x - at)}
        for t, at in enumerate(rng.random(24))
        for x in np.linspace(0.0, 1.0, 12)
    ]
    table = pd.DataFrame(lines)
    monkeypatch.setattr(calibration, "MAX_PAST", 8)
    found = fit_recommender(History.from_frame(table)).interval
    part = table.loc[table["task_id"].isin([f"t{t:02d}" for t in np.linspace(0, 23, 8).round().astype(int)])]
    assert found == fit_recommender(History.from_frame(part)).interval


def test_the_interval_of_a_table_is_not_fitted_on_what_relatives_of_a_task_gave(forty_tasks):
    def fit(spoiled):
        lines = [
            {"task_id": task_id, "family": "twins" if t < 2 else task_id, "hp_x": float(x), "performance": p}
            for t, task_id in enumerate(forty_tasks.task_ids[:8])
            for x, p in enumerate(forty_tasks.performance[t])
        ]
        frame = pd.DataFrame(lines)
        # The first task alone is replayed; the second one is its twin, the third is not.
        frame.loc[frame["task_id"] == spoiled, "performance"] *= -1.0
        return calibrate(Recommender(History.from_frame(frame).past_tasks()), max_tasks=1)

    assert fit("task_01") == fit("nothing")
    assert fit("task_02") != fit("nothing")


def test_too_few_configurations_or_families_calibrate_nothing():
    lines = [{"task_id": f"t{t}", "hp_x": x, "performance": abs(x - t / 3)} for t in range(3) for x in (0.0, 0.5, 1.0)]
    frame = pd.DataFrame(lines)
    assert fit_recommender(History.from_frame(frame)).interval is None
    alike = pd.concat([frame.assign(hp_y=y, family="one") for y in range(9)])
    assert fit_recommender(History.from_frame(alike)).interval is None
