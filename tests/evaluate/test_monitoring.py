import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.evaluate.monitoring import WINDOW, is_covered, monitor_outcomes, plot_monitoring


def outcomes(inside: int, outside: int) -> pd.DataFrame:
    """Return outcomes predicted at 0.7 in 0.6 to 0.8; those inside come to 0.75, those outside to 0.5."""
    realised = [0.75] * inside + [0.5] * outside
    line = {"task_sha256": "a" * 64, "metric": "r2", "mean": 0.7, "low": 0.6, "high": 0.8}
    return pd.DataFrame([{**line, "realised": value} for value in realised])


def test_coverage_and_errors_are_those_computed_by_hand() -> None:
    found = monitor_outcomes(outcomes(16, 4))
    assert (found.outcomes, found.tasks, found.coverage, found.drifted) == (20, 1, 0.8, False)
    assert found.mean_error == pytest.approx((16 * 0.05 - 4 * 0.2) / 20)
    assert found.mean_absolute_error == pytest.approx((16 * 0.05 + 4 * 0.2) / 20)


@pytest.mark.parametrize(
    ("inside", "outside", "drifted"),
    [(18, 7, False), (17, 8, True), (22, 3, False), (23, 2, True), (20, 0, True), (0, 19, False), (0, 20, True)],
)
def test_a_drift_is_a_coverage_beyond_the_limits_with_enough_outcomes(inside: int, outside: int, drifted: bool) -> None:
    assert monitor_outcomes(outcomes(inside, outside)).drifted is drifted


def test_only_the_latest_outcomes_count() -> None:
    table = pd.concat([outcomes(0, 100), outcomes(int(WINDOW * 0.8), int(WINDOW * 0.2))], ignore_index=True)
    found = monitor_outcomes(table)
    assert (found.outcomes, found.coverage) == (WINDOW, 0.8)


def test_a_failed_training_is_outside_and_scores_below_zero_count_as_zero() -> None:
    table = outcomes(3, 0).assign(realised=[np.nan, -5.0, 2.0], low=[0.0, 0.0, 0.9], high=[1.0, 0.1, 1.0])
    assert is_covered(table).tolist() == [False, True, True]


def test_outcomes_of_a_metric_without_bounds_have_no_interval_to_lie_in() -> None:
    table = pd.concat([outcomes(16, 4), outcomes(0, 9).assign(metric="loss", low=None, high=None)], ignore_index=True)
    found = monitor_outcomes(table)
    assert (found.outcomes, found.coverage) == (20, 0.8)
    beyond = outcomes(0, 1).assign(metric="hits", low=40.0, high=60.0, realised=55.0)
    assert is_covered(beyond).tolist() == [True]


def test_nothing_recorded_is_an_answer_and_a_plot() -> None:
    empty = outcomes(0, 0).reindex(columns=["task_sha256", "metric", "mean", "low", "high", "realised"])
    found = monitor_outcomes(empty)
    assert (found.outcomes, found.drifted) == (0, False)
    figure = plot_monitoring(empty, pd.DataFrame(columns=["time", "percentile"]))
    assert len(figure.axes) == 2
    novelty = pd.DataFrame({"time": ["a", "b"], "percentile": [10.0, 99.0]})
    left, right = plot_monitoring(outcomes(3, 2), novelty).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "inside the interval (3)",
        "outside the interval (2)",
    ]
    assert right.lines[0].get_ydata().tolist() == [10.0, 99.0]
