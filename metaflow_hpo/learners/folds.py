"""Folds of a task with arrays: cross-validation, out-of-fold performance, and the refit scored on the test rows.

The last fold is not one of cross-validation but the refit: it trains on all training rows and predicts the test rows.
Its score is reported as test performance, and nothing is ever selected on it.
"""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np

from metaflow_hpo.learners.fold import FoldOutcome, average_curves
from metaflow_hpo.learners.learner import Outcome
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.modalities.registry import get_array_modality
from metaflow_hpo.modalities.table.scores import score
from metaflow_hpo.task import Task, TaskData


def make_folds(data: TaskData, seed: int = 0) -> list[Fold]:
    """Return the folds of cross-validation, and the fold of the test rows as the last one.

    Args:
        data: The task with its items in canonical order, on which the folds depend.
        seed: Seed of the assignment of rows to folds.
    """
    modality = get_array_modality(data.task.modality)
    splits = modality.split(data, seed)
    return [modality.prepare(data, split, number) for number, split in enumerate([*splits.validation, splits.test])]


def make_test_fold(data: TaskData) -> Fold:
    """Return the last of the folds alone: all training rows, and the test rows."""
    modality = get_array_modality(data.task.modality)
    splits = modality.split(data)
    return modality.prepare(data, splits.test, len(splits.validation))


class _FoldMemory:
    """The folds of tasks that are in use, so that a search of many calls prepares the rows once."""

    def __init__(self) -> None:
        self._folds: dict[int, list[Fold]] = {}

    def get(self, data: TaskData) -> list[Fold]:
        """Return the folds of these very rows."""
        name = id(data)
        if name not in self._folds:
            self._folds[name] = make_folds(data)
            # An id is given again to another object: forget it with this one.
            weakref.finalize(data, self._folds.pop, name, None)
        return self._folds[name]


prepare_folds = _FoldMemory().get
"""Return what `make_folds` makes of a task, made once for as long as its rows are in memory."""


def cross_validate(task: Task, folds: Sequence[Fold], outcomes: Sequence[FoldOutcome]) -> Outcome:
    """Return what the outcomes on all folds, or on all but the refit, come to.

    Args:
        task: The task.
        folds: All of its folds.
        outcomes: One a fold, in order.
    """
    count = len(folds) - 1
    duration = sum(outcome.duration_s for outcome in outcomes)
    if outcomes[0].stopped:
        curve, reason = _average_curves(outcomes), outcomes[0].reason
        return Outcome(learning_curve=curve, duration_s=duration, reason=reason, stopped=True)
    failed = [(number, outcome.reason) for number, outcome in enumerate(outcomes) if outcome.reason]
    if failed:
        number, reason = failed[0]
        where = f"{reason} (in fold {number + 1} of {count})" if number < count else _describe_refit(outcomes[number])
        return Outcome(duration_s=duration, reason=where)
    scores = [_score_fold(task, fold, outcome) for fold, outcome in zip(folds, outcomes, strict=False)]
    validated, refitted = scores[:count], scores[count:]
    return Outcome(
        performance=float(np.mean([_measure(task, fold) for fold in validated])),
        test_performance=_measure(task, refitted[0]) if refitted else None,
        scores=_average_scores(validated) | (_name_test_scores(refitted[0]) if refitted else {}),
        learning_curve=_average_curves(outcomes[:count]),
        duration_s=duration,
    )


def score_refit(task: Task, fold: Fold, outcome: FoldOutcome) -> Outcome:
    """Return what the training on all training rows came to on the test rows."""
    if outcome.reason:
        return Outcome(duration_s=outcome.duration_s, reason=_describe_refit(outcome))
    scores = _score_fold(task, fold, outcome)
    return Outcome(
        test_performance=_measure(task, scores),
        scores=_name_test_scores(scores),
        duration_s=outcome.duration_s,
    )


def _average_curves(outcomes: Sequence[FoldOutcome]) -> tuple[float, ...]:
    return tuple(average_curves(np.array([outcome.learning_curve for outcome in outcomes], np.float64)).tolist())


def _score_fold(task: Task, fold: Fold, outcome: FoldOutcome) -> dict[str, float]:
    # Scaled, not shifted, back to target units: R2 and RMSE do not see a shift.
    scale = fold.target_scale
    return score(task.kind, fold.y_valid * scale if task.is_regression else fold.y_valid, outcome.predictions * scale)


def _measure(task: Task, scores: Mapping[str, float]) -> float:
    return task.metric.orient(scores[task.metric.name])


def _average_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([fold[name] for fold in scores])) for name in scores[0]}


def _name_test_scores(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"test_{name}": value for name, value in scores.items()}


def _describe_refit(outcome: FoldOutcome) -> str:
    return f"{outcome.reason} (on the refit)"
