import numpy as np
import pytest

from metaflow_hpo.recommend.interval import IntervalScale


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
