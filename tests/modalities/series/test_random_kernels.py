"""Features of random kernels: what they mean on series of which that is known."""

import time

import numpy as np

from metaflow_hpo.modalities.series.random_kernels import KERNELS, fill_and_normalise, measure_features
from metaflow_hpo.modalities.series.series import pack_series
from tests.modalities.series.own_series import draw_series


def test_series_are_told_in_their_own_deviations_with_lines_across_gaps() -> None:
    packed = pack_series([np.array([[1, np.nan, 3, 3]]), np.array([[7, 7, np.nan, np.nan]])])
    values, level = fill_and_normalise(packed)
    mean, deviation = 7 / 3, np.sqrt(8 / 9)
    np.testing.assert_allclose(values[0, 0], (np.array([1, 2, 3, 3]) - mean) / deviation, rtol=1e-6)
    assert values[1, 0].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(level, np.log1p([[mean, deviation], [7, 0]]))


def test_shares_lie_between_none_and_all_and_scale_plays_no_role_in_them() -> None:
    waves, _ = draw_series()
    features = measure_features(pack_series(list(waves)))
    assert features.shape == (60, 2 * KERNELS + 3)
    shares = features[:, :KERNELS]
    assert shares.min() >= 0
    assert shares.max() <= 1
    scaled = measure_features(pack_series(list(1000 * waves + 5)))
    np.testing.assert_allclose(scaled[:, : 2 * KERNELS], features[:, : 2 * KERNELS], atol=0.03)


def test_a_series_is_described_alike_whatever_is_beside_it() -> None:
    waves, _ = draw_series()
    together = measure_features(pack_series(list(waves)))
    alone = measure_features(pack_series([waves[7]]))
    np.testing.assert_allclose(alone[0], together[7], rtol=1e-4, atol=1e-4)


def test_they_tell_slow_waves_from_fast_ones_and_take_any_shape() -> None:
    waves, labels = draw_series(channels=3)
    features = measure_features(pack_series(list(waves)))
    low = np.array(labels) == "low"
    centres = [features[:40][low[:40] == one].mean(axis=0) for one in (True, False)]
    near = [np.linalg.norm(features[40:] - centre, axis=1) for centre in centres]
    assert ((near[0] < near[1]) == low[40:]).all()
    for shape in ((5, 1, 1), (5, 12, 2), (5, 1, 600)):
        assert np.isfinite(measure_features(pack_series(list(np.ones(shape))))).all()


def test_a_thousand_series_take_a_moment() -> None:
    waves, _ = draw_series(1000, 300)
    packed = pack_series(list(waves))
    began = time.process_time()
    measure_features(packed)
    assert time.process_time() - began < 20  # quadratic code takes minutes
