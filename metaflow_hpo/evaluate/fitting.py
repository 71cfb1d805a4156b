"""Fit a recommender on a history: on past tasks alone, or with networks where these earn their place."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from metaflow_hpo.evaluate.calibration import (
    calibrate,
    fit_interval,
    measure_replayed,
    nonconformity,
    with_observed,
)
from metaflow_hpo.evaluate.evaluation import DEFAULT_TRUST, choose_trust, evaluate_leave_family_out
from metaflow_hpo.evaluate.tuning_evidence import learn_tuning
from metaflow_hpo.history import History
from metaflow_hpo.recommender.interval import UNIT
from metaflow_hpo.recommender.new_task import RecommenderSettings
from metaflow_hpo.recommender.pool import choose_pool
from metaflow_hpo.recommender.recommender import Recommender

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from metaflow_hpo.surrogate.fit import FitSettings, FoldReport, WarmStart

MIN_FAMILIES = 8
"""Fewer are too few to learn from, to stop by and to judge on, so networks are not even tried."""


def fit_recommender(
    history: History,
    *,
    settings: RecommenderSettings | None = None,
    has_default: bool = False,
    networks: bool | Literal["auto"] = False,
    fit: "FitSettings | None" = None,
) -> Recommender:
    """Fit a recommender on past tasks.

    Args:
        history: Past trials.
        settings: How its parts work together; the defaults unless given.
        has_default: Whether the default of the search space is somebody's; the middle of an inferred space is not.
        networks: Whether it has networks. `auto`: where there are enough families, described by meta-features, and
            the networks are of use on families that they were not trained on.
        fit: How networks are trained.

    Returns:
        The recommender, its intervals calibrated by replaying past tasks without their families.

    Raises:
        InvalidTableError: If networks are asked for on fewer than three families.
    """
    chosen = settings or RecommenderSettings(default_first=has_default)
    pool = history.on(choose_pool(history))
    if networks is True or (networks == "auto" and can_have_networks(history)):
        from metaflow_hpo.surrogate.fit import FitSettings

        found, _ = fit_networks(pool, history, chosen, fit or FitSettings(), default_trust=0.0)
        if networks is True or found.trust > 0:
            return found
    past = history.past_tasks(pool=choose_pool(history))
    recommender = Recommender(past, chosen, learner=history.learner, metric=history.metric)
    return replace(recommender, interval=calibrate(recommender), tuning=learn_tuning(recommender))


def can_have_networks(history: History) -> bool:
    """Tell whether there is enough to train networks on, and to judge them by."""
    is_described = bool(np.isfinite(history.meta_features).any())
    return is_described and len(set(history.families)) >= MIN_FAMILIES


def fit_networks(
    pool: History,
    trials: History,
    settings: RecommenderSettings,
    fit: "FitSettings",
    *,
    default_trust: float = DEFAULT_TRUST,
    start: "WarmStart | None" = None,
    make_logger: "Callable[[int], Logger | None]" = lambda _: None,
    on_fold: "Callable[[FoldReport], None]" = lambda _: None,
) -> "tuple[Recommender, list[FoldReport]]":
    """Fit networks and the recommender around them.

    Args:
        pool: Tasks on the configurations that are recommended from.
        trials: The same tasks with every trial, which the networks learn from.
        settings: How the recommender's parts work together.
        fit: How the networks are trained.
        default_trust: Weight of their prediction where no other one is clearly better on meta-validation families.
        start: See `fit_surrogate`, as the next two.
        make_logger: Returns the Lightning logger of a fold, or None.
        on_fold: Called when a fold is done.
    """
    from metaflow_hpo.surrogate.fit import fit_surrogate

    # Where performances have no bounds, or others, networks tell places between worst and best, not performances.
    is_unit = settings.described if pool.metric is None else pool.metric.bounds == UNIT
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
        surrogate, reports = fit_surrogate(
            trials,
            pool.learner or "unnamed",
            fit if is_unit else replace(fit, ends_epochs=0),
            Path(folder),
            start=start,
            make_logger=make_logger,
            on_fold=on_fold,
        )
    recommender = Recommender(pool.past_tasks(), settings, surrogate, learner=pool.learner, metric=pool.metric)
    if not surrogate.knows_ends:
        recommender = replace(recommender, trust=choose_trust(pool, surrogate, settings, default_trust))
        interval = calibrate(recommender)
        return replace(recommender, interval=interval, tuning=learn_tuning(recommender)), reports
    evaluation = evaluate_leave_family_out(pool, surrogate, settings=settings, default_trust=default_trust)
    recommender = replace(recommender, trust=evaluation.trust)
    interval = fit_interval(nonconformity(pool, surrogate, evaluation.orders))
    interval = with_observed(interval, measure_replayed(recommender))
    return replace(recommender, interval=interval, tuning=learn_tuning(recommender)), reports
