import json

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.learners.series.encoding import SeriesEncoder

NAN = np.nan


def array(*items):
    return np.array(items, np.float32)


def encode(x, normalise="task", differences=False, fitted_on=None):
    encoder = SeriesEncoder.fit(x if fitted_on is None else fitted_on, normalise, differences)
    encoded = encoder.encode(x)
    assert encoded.shape[1] == encoder.count_channels()
    return encoded.numpy()


def test_values_are_told_in_deviations_of_the_training_items():
    train = array([[1, 3, 1, 3]], [[5, 7, 5, 7]])  # mean 4, deviation sqrt(5)
    encoded = encode(array([[4, 4 + 5**0.5, 4, 4]]), fitted_on=train)
    assert encoded[0] == pytest.approx(np.array([[0, 1, 0, 0], [1, 1, 1, 1]]), abs=1e-6)


def test_values_are_told_in_their_own_deviations_up_to_the_end_of_each():
    encoded = encode(array([[1, 3, 1, 3]], [[10, 30, NAN, NAN]]), "series")
    assert encoded[0] == pytest.approx(np.array([[-1, 1, -1, 1], [1, 1, 1, 1]]), abs=1e-6)
    assert encoded[1] == pytest.approx(np.array([[-1, 1, 0, 0], [1, 1, 0, 0]]), abs=1e-6)


def test_gaps_are_filled_with_lines_and_marked():
    encoded = encode(array([[0, NAN, 4, NAN]], [[NAN, 2, 2, 2]]))
    mean, deviation = 2, (8 / 5) ** 0.5  # of 0, 4, 2, 2, 2
    values = np.array([[0, 2, 4], [2, 2, 2]])
    assert encoded[:, 0, :3] == pytest.approx((values - mean) / deviation, abs=1e-6)
    assert encoded[:, 1].tolist() == [[1, 0, 1, 0], [0, 1, 1, 1]]  # measured
    assert encoded[:, 2].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]  # before the end


def test_nothing_is_marked_where_there_are_no_gaps_but_in_new_items_they_are_filled():
    train = array([[1, 3, 1, 3]], [[1, 3, NAN, NAN]])
    assert encode(train).shape == (2, 2, 4)
    assert encode(array([[1, NAN, 3, 3]]), fitted_on=train)[0, 0, 1] == pytest.approx(0)


def test_differences_are_told_in_deviations_of_their_own():
    encoded = encode(array([[0, 2, 4, 4]]), "task", differences=True)
    step = np.array([0, 2, 2, 0]) / (8 / 4) ** 0.5
    assert encoded[0, 1] == pytest.approx(step, abs=1e-6)


def test_constant_wild_and_absent_values_stay_finite():
    train = array([[5, 5, 5]], [[5, 5, 5]])
    assert encode(train, "series", differences=True)[:, :2].tolist() == [[[0, 0, 0]] * 2] * 2
    assert np.abs(encode(array([[3e38, -3e38, 0]]), fitted_on=train)).max() == 1000
    nothing = encode(array([[NAN, NAN, NAN]]), "series", differences=True, fitted_on=train)
    assert np.isfinite(nothing).all()
    assert np.ptp(encode(array([[1e8, 1e8 + 8, 1e8]]), "series")[0, 0]) < 1  # rounding is not blown up


def test_it_comes_back_from_its_state():
    x = array([[0, NAN, 4, NAN], [1, 2, 3, 4]], [[NAN, 2, 2, 2], [0, 0, 1, 1]])
    encoder = SeriesEncoder.fit(x, "task", True)
    values, arrays = encoder.to_state()
    again = SeriesEncoder.from_state(json.loads(json.dumps(values)), arrays)
    assert again.encode(x).numpy().tobytes() == encoder.encode(x).numpy().tobytes()
    assert again.steps == 4


def test_other_channels_are_refused():
    encoder = SeriesEncoder.fit(array([[0, 1, 2]]), "task", False)
    with pytest.raises(InvalidTaskError, match=r"series of 1 channels, .* as in training; got \(1, 2, 3\)"):
        encoder.encode(np.zeros((1, 2, 3), np.float32))
