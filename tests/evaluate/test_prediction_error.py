import numpy as np
import pytest

from metaflow_hpo.evaluate.prediction_error import measure_prediction_error, summarise_prediction_error
from metaflow_hpo.recommender.interval import expect_performance
from tests.conftest import changed


@pytest.fixture(scope="module")
def table(meta, surrogate):
    return measure_prediction_error(meta, surrogate, {"task_03": [2, 0], "task_05": [1, 4]})


def test_the_error_is_that_of_the_network_that_never_saw_the_family(meta, surrogate, table):
    line = table.set_index("task_id").loc["task_03"]
    asked = surrogate.predict(meta.meta_features[[3]], meta.points, surrogate.networks_blind_to("family_03"))
    expected = expect_performance(asked.mean[0], asked.spread[0])
    errors = np.abs(expected - meta.performance[3])
    assert line["everything"] == pytest.approx(errors.mean())
    assert line["recommended"] == pytest.approx((errors[0] + errors[2]) / 2)
    assert line["predicted"] == pytest.approx(expected[2])
    assert line["reached"] == meta.performance[3, 2]
    # Described without landmarks, tasks are looked for at 0.8.
    assert line["landmark"] == pytest.approx(np.abs(0.8 - meta.performance[3, [0, 2]]).mean())


def test_tasks_without_recommendations_are_left_out(table):
    assert table["task_id"].tolist() == ["task_03", "task_05"]


def test_the_summary_is_over_tasks(table):
    lines = {line["name"]: line for line in summarise_prediction_error(table)}
    assert set(lines) == {"recommended", "landmark", "everything"}
    assert lines["recommended"]["mean"] == pytest.approx(table["recommended"].mean())
    assert lines["recommended"]["low"] <= lines["recommended"]["mean"] <= lines["recommended"]["high"]


def test_what_a_family_reached_changes_its_error_but_not_what_is_expected_of_it(meta, surrogate, table):
    performance = meta.performance.copy()
    performance[3] = 0.5 * performance[3]
    other = measure_prediction_error(changed(meta, performance=performance), surrogate, {"task_03": [2, 0]})
    assert other["predicted"].tolist() == table["predicted"].tolist()[:1]
    assert other["recommended"].tolist() != table["recommended"].tolist()[:1]
