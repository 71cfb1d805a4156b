"""What tuning would have brought on past tasks: what earns the first place, and whether forecasts come true."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.calibration import decide_forest_shares
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.tuning import TRIED, TuningEvidence, measure_first
from metaflow_hpo.space import Configuration

MIN_FAMILIES = 3
FORECASTS = ("task_id", "family", "expected_gain", "low", "high", "worth_it", "gain")


def learn_tuning(recommender: Recommender) -> TuningEvidence | None:
    """Ask for each past task who knows neither its family nor a network that was trained on it.

    Args:
        recommender: The recommender, whose past tasks are asked about.

    Returns:
        The evidence; None where the default is nobody's, or there are too few families.
    """
    if not _is_told(recommender):
        return None
    free = replace(recommender, settings=replace(recommender.settings, default_first=False), tuning=None)
    past, gains = recommender.past, recommender.gains
    errors: dict[str, float] = {}
    gain: dict[str, float] = {}
    for t, others in _others(free, decide_forest_shares(recommender)):
        row = past.meta_features[t]
        _, fallback = others.falls_back(row)
        first, errors[past.task_ids[t]] = measure_first(others.begin(row, is_novel=fallback), others.gains)
        unseen = gains.unseen[t, first]
        gain[past.task_ids[t]] = float(unseen if np.isfinite(unseen) else gains.validated[t, first])
    return TuningEvidence(errors, gain)


def measure_forecasts(recommender: Recommender) -> pd.DataFrame:
    """Compare what is forecast of tuning with what came out, on past tasks whose families the forecaster does not know.

    Args:
        recommender: The recommender, whose past tasks are asked about.

    Returns:
        One line a task: `task_id, family, expected_gain, low, high, worth_it, gain`, in units of performance; `gain` is
        what the best by validation of the default and the first recommendations gained on unseen rows. None where the
        default is nobody's, performances have no bounds, there are too few families, or unseen rows were not scored.
    """
    past, gains, bounds = recommender.past, recommender.gains, recommender.bounds
    lines: list[dict[str, Any]] = []
    if bounds is None or not _is_told(recommender):
        return pd.DataFrame(lines, columns=list(FORECASTS))
    for t, others in _others(recommender, decide_forest_shares(recommender)):
        row = past.meta_features[t]
        tried = others.choose(row, min(TRIED, len(past.configurations))).configurations
        forecast = others.forecast(row, tried)
        positions = others.find(tried)
        if forecast is None or not np.isfinite(gains.unseen[t, [past.default, *positions]]).all():
            continue
        came = float((bounds[1] - bounds[0]) * gains.of_best(positions)[t])
        named = {"task_id": past.task_ids[t], "family": past.families[t]}
        lines.append({**named, **{name: getattr(forecast, name) for name in FORECASTS[2:6]}, "gain": came})
    return pd.DataFrame(lines, columns=list(FORECASTS)).sort_values("task_id", ignore_index=True)


def recommend_held_out(
    recommender: Recommender, task_ids: Collection[str], count: int
) -> dict[str, tuple[Configuration, ...]]:
    """Return what is recommended for past tasks by who knows neither their family nor networks trained on it.

    Args:
        recommender: The recommender.
        task_ids: Past tasks.
        count: Recommendations of each.
    """
    past = recommender.past
    asked = _others(recommender, decide_forest_shares(recommender), task_ids)
    return {past.task_ids[t]: others.choose(past.meta_features[t], count).configurations for t, others in asked}


def summarise_forecasts(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Sum up what `measure_forecasts` returned: over all tasks, and over those that were told to tune, or not to.

    Returns:
        Lines `tasks_are, tasks, expected, gain, error` (the standard error of the mean), `covered, paid` (shares).
    """
    worth = found["worth_it"].astype(bool)
    groups = {"all": found, "told that it pays": found.loc[worth], "told that it hardly does": found.loc[~worth]}
    return [
        {
            "tasks_are": name,
            "tasks": len(rows),
            "expected": float(rows["expected_gain"].mean()),
            "gain": float(rows["gain"].mean()),
            "error": float(rows["gain"].std() / np.sqrt(len(rows))),
            "covered": float(((rows["gain"] >= rows["low"]) & (rows["gain"] <= rows["high"])).mean()),
            "paid": float((rows["gain"] > 0).mean()),
        }
        for name, rows in groups.items()
        if len(rows)
    ]


def measure_tuning(found: pd.DataFrame) -> dict[str, float]:
    """Return the numbers of a forecast by name, to be logged; none where nothing was measured."""
    names = {"expected": "expected", "gain": "came_out", "covered": "covered"}
    return {f"tuning/{name}": line[key] for line in summarise_forecasts(found)[:1] for key, name in names.items()}


def _is_told(recommender: Recommender) -> bool:
    return recommender.settings.default_first and len(set(recommender.past.families)) >= MIN_FAMILIES


def _others(
    recommender: Recommender, shares: dict[str, float], task_ids: Collection[str] | None = None
) -> Iterator[tuple[int, Recommender]]:
    """Yield the position of past tasks with who knows neither its family nor a network that was trained on it."""
    past = recommender.past
    wanted = [t for t, task_id in enumerate(past.task_ids) if task_ids is None or task_id in task_ids]
    for family in dict.fromkeys(past.families[t] for t in wanted):
        others = recommender.without(family)
        if family in shares:
            others = replace(others, forest=others.grow_forest(shares[family]))
        for t in wanted:
            if past.families[t] == family:
                yield t, others
