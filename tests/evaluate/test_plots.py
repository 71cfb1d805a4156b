import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from metaflow_hpo.evaluate.plots import (
    plot_calibration,
    plot_critical_difference,
    plot_learning_curves,
    plot_realised,
    plot_regret,
    plot_search,
)
from metaflow_hpo.evaluate.significance import compare


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    return figure.axes[0]


def test_regret_is_drawn_for_every_recommender():
    lines = [(name, k, 0.4 / k, 0.3 / k, 0.5 / k, 12) for name in ("recommended", "nearest_task") for k in (1, 3, 10)]
    summary = pd.DataFrame(lines, columns=["recommender", "k", "mean", "low", "high", "tasks"])
    axes = drawn(plot_regret(summary))
    assert [line.get_label() for line in axes.lines] == ["recommended", "nearest task"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3", "10"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.4, 0.4 / 3, 0.04])


def test_realised_performance_is_drawn_task_by_task():
    table = pd.DataFrame(
        {
            "task_id": ["wine", "iris"],
            "default_test": [0.9, 0.5],
            "random_10_test": [0.7, 0.5],
            "random_30_test": [0.8, 0.6],
            "random_50_test": [np.nan, np.nan],
            "first_test": [np.nan, 0.7],
            "best_of_5_test": [0.95, 0.8],
        }
    )
    axes = drawn(plot_realised(table))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["iris", "wine"]
    drawn_of = {group.get_label(): group.get_offsets()[:, 0].tolist() for group in axes.collections}
    assert drawn_of["best of 30 random trials"] == [0.6, 0.8]
    assert set(drawn_of) == {
        "default",
        "best of 30 random trials",
        "first recommendation",
        "best of 5 recommendations",
    }
    alone = table.drop(columns="best_of_5_test").assign(random_10_test=np.nan, random_30_test=np.nan)
    labels = [group.get_label() for group in drawn(plot_realised(alone)).collections]
    assert labels == ["default", "first recommendation"]


def test_a_search_is_drawn_with_its_incumbent():
    axes = drawn(plot_search(np.array([np.nan, 0.4, 0.3, np.nan, 0.8]), "iris"))
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, 0.4, 0.4, 0.4, 0.8])
    assert axes.get_title() == "iris"


def test_rungs_of_a_search_are_told_apart_and_the_incumbent_is_of_the_highest():
    performance = np.array([0.9, 0.4, 0.6, np.nan, 0.5, 0.3, 0.7])
    axes = drawn(plot_search(performance, "iris", [2, 2, 6, 17, 6, 2, 6]))
    assert [group.get_label() for group in axes.collections] == ["2 epochs", "6 epochs", "17 epochs"]
    assert [len(group.get_offsets()) for group in axes.collections] == [3, 3, 1]
    # The only trial of 17 epochs failed: the best is one of 6.
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, np.nan, 0.6, 0.6, 0.6, 0.6, 0.7])


def test_a_search_in_which_all_fail_is_drawn():
    axes = drawn(plot_search(np.array([np.nan, np.nan]), "iris", [2, 6]))
    assert np.isnan(axes.lines[0].get_ydata()).all()


def test_learning_curves_are_drawn_whole_and_told_apart_by_their_epochs():
    axes = drawn(plot_learning_curves([(0.1, 0.2, 0.3), (0.5,), (), (0.2, 0.4, 0.1)], "iris"))
    assert [len(line.get_ydata()) for line in axes.lines] == [1, 3, 3]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1 epochs", "3 epochs"]
    np.testing.assert_array_equal(axes.lines[2].get_xdata(), [1, 2, 3])
    assert drawn(plot_learning_curves([()], "iris")).get_legend() is None


def test_calibration_is_drawn_against_the_nominal_coverage():
    axes = drawn(plot_calibration({"a": 1.0, "b": 0.5}, 0.8))
    assert [bar.get_height() for bar in axes.patches] == [0.5, 1.0]
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["nominal 80%", "mean 75%"]
    assert axes.lines[1].get_ydata()[0] == pytest.approx(0.75)


def test_ranks_are_drawn_best_at_the_right_and_joined_where_nothing_tells_them_apart():
    base = np.random.default_rng(0).random(30)
    comparison = compare(pd.DataFrame({"portfolio": base + 0.5, "recommended": base, "meta_gp": base}))
    axes = drawn(plot_critical_difference(comparison, "k = 3"))
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert {text.get_text().strip() for text in axes.texts} == {"recommended 1.50", "meta gp 1.50", "portfolio 3.00"}
    bars = [line for line in axes.lines if line.get_linewidth() == 3]
    assert len(bars) == 1
    assert "30 tasks" in axes.get_title()
