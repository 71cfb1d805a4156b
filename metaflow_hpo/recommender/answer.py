"""The answer to a request for recommendations, as in the contract of the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metaflow_hpo.history import LOSS, Array
from metaflow_hpo.modalities.roles import Roles
from metaflow_hpo.recommender.explanation import explain, find_nearest
from metaflow_hpo.recommender.interval import IntervalScale
from metaflow_hpo.recommender.novelty import is_beyond
from metaflow_hpo.recommender.tuning import Forecast

if TYPE_CHECKING:
    from metaflow_hpo.recommender.recommender import Chosen, Recommender

NOVEL_WIDENING = 2.0
"""Factor of the intervals' width on a task unlike all past ones."""


def make_answer(
    recommender: "Recommender",
    row: Array,
    chosen: "Chosen",
    observed: int,
    forecast: Forecast | None = None,
    *,
    explained: bool = False,
) -> dict[str, Any]:
    """Return the answer, JSON-ready, performances in the metric's own units.

    Args:
        recommender: Who was asked.
        row: `(M,)` meta-features of the task, NaN where not known.
        chosen: What it chose.
        observed: How many trials of the task it knew.
        forecast: What tuning is expected to bring.
        explained: Add to the evidence what drives the first recommendation.
    """
    margins = _find_margins(recommender, chosen, observed)
    seconds = recommender.durations.predict(row, recommender.space.encode(chosen.configurations))
    gains = chosen.mean - chosen.default_mean
    lines = zip(chosen.configurations, chosen.mean, margins, gains, seconds, strict=True)
    evidence = {
        "nearest_tasks": _find_nearest(recommender, row),
        "trust_in_surrogate": recommender.trust if recommender.surrogate is not None else 0.0,
        "observed_trials": observed,
    }
    surrogate = recommender.surrogate
    if explained and surrogate is not None and surrogate.knows_ends and chosen.configurations:
        evidence |= explain(surrogate, row, recommender.distance.typical, chosen.configurations[0])
    is_named = recommender.surrogate is not None
    return {
        "learner": recommender.learner,
        "recommendations": [
            {
                "rank": rank,
                "configuration": dict(configuration),
                "performance": _describe_performance(recommender, row, mean, margin),
                "expected_gain_over_default": float(gain),
                "expected_duration_s": None if np.isnan(expected_s) else float(expected_s),
            }
            for rank, (configuration, mean, margin, gain, expected_s) in enumerate(lines, start=1)
        ],
        "tuning": None if forecast is None else forecast.to_json(name_metric(recommender, row)),
        "evidence": evidence,
        "novelty": {"percentile": chosen.percentile, "fallback": chosen.fallback},
        "lineage": {
            **recommender.lineage,
            **({} if is_named else {"content_sha256": recommender.content_sha256}),
        },
    }


def _find_margins(recommender: "Recommender", chosen: "Chosen", observed: int) -> Array | Sequence[None]:
    """Return half the width of each interval, None where nothing tells it."""
    if recommender.interval is None and recommender.bounds is None:
        return [None] * len(chosen.mean)
    scale = (recommender.interval or IntervalScale()).at(observed)
    return scale * (NOVEL_WIDENING if is_beyond(chosen.percentile) else 1.0) * chosen.spread


def _describe_performance(recommender: "Recommender", row: Array, mean: float, margin: float | None) -> dict[str, Any]:
    sign, bounds = recommender.sign, recommender.bounds
    low, high = (None, None) if margin is None else (mean - margin, mean + margin)
    if low is not None and high is not None:
        if bounds is not None:
            low, high = max(low, bounds[0]), min(high, bounds[1])
        low, high = sorted((float(sign * low), float(sign * high)))
    return {
        "metric": name_metric(recommender, row),
        "mean": float(sign * mean),
        "low": low,
        "high": high,
        "coverage": (recommender.interval or IntervalScale()).coverage,
    }


def name_metric(recommender: "Recommender", row: Array) -> str:
    """Return what performances of a task are called."""
    if recommender.metric is not None:
        is_unnamed_loss = recommender.metric == LOSS
        return f"{recommender.metric}, lower is better" if is_unnamed_loss else recommender.metric.name
    if not recommender.settings.described:
        return "performance"
    # What was learned to predict differs by the kind of task.
    metric = Roles.of(recommender.meta_feature_names).metric(row)
    return "performance" if metric is None else metric.name


def _find_nearest(recommender: "Recommender", row: Array) -> list[dict[str, Any]]:
    if not np.isfinite(row).any():
        return []
    distances, has_default = recommender.novelty.distances(row), recommender.settings.default_first
    return find_nearest(recommender.past, distances, has_default=has_default, sign=recommender.sign)
