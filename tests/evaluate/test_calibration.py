import numpy as np
import pytest

from metaflow_hpo.evaluate.calibration import fit_interval, measure_coverage, nonconformity


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
    validation = {"a": np.array([5.0]), "b": np.array([1.0]), "c": np.array([2.0])}
    test = {"a": np.array([1.5, 2.5]), "b": np.array([4.0, 6.0]), "c": np.array([7.0])}
    # Fold 0 is judged with the scale of b and c (2), fold 1 with the scale of a (5).
    assert measure_coverage(test, validation, folds) == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_a_single_fold_has_no_interval_of_others():
    assert measure_coverage({"a": np.array([1.0])}, {"a": np.array([1.0])}, {"a": 0}) == {}


@pytest.mark.parametrize("validation", [True, False])
def test_scores_are_the_errors_of_the_network_that_may_be_asked(meta, surrogate, validation):
    orders = {"task_02": [3, 0, 7]}
    scores = nonconformity(meta, surrogate, orders, validation=validation)
    fold = surrogate.fold_of_family["family_02"]
    network = (fold - 1) % 3 if validation else fold
    prediction = surrogate.predict(meta.meta_features[[2]], meta.encoded, [network])
    expected = np.abs(meta.performance[2] - np.clip(prediction.mean[0], 0.0, 1.0)) / prediction.spread[0]
    assert set(scores) == {"task_02"}
    np.testing.assert_allclose(scores["task_02"], expected[[3, 0, 7]], rtol=1e-4)
