"""Evaluate configurations of a learner on a task: folds, out-of-fold performance, refit scored on the test rows.

The one thing to know: the last fold is not a cross-validation fold but the refit. It trains on all training rows and
predicts the test rows; its score is reported as test performance and nothing is ever selected on it, so a search may
leave it out and make it up for the best (`refit_trial`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.learner import Fold, Learner, Outcome, average_curves, check_request
from metaflow_hpo.learners.stages import Judge, JudgedLearner
from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler
from metaflow_hpo.modalities.table.scores import score
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import Task
from metaflow_hpo.trial import Trial

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


def evaluate_configurations(
    data: TableData,
    learner: Learner,
    configurations: Sequence[Configuration],
    *,
    strategy: str,
    seed: int,
    fidelity_epochs: int | None = None,
    folds: Sequence[Fold] | None = None,
    refit: bool = True,
    judge: Judge | None = None,
) -> Iterator[tuple[int, Trial]]:
    """Train configurations on every fold of a task and score them.

    Performance is the task's metric, oriented, on the validation rows of each fold and averaged over the folds. The
    learning curve is balanced accuracy or R2 (floored at 0) whatever the metric.

    Args:
        data: The task.
        learner: What is trained.
        configurations: Configurations of `learner.space`.
        strategy: Name of what proposed them; goes into the trials.
        seed: Seed of initialisation, mini-batch order and dropout.
        fidelity_epochs: Epochs; None for the full fidelity.
        folds: What `make_folds(data)` returned, to prepare the rows once for several calls.
        refit: Train on all training rows as well; without it trials have no test performance (NaN).
        judge: Stops what is not worth going on with, where the learner can; only without the refit, since no test row
            may decide.

    Returns:
        An iterator over `(position in configurations, trial)`, in the order in which configurations are finished.

    Raises:
        SearchSpaceMismatchError: If a configuration or the fidelity is outside the search space.
        MetaflowHPOError: If there is a judge and a refit.
    """
    if refit and judge is not None:
        raise MetaflowHPOError("A judge would see the test rows in the refit: pass refit=False.")
    epochs = learner.max_epochs if fidelity_epochs is None else fidelity_epochs
    chosen = check_request(learner.space, learner.max_epochs, configurations, epochs)
    prepared = make_folds(data) if folds is None else folds
    wanted = prepared if refit else prepared[:-1]

    def evaluate() -> Iterator[tuple[int, Trial]]:
        if judge is not None and isinstance(learner, JudgedLearner):
            finished = learner.train_judged(wanted, chosen, seed=seed, epochs=epochs, judge=judge)
        else:
            finished = learner.train(wanted, chosen, seed=seed, epochs=epochs)
        for index, outcomes in finished:
            common = (data.task.task_id, data.task.family, learner.name, chosen[index], strategy, seed, epochs)
            yield index, _make_trial(common, data.task, prepared, outcomes)

    return evaluate()


def refit_trial(data: TableData, learner: Learner, trial: Trial, folds: Sequence[Fold] | None = None) -> Trial:
    """Train the configuration of a trial on all training rows and add its test performance.

    Args:
        data: The task of the trial.
        learner: Its learner.
        trial: A trial that is ok and was evaluated without its refit.
        folds: What `make_folds(data)` returned.

    Returns:
        The trial as `evaluate_configurations` would have made it with its refit: failed where that fails.
    """
    fold = (make_folds(data) if folds is None else folds)[-1]
    [(_, [outcome])] = learner.train([fold], [trial.configuration], seed=trial.seed, epochs=trial.fidelity_epochs)
    duration = trial.duration_s + outcome.duration_s
    if outcome.reason:
        return replace(
            trial,
            performance=math.nan,
            duration_s=duration,
            status="failed",
            reason=_describe_refit(outcome),
            scores={},
            learning_curve=(),
        )
    scores = _score_fold(data.task, fold, outcome)
    return replace(
        trial,
        test_performance=_measure(data.task, scores),
        duration_s=duration,
        scores={**trial.scores, **_name_test_scores(scores)},
    )


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


def _make_trial(
    common: tuple[str, str, str, Configuration, str, int, int],
    task: Task,
    folds: Sequence[Fold],
    outcomes: Sequence[Outcome],
) -> Trial:
    """Make a trial of the outcomes on all folds, or on all but the refit."""
    count = len(folds) - 1
    duration = sum(outcome.duration_s for outcome in outcomes)
    if outcomes[0].stopped:
        curve = _average_curves(outcomes)
        return Trial(*common, math.nan, math.nan, duration, "stopped", outcomes[0].reason, learning_curve=curve)
    failed = [(number, outcome.reason) for number, outcome in enumerate(outcomes) if outcome.reason]
    if failed:
        number, reason = failed[0]
        where = f"{reason} (in fold {number + 1} of {count})" if number < count else _describe_refit(outcomes[number])
        return Trial(*common, math.nan, math.nan, duration, "failed", where)
    scores = [_score_fold(task, fold, outcome) for fold, outcome in zip(folds, outcomes, strict=False)]
    validated, refitted = scores[:count], scores[count:]
    return Trial(
        *common,
        performance=float(np.mean([_measure(task, fold) for fold in validated])),
        test_performance=_measure(task, refitted[0]) if refitted else math.nan,
        duration_s=duration,
        scores=_average_scores(validated) | (_name_test_scores(refitted[0]) if refitted else {}),
        learning_curve=_average_curves(outcomes[:count]),
    )


def _average_curves(outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    return tuple(average_curves(np.array([outcome.learning_curve for outcome in outcomes], np.float64)).tolist())


def _score_fold(task: Task, fold: Fold, outcome: Outcome) -> dict[str, float]:
    # Scaled, not shifted, back to target units: R2 and RMSE do not see a shift.
    scale = fold.target_scale
    return score(task.kind, fold.y_valid * scale if task.is_regression else fold.y_valid, outcome.predictions * scale)


def _measure(task: Task, scores: Mapping[str, float]) -> float:
    return task.metric.orient(scores[task.metric.name])


def _average_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([fold[name] for fold in scores])) for name in scores[0]}


def _name_test_scores(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"test_{name}": value for name, value in scores.items()}


def _describe_refit(outcome: Outcome) -> str:
    return f"{outcome.reason} (on the refit)"
