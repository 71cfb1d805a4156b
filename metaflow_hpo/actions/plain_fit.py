"""The fit of a learner without networks: past tasks on the configurations that they tried."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metaflow_hpo.actions.own_history import is_collected, own_metrics
from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import History, read_curves
from metaflow_hpo.metric import Metric
from metaflow_hpo.tables import HP_PREFIX, META_PREFIX

if TYPE_CHECKING:
    from metaflow_hpo.recommender.new_task import RecommenderSettings
    from metaflow_hpo.recommender.recommender import Recommender

MIN_FAMILIES = 2
MIN_CORE = 4
"""Configurations that most collected tasks have tried; with fewer, all that were tried are recommended from."""


def read_history(pipeline: Pipeline, frame: pd.DataFrame) -> History:
    """Return the learner's trials on all tasks of its meta-data set, whoever searched them.

    Of what the pipeline collected these are the trials of configurations that most of its tasks have tried, where there
    are some: what a search went on to on one task alone was tried on no other one. A task that has tried hardly any of
    them keeps its own.

    Raises:
        InvalidTableError: If they are of fewer than two families, or of none.
    """
    name, rows = pipeline.learner_name, frame.loc[frame["learner"] == pipeline.learner_name]
    families = sorted(set(rows["family"]))
    if len(families) < MIN_FAMILIES:
        raise InvalidTableError(
            f"Expected trials of {name} on tasks of at least {MIN_FAMILIES} families, to learn from some and be asked "
            f"about others; found {families or 'none'}. Search more tasks with it: metaflow-hpo search TASK ..."
        )
    rows = _drop_unshared(rows)
    described = [c for c in rows.columns if str(c).startswith((HP_PREFIX, META_PREFIX)) and rows[c].isna().all()]
    metrics = _read_metrics(pipeline, rows["task_id"].unique().tolist())
    history = History.from_frame(
        rows.drop(columns=described),
        space=pipeline.learner.space,
        learner=name,
        metric=metrics.pop() if len(metrics) == 1 else None,
    )
    for note in history.notes:
        logger.warning("%s", note)
    return history


def _drop_unshared(rows: pd.DataFrame) -> pd.DataFrame:
    collected = is_collected(rows)
    tried = rows.loc[collected].groupby("configuration_id")["task_id"].nunique()
    # Half of them: a search of fewer trials here does not forget what all others have tried.
    shared = tried.index[tried >= rows.loc[collected, "task_id"].nunique() / 2]
    is_shared = rows["configuration_id"].isin(shared)
    # A task that was searched with other configurations keeps them: without them nothing would be learned from it.
    has_own = is_shared.groupby(rows["task_id"]).transform("sum") < MIN_CORE
    return rows.loc[~collected | is_shared | has_own] if len(shared) >= MIN_CORE else rows


def choose_settings(history: History) -> "RecommenderSettings":
    """Return how the recommender's parts work together on the tasks of a history."""
    from metaflow_hpo.modalities.roles import Roles
    from metaflow_hpo.recommender.new_task import DESCRIBED, RecommenderSettings

    # What a person measured of a task they opened themselves has no roles, and any scale.
    has_roles = bool(Roles.of(history.meta_feature_names).positions("size"))
    is_complete = bool(np.isfinite(history.meta_features).all())
    return DESCRIBED if has_roles and is_complete else RecommenderSettings(default_first=True)


def _read_metrics(pipeline: Pipeline, task_ids: list[str]) -> set[Metric]:
    """Return the metrics of tasks."""
    known = own_metrics(pipeline)
    if pipeline.store.catalogue_path.is_file():
        catalogue = pipeline.store.read_catalogue()
        known |= {t: Metric.read(m) for t, m in zip(catalogue["task_id"], catalogue["metric"], strict=True)}
    return {known[task_id] for task_id in task_ids if task_id in known}


def fit_plain(pipeline: Pipeline, frame: pd.DataFrame) -> "tuple[Recommender, dict[str, float]]":
    """Fit a recommender without networks; return it with what is to be logged.

    Raises:
        InvalidTableError: If the history holds tasks of fewer than two families.
    """
    from metaflow_hpo.evaluate.fitting import fit_recommender
    from metaflow_hpo.recommender.stopping import StoppingRule

    history = read_history(pipeline, frame)
    pipeline.progress("calibrating", 0, 0)
    recommender = fit_recommender(history, settings=choose_settings(history))
    effort = pipeline.epochs
    stopping = StoppingRule.fit(read_curves(frame, pipeline.learner_name, effort)) if effort > 1 else None
    counts = {
        "tasks": len(history.tasks),
        "families": len(set(history.families)),
        "configurations": len(history.configurations),
        "trials": sum(len(task.positions) for task in history.tasks),
    }
    return replace(recommender, stopping=stopping), {name: float(count) for name, count in counts.items()}
