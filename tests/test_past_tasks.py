import numpy as np
import pandas as pd

from metaflow_hpo.gaussian_process import GaussianProcess, _negative_log_posterior, expected_improvement
from metaflow_hpo.history import History


def make_history(*, shared):
    rng = np.random.default_rng(0)
    x = [np.linspace(0, 1, 31), np.linspace(0, 1, 31) if shared else rng.random(31), np.linspace(0, 1, 31)]
    parts = [
        pd.DataFrame({"task_id": f"t{t}", "hp_x": x[t], "performance": -(np.abs(x[t] - 0.3) ** 1.5), "mf_a": t})
        for t in range(3)
    ]
    return History.from_frame(pd.concat(parts))


def test_recorded_cells_are_kept_as_they_are():
    history = make_history(shared=True)
    past = history.past_tasks([0, 1], history.tasks[2].positions)
    assert past.is_shared
    performance = history.tasks[0].performance
    np.testing.assert_allclose(past.regret[0], (performance.max() - performance) / np.ptp(performance))
    # score = half normal score, half z-score: its best is the task's best.
    assert past.scores[0].argmax() == performance.argmax()
    assert past.configurations[past.default]["x"] == 0.5


def test_missing_cells_are_filled_in_with_their_uncertainty():
    history = make_history(shared=False)
    pool = history.tasks[2].positions
    past = history.past_tasks([0, 1], pool)
    assert not past.is_shared
    np.testing.assert_array_equal(past.deviation[0], 0.0)
    assert (past.deviation[1] > 0).sum() >= 29
    x = history.points[pool, 0]
    assert abs(x[past.regret[1].argmin()] - 0.3) < 0.07
    truth = np.abs(x - 0.3) ** 1.5
    assert np.corrcoef(past.scores[1], -truth)[0, 1] > 0.97


def test_a_task_is_filled_in_from_its_own_trials_only():
    history = make_history(shared=False)
    pool = history.tasks[2].positions
    alone, among = history.past_tasks([1], pool), history.past_tasks([0, 1], pool)
    np.testing.assert_array_equal(alone.scores[0], among.scores[1])


def test_the_process_interpolates_and_its_gradient_is_right():
    rng = np.random.default_rng(1)
    points = rng.random((30, 2))
    targets = 3.0 + np.sin(5 * points[:, 0])
    process = GaussianProcess.fit(points, targets)
    mean, deviation = process.predict(points)
    np.testing.assert_allclose(mean, targets, atol=0.05)
    assert deviation.max() < 0.2
    assert process.lengths[1] > process.lengths[0]  # the second dimension does nothing
    squares = (points[:, None] - points[None]) ** 2
    theta = np.array([-0.3, 0.2, 0.1, -2.0])
    y = (targets - targets.mean()) / targets.std()
    numeric = [
        (_negative_log_posterior(theta + h, squares, y)[0] - _negative_log_posterior(theta - h, squares, y)[0]) / 2e-5
        for h in 1e-5 * np.eye(4)
    ]
    np.testing.assert_allclose(_negative_log_posterior(theta, squares, y)[1], numeric, rtol=1e-4)


def test_leave_one_out_equals_fitting_without_the_trial():
    rng = np.random.default_rng(2)
    points = rng.random((8, 1))
    targets = rng.random(8)
    process = GaussianProcess.fit(points, targets)
    mean, _ = process.leave_one_out(targets)
    kernel = process.cholesky @ process.cholesky.T
    y = (targets - process.center) / process.scale
    rest = np.arange(1, 8)
    expected = kernel[0, rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)], y[rest])
    np.testing.assert_allclose(mean[0], process.center + process.scale * expected)


def test_expected_improvement_has_its_closed_form():
    # At the incumbent, EI is the deviation times the density of a standard normal at 0.
    np.testing.assert_allclose(expected_improvement(np.array([1.0]), np.array([2.0]), 1.0), [2.0 * 0.3989422804])
    np.testing.assert_allclose(expected_improvement(np.array([3.0]), np.array([1e-13]), 1.0), [2.0])
