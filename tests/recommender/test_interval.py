import numpy as np
import pytest

from metaflow_hpo.recommender.interval import IntervalScale, expect_performance


def test_the_scale_is_interpolated_over_the_logarithm_of_the_trials():
    interval = IntervalScale(0.8, 1.3, ((1, 0.5), (4, 0.7), (16, 1.1)))
    assert interval.at(0) == 1.3
    assert interval.at(1) == 0.5
    assert interval.at(2) == pytest.approx(0.6)
    assert interval.at(8) == pytest.approx(0.9)
    assert interval.at(100) == 1.1


def test_it_survives_json_and_an_older_one_keeps_its_scale():
    interval = IntervalScale(0.9, 1.3, ((1, 0.5), (4, 0.7)))
    assert IntervalScale.from_json(interval.to_json()) == interval
    old = IntervalScale.from_json({"coverage": 0.8, "scale": 1.4})
    assert [old.at(n) for n in (0, 1, 50)] == [1.4, 1.4, 1.4]
    assert np.isfinite(old.at(3))


@pytest.mark.parametrize(("mean", "spread"), [(0.7, 0.05), (0.98, 0.05), (1.1, 0.1), (-0.2, 0.3), (0.5, 2.0)])
def test_the_expected_performance_is_the_mean_of_outcomes_that_end_at_0_and_1(mean, spread):
    outcomes = np.clip(np.random.default_rng(0).normal(mean, spread, 400_000), 0.0, 1.0)
    expected = expect_performance(np.array([mean]), np.array([spread]))[0]
    assert expected == pytest.approx(outcomes.mean(), abs=4 * outcomes.std() / np.sqrt(len(outcomes)))


def test_without_spread_it_is_the_mean_between_0_and_1_and_it_keeps_the_order():
    means = np.array([-3.0, 0.0, 0.25, 1.0, 7.0])
    np.testing.assert_allclose(expect_performance(means, np.zeros(5)), [0.0, 0.0, 0.25, 1.0, 1.0], atol=1e-9)
    ordered = expect_performance(np.linspace(-0.5, 1.5, 50), np.full(50, 0.1))
    assert (np.diff(ordered) > 0).all()
    assert ((ordered >= 0) & (ordered <= 1)).all()
