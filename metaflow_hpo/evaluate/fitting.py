"""Fit a recommender on a history."""

from dataclasses import replace

from metaflow_hpo.evaluate.calibration import calibrate
from metaflow_hpo.history import History
from metaflow_hpo.recommender.new_task import RecommenderSettings
from metaflow_hpo.recommender.pool import choose_pool
from metaflow_hpo.recommender.recommender import Recommender


def fit_recommender(history: History, *, has_default: bool = False) -> Recommender:
    """Fit a recommender on past tasks.

    Args:
        history: Past trials.
        has_default: Whether the default of the search space is somebody's; the middle of an inferred space is not.

    Returns:
        The recommender, its intervals calibrated by replaying past tasks without their families.
    """
    recommender = Recommender(
        history.past_tasks(pool=choose_pool(history)),
        RecommenderSettings(default_first=has_default),
        learner=history.learner,
        metric=history.metric,
    )
    return replace(recommender, interval=calibrate(recommender))
