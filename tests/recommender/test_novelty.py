import numpy as np
import pytest

from metaflow_hpo.recommender.novelty import THRESHOLD, Novelty
from metaflow_hpo.recommender.task_distance import TaskDistance
from tests.conftest import changed


def fit(history):
    past = history.past_tasks()
    return Novelty.fit(past, TaskDistance.fit(past.meta_features, guess_scales=False), described=True)


def line_of(meta, families):
    """Return four tasks at 0, 1, 3, 7 on a line, which the other meta-features do not leave."""
    features = np.zeros((4, 4))
    features[:, 0] = [0.0, 1.0, 3.0, 7.0]
    return changed(meta.subset([0, 1, 2, 3]), meta_features=features, families=families)


def test_the_reference_is_the_distance_to_the_nearest_task_of_another_family_and_a_bit_more(meta):
    deviation = np.std([0.0, 1.0, 3.0, 7.0])
    apart = fit(line_of(meta, ("a", "b", "c", "d")))
    np.testing.assert_allclose(apart.reference * deviation, [1.15, 1.15, 2.3, 4.6])
    # 0 and 1 are of one family: their nearest strangers are at 3.
    together = fit(line_of(meta, ("a", "a", "c", "d")))
    np.testing.assert_allclose(together.reference * deviation, [2.3, 2.3, 3.45, 4.6])


@pytest.mark.parametrize(
    ("position", "percentile"), [(0.5, 0.0), (4.5, 50.0), (5.0, 50.0), (9.5, 75.0), (11.5, 75.0), (12.0, 100.0)]
)
def test_the_percentile_counts_past_tasks_that_are_nearer_to_their_relatives(meta, position, percentile):
    novelty = fit(line_of(meta, ("a", "b", "c", "d")))
    assert novelty.percentile(np.array([position, 0.0, 0.0, 0.0])) == percentile


def test_a_past_task_is_not_new(meta):
    novelty = fit(meta)
    assert [novelty.percentile(row) for row in meta.meta_features] == [0.0] * 12


def test_a_task_far_away_is_newer_than_the_threshold(meta):
    assert fit(meta).percentile(np.full(4, 1e6)) > THRESHOLD
