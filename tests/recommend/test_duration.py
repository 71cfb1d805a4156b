import numpy as np
import pytest

from metaflow_hpo.recommend.duration import DurationModel
from tests.conftest import changed


@pytest.fixture
def timed(meta):
    """Seconds are 0.001 * rows^1 * 4^(position of the width in its range)."""
    width = meta.space.to_unit(meta.configurations)[:, 1]
    rows = meta.meta_features[:, meta.meta_feature_names.index("mf_log_rows")]
    return changed(meta, duration=0.001 * 10.0 ** rows[:, None] * 4.0 ** width[None, :])


def test_a_multiplicative_law_is_recovered(timed):
    model = DurationModel.fit(timed)
    for t in range(12):
        predicted = model.predict(timed.meta_features[t], timed.points)
        np.testing.assert_allclose(predicted, timed.duration[t], rtol=0.15)


def test_only_sizes_are_looked_at(timed):
    model = DurationModel.fit(timed)
    assert model.columns == (2,)
    other = timed.meta_features[0] + np.array([5.0, -5.0, 0.0, 9.0])
    np.testing.assert_allclose(model.predict(other, timed.points), model.predict(timed.meta_features[0], timed.points))


def test_trials_without_a_duration_are_left_out(timed):
    duration = timed.duration.copy()
    duration[::2, ::3] = np.nan
    model = DurationModel.fit(changed(timed, duration=duration))
    np.testing.assert_allclose(model.predict(timed.meta_features[0], timed.points), timed.duration[0], rtol=0.15)


def test_an_answer_stays_within_a_factor_of_ten_of_what_was_seen(timed):
    model = DurationModel.fit(timed)
    row = timed.meta_features[0].copy()
    for size, expected in ((1e3, 10 * timed.duration.max()), (-1e2, timed.duration.min() / 10)):
        row[2] = size
        np.testing.assert_allclose(model.predict(row, timed.points), expected)
