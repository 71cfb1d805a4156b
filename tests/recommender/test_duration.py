import numpy as np
import pytest

from metaflow_hpo.recommender.duration import DurationModel, MedianDurations, fit_durations
from tests.conftest import changed


@pytest.fixture
def timed(meta):
    """Seconds are 0.001 * rows^1 * 4^(position of the width in its range)."""
    width = meta.space.to_unit(meta.configurations)[:, 1]
    rows = meta.meta_features[:, meta.meta_feature_names.index("mf_log_rows")]
    return changed(meta, duration=0.001 * 10.0 ** rows[:, None] * 4.0 ** width[None, :])


def test_a_multiplicative_law_is_recovered(timed):
    model = DurationModel.fit(timed.past_tasks())
    for t in range(12):
        predicted = model.predict(timed.meta_features[t], timed.points)
        np.testing.assert_allclose(predicted, timed.duration[t], rtol=0.15)


def test_only_sizes_are_looked_at(timed):
    model = DurationModel.fit(timed.past_tasks())
    assert model.columns == (2,)
    other = timed.meta_features[0] + np.array([5.0, -5.0, 0.0, 9.0])
    np.testing.assert_allclose(model.predict(other, timed.points), model.predict(timed.meta_features[0], timed.points))


def test_trials_without_a_duration_are_left_out(timed):
    duration = timed.duration.copy()
    duration[::2, ::3] = np.nan
    model = DurationModel.fit(changed(timed, duration=duration).past_tasks())
    np.testing.assert_allclose(model.predict(timed.meta_features[0], timed.points), timed.duration[0], rtol=0.15)


def test_an_answer_stays_within_a_factor_of_ten_of_what_was_seen(timed):
    model = DurationModel.fit(timed.past_tasks())
    row = timed.meta_features[0].copy()
    for size, expected in ((1e3, 10 * timed.duration.max()), (-1e2, timed.duration.min() / 10)):
        row[2] = size
        np.testing.assert_allclose(model.predict(row, timed.points), expected)


def test_where_nothing_is_known_of_sizes_it_is_the_median_over_past_tasks(timed):
    duration = timed.duration.copy()
    duration[:, 3] = np.nan
    past = changed(timed, duration=duration).past_tasks()
    model = fit_durations(past, described=False)
    assert isinstance(model, MedianDurations)
    found = model.predict(np.full(4, np.nan), timed.points[[5, 3, 0]])
    np.testing.assert_allclose(found, [np.median(duration[:, 5]), np.nan, np.median(duration[:, 0])])
