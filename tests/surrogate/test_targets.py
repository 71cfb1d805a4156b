import numpy as np
from scipy.stats import norm

from metaflow_hpo.past_tasks import rank_scores
from metaflow_hpo.surrogate.targets import CLIP, Standardiser, make_rows, make_task_rows
from tests.conftest import changed


def test_rank_scores_are_half_copula_and_half_z_score():
    # Ranks 1, 3, 2 of 3: quantiles 1/6, 5/6, 1/2. Mean 2, standard deviation sqrt(2/3).
    z = 1.0 / np.sqrt(2.0 / 3.0)
    q = norm.ppf(5.0 / 6.0)
    expected = [[0.5 * (-q - z), 0.5 * (q + z), 0.0]]
    np.testing.assert_allclose(rank_scores(np.array([[1.0, 3.0, 2.0]])), expected, atol=1e-12)


def test_rank_scores_of_equal_performances_are_zero():
    np.testing.assert_allclose(rank_scores(np.array([[0.4, 0.4, 0.4]])), 0.0, atol=1e-12)


def test_rank_scores_leave_out_what_was_never_tried():
    scores = rank_scores(np.array([[0.1, np.nan, 0.2], [np.nan, np.nan, np.nan]]))
    np.testing.assert_allclose(scores[0, [0, 2]], [0.5 * (norm.ppf(0.25) - 1), 0.5 * (norm.ppf(0.75) + 1)])
    assert np.isnan(scores[0, 1])
    assert np.isnan(scores[1]).all()


def test_rank_scores_do_not_depend_on_the_scale_of_a_task():
    row = np.random.default_rng(0).random((1, 9))
    np.testing.assert_allclose(rank_scores(row), rank_scores(100.0 * row - 7.0))


def test_one_diverged_trial_does_not_set_the_scale_of_its_task():
    row = np.array([[*np.linspace(0.8, 0.9, 99), -1e6]])
    assert rank_scores(row).min() >= 0.5 * (norm.ppf(0.005) - 3) - 1e-12


def test_the_standardiser_takes_the_median_and_the_standard_deviation():
    standardiser = Standardiser.fit(np.array([[0.0], [1.0], [5.0]]))
    deviation = np.std([0.0, 1.0, 5.0])
    np.testing.assert_allclose(standardiser.transform(np.array([[2.0]])), [[1.0 / deviation]])


def test_the_standardiser_ignores_a_constant_meta_feature():
    standardiser = Standardiser.fit(np.array([[7.0, 0.1], [7.0, 0.1], [7.0, 0.1 + 1e-17]]))
    np.testing.assert_array_equal(standardiser.transform(np.array([[1e9, -5.0]])), [[0.0, 0.0]])


def test_the_standardiser_clips_strange_tasks():
    standardiser = Standardiser.fit(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
    np.testing.assert_array_equal(standardiser.transform(np.array([[1e6, -1e6]])), [[CLIP, -CLIP]])


def test_rows_are_the_known_cells(meta):
    performance = meta.performance.copy()
    performance[0, 1:] = np.nan
    performance[1, 0] = np.nan
    sparse = changed(meta, performance=performance)
    rows = make_rows(sparse, Standardiser.fit(meta.meta_features))
    assert len(rows.task) == np.isfinite(performance).sum()
    assert (rows.task == 0).sum() == 1
    np.testing.assert_array_equal(rows.encoded[rows.task == 1], meta.points[1:])
    second = rows.task == 2
    assert rows.position[second].min() == 0.0
    assert rows.position[second].max() == 1.0


def test_a_row_of_a_task_has_its_worst_and_best_known_performance(meta):
    performance = meta.performance.copy()
    performance[0, 1:] = np.nan
    rows = make_task_rows(changed(meta, performance=performance), Standardiser.fit(meta.meta_features))
    assert rows.ends.shape == rows.anchors.shape == (12, 2)
    assert rows.ends[0].tolist() == [performance[0, 0], performance[0, 0]]
    assert rows.ends[2].tolist() == [performance[2].min(), performance[2].max()]
    np.testing.assert_array_equal(
        rows.meta_features, Standardiser.fit(meta.meta_features).transform(meta.meta_features)
    )
