"""Folds of a table: cross-validation, out-of-fold performance, and the refit scored on the test rows.

The last fold is not one of cross-validation but the refit: it trains on all training rows and predicts the test rows.
Its score is reported as test performance, and nothing is ever selected on it.
"""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import Fold, FoldOutcome, average_curves
from metaflow_hpo.learners.learner import Outcome
from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler
from metaflow_hpo.modalities.table.scores import score
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.task import Task

_TENTHS = 10


def count_folds(rows: int) -> int:
    """Return the number of cross-validation folds for a number of training rows: 5 below 500, 3 below 5,000, else 2."""
    return 5 if rows < 500 else 3 if rows < 5000 else 2


def make_folds(data: TableData, seed: int = 0) -> list[Fold]:
    """Split the training rows into cross-validation folds, and add the fold of the test rows as the last one.

    Classes are spread evenly over the folds; a regression target is spread by quantiles. Rows with equal features go
    to the same fold, as they do to the same side of the test split. Columns and target are prepared on the training
    rows of each fold.

    Args:
        data: The task with its rows in canonical order, on which the folds depend.
        seed: Seed of the assignment of rows to folds.

    Returns:
        `count_folds(n) + 1` folds.
    """
    features, target = data.train_features, data.train_target
    groups = pd.factorize(pd.util.hash_pandas_object(features, index=False))[0]  # numbered as they appear
    number = assign_folds(target, count_folds(len(target)), data.task.is_regression, seed, groups)
    splits = [
        (features[number != k], target[number != k], features[number == k], target[number == k])
        for k in range(int(number.max()) + 1)
    ]
    splits.append((features, target, data.test_features, data.test_target))
    return [_prepare_fold(data.task, number, *split) for number, split in enumerate(splits)]


def assign_folds(
    target: NDArray[np.generic],
    folds: int,
    regression: bool,
    seed: int,
    groups: NDArray[np.intp] | None = None,
) -> NDArray[np.int64]:
    """Return the fold number of each row, `(N,)`, with classes or quantiles of the target spread evenly.

    Args:
        target: `(N,)`.
        folds: Number of folds.
        regression: Whether the target is a number rather than a class.
        seed: Seed of the assignment.
        groups: `(N,)` numbers from 0; rows of a group go to the same fold, unless a fold would then be empty.
    """
    if groups is not None and groups.max() + 1 < len(groups):
        number = _assign_groups(target, folds, regression, seed, groups)
        if len(np.unique(number)) == folds:
            return number
    rng = np.random.default_rng(seed)
    ranked = np.lexsort((rng.permutation(len(target)), target))
    dealt = np.arange(len(target)) % folds
    if regression:  # neighbours in the target go to different folds, in random order, or fold 0 would hold the lowest
        blocks = -(-len(target) // folds)
        dealt = rng.permuted(np.tile(np.arange(folds), (blocks, 1)), axis=1).ravel()[: len(target)]
    number = np.empty(len(target), np.int64)
    number[ranked] = dealt
    return number


def _assign_groups(
    target: NDArray[np.generic], folds: int, regression: bool, seed: int, groups: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Lay the groups of each stratum end to end, in random order, and cut the line into folds of equal length."""
    rng = np.random.default_rng(seed)
    _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    # A group belongs to the class of its first row, or to the tenth of the target in which that lies.
    ranks = np.argsort(np.argsort(target[first], kind="stable"), kind="stable")
    strata = ranks * _TENTHS // len(first) if regression else target[first].astype(np.int64)
    order = np.lexsort((rng.permutation(len(first)), strata))
    stratum = np.unique(strata[order], return_inverse=True)[1]
    total = np.bincount(stratum, weights=sizes[order])
    middle = np.cumsum(sizes[order]) - sizes[order] / 2 - (np.cumsum(total) - total)[stratum]
    # Each stratum starts with another fold, or the only group of a small class would always be in the middle one.
    shift = rng.integers(folds, size=len(total))[stratum]
    fold_of_group = np.empty(len(first), np.int64)
    fold_of_group[order] = (np.floor(middle / total[stratum] * folds).astype(np.int64) + shift) % folds
    return fold_of_group[groups]


class _FoldMemory:
    """The folds of tasks that are in use, so that a search of many calls prepares the rows once."""

    def __init__(self) -> None:
        self._folds: dict[int, list[Fold]] = {}

    def get(self, data: TableData) -> list[Fold]:
        """Return the folds of these very rows."""
        name = id(data)
        if name not in self._folds:
            self._folds[name] = make_folds(data)
            # An id is given again to another object: forget it with this one.
            weakref.finalize(data, self._folds.pop, name, None)
        return self._folds[name]


prepare_folds = _FoldMemory().get
"""Return what `make_folds` makes of a task, made once for as long as its rows are in memory."""


def _prepare_fold(
    task: Task,
    number: int,
    train: pd.DataFrame,
    y_train: NDArray[np.generic],
    valid: pd.DataFrame,
    y_valid: NDArray[np.generic],
) -> Fold:
    preprocessor = Preprocessor.fit(train)
    x_train, x_valid = preprocessor.transform(train), preprocessor.transform(valid)
    if not task.is_regression:
        return Fold(x_train, y_train.astype(np.int64), x_valid, y_valid.astype(np.int64), task.classes, number=number)
    scaler = TargetScaler.fit(y_train.astype(np.float64))
    y = scaler.transform(y_train.astype(np.float64)), scaler.transform(y_valid.astype(np.float64))
    return Fold(x_train, y[0], x_valid, y[1], 0, scaler.scale, number)


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
