"""What a study of Optuna tells: what came of its trials, and what is being tried."""

import copy
import json
import math
import statistics
from collections.abc import Sequence
from datetime import datetime

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metaflow_hpo.adapters.past_trials.values import plain
from metaflow_hpo.space import Configuration

PLAN = "metaflow_hpo:plan"
"""Attribute of a trial that says what was chosen for it, for workers that choose at the same time."""


def all_trials(study: Study) -> list[FrozenTrial]:
    """Return all trials: under HyperbandPruner the study itself shows those of one bracket."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def with_end(study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> list[FrozenTrial]:
    """Return a study's trials with the end of one, which Optuna writes down after the sampler has heard of it."""
    ended = copy.copy(trial)
    ended.state, ended.values, ended.datetime_complete = state, values, datetime.now()
    return [ended if t.number == trial.number else t for t in all_trials(study)]


def read_told(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[tuple[Configuration, float]]:
    """Return finished trials and what they are worth, see `read_values`."""
    values, params = read_values(trials, direction), {trial.number: trial.params for trial in trials}
    return [({name: plain(v) for name, v in params[number].items()}, value) for number, value in values.items()]


def read_values(trials: Sequence[FrozenTrial], direction: StudyDirection) -> dict[int, float]:
    """Return what finished trials are worth by number, higher is better.

    A failed one counts as the worst, a pruned one as its last report, and as middling at best.
    """
    sign = -1.0 if direction == StudyDirection.MINIMIZE else 1.0
    final = {
        t.number: sign * t.value
        for t in trials
        if t.state == TrialState.COMPLETE and t.value is not None and math.isfinite(t.value)
    }
    if not final:
        return {}
    worst, middle = min(final.values()), statistics.median(final.values())
    found: dict[int, float] = {}
    for trial in trials:
        if not trial.state.is_finished() or not trial.params:
            continue
        found[trial.number] = final.get(trial.number, worst)
        reached = [v for v in trial.intermediate_values.values() if math.isfinite(v)]
        if trial.state == TrialState.PRUNED and reached:
            found[trial.number] = min(sign * reached[-1], middle)
    return found


def read_pending(trial: FrozenTrial) -> Configuration:
    """Return what a running or waiting trial tries, as far as it is known."""
    plan = json.loads(trial.system_attrs.get(PLAN, "{}"))
    known = {**plan, **trial.system_attrs.get("fixed_params", {}), **trial.params}
    return {name: plain(value) for name, value in known.items()}
