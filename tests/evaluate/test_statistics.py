import numpy as np
import pytest

from metaflow_hpo.evaluate.statistics import bootstrap_mean, probability_of_harm


def test_the_interval_of_a_constant_is_the_constant():
    interval = bootstrap_mean(np.full(7, 0.25))
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_the_interval_of_one_task_is_its_value():
    interval = bootstrap_mean(np.array([0.4]))
    assert (interval.mean, interval.low, interval.high) == (0.4, 0.4, 0.4)


def test_the_interval_is_about_two_standard_errors_wide():
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_mean(values)
    error = values.std() / 20.0
    assert interval.mean == values.mean()
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_a_narrower_coverage_gives_a_narrower_interval():
    values = np.random.default_rng(0).random(30)
    wide, narrow = bootstrap_mean(values), bootstrap_mean(values, coverage=0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_mean(values) == bootstrap_mean(values.copy())


@pytest.mark.parametrize(("difference", "probability"), [(0.1, 1.0), (-0.1, 0.0), (0.0, 0.5)])
def test_harm_is_certain_impossible_or_even(difference, probability):
    assert probability_of_harm(np.full(9, difference)) == pytest.approx(probability, abs=0.001)


def test_harm_is_even_for_symmetric_differences():
    assert probability_of_harm(np.array([-0.2, 0.2] * 20)) == pytest.approx(0.5, abs=0.03)


def test_a_few_differences_prove_no_harm():
    assert probability_of_harm(np.array([0.5, 0.2, 0.0, 0.0, 0.0, 0.0])) == pytest.approx(0.875)
    assert probability_of_harm(np.array([0.5, 0.2, 0.1, 0.3, 0.0, 0.0])) == pytest.approx(1 - 0.5 / 16)


def test_sampled_signs_agree_with_all_of_them():
    differences = np.random.default_rng(1).normal(0.3, 1.0, size=12)
    signs = np.array(np.meshgrid(*[(-1, 1)] * 12)).reshape(12, -1).T
    exact = (signs @ differences < differences.sum()).mean()
    assert probability_of_harm(differences) == pytest.approx(exact, abs=0.02)
