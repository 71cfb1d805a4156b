"""Landmarks: how well cheap learners do on a task, measured on its training rows alone.

They are probes, not baselines. Each sees at most 2,000 rows, two thirds to learn from and one third to be scored on,
and three of them are networks that train for a few epochs: how fast a network starts at a low, a middle and a high
learning rate says a lot about the learning rates that will do well.

References:
    Pfahringer, Bensusan and Giraud-Carrier 2000, Meta-learning by landmarking various learning algorithms.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.modalities.table.landmark_names import EPOCHS, LANDMARKS, LEARNING_RATES, SIMPLE
from metaflow_hpo.modalities.table.landmark_networks import train_network
from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler
from metaflow_hpo.modalities.table.scores import score

MAX_ROWS = 2_000
"""Rows the probes see at most."""


def measure_landmarks(features: pd.DataFrame, target: NDArray[Any], kind: str) -> dict[str, float]:
    """Score the cheap learners.

    Args:
        features: Training rows in canonical order, `(n, columns)`; the first `MAX_ROWS` are used.
        target: Class numbers or regression target of these rows, `(n,)`.
        kind: Kind of the task.

    Returns:
        For each of `LANDMARKS` balanced accuracy or R2 (floored at 0) on the held-out third, in `[0, 1]`; what
        predicting nothing gives, 1 / classes or 0, where a network diverged.
    """
    fold = make_holdout(features[:MAX_ROWS], target[:MAX_ROWS], kind == "regression")
    if len(fold.y_valid) == 0 or (fold.classes == 1):
        return dict.fromkeys(LANDMARKS, 0.0)
    return {name: _measure_simple(name, fold) for name in SIMPLE} | _measure_networks(fold)


def make_holdout(features: pd.DataFrame, target: NDArray[Any], regression: bool) -> Fold:
    """Hold every third row of each class out (of all rows for regression), and prepare both parts on the larger one.

    Args:
        features: `(n, columns)`.
        target: `(n,)`.
        regression: The target is a number.

    Returns:
        A fold whose classes are numbered 0.. among those that occur; a class of one or two rows is all in training.
    """
    labels = np.zeros(len(target), np.int64) if regression else np.unique(target, return_inverse=True)[1]
    by_class = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_class], labels[by_class])
    held_out = np.zeros(len(target), bool)
    held_out[by_class] = (np.arange(len(target)) - starts) % 3 == 2
    train, valid = features[~held_out], features[held_out]
    preprocessor = Preprocessor.fit(train)
    x = preprocessor.transform(train), preprocessor.transform(valid)
    if not regression:
        return Fold(x[0], labels[~held_out], x[1], labels[held_out], int(labels.max(initial=0)) + 1)
    # R2 has no units: scaled first, so that squares of 1e300 stay finite.
    numbers = target.astype(np.float64) / (float(np.abs(target).max()) or 1.0)
    scaler = TargetScaler.fit(numbers[~held_out])
    y = scaler.transform(numbers)
    return Fold(x[0], y[~held_out], x[1], y[held_out], 0, scaler.scale)


def _measure_simple(name: str, fold: Fold) -> float:
    from sklearn.exceptions import ConvergenceWarning

    model = _models(fold.classes == 0)[name]()
    with warnings.catch_warnings():
        # A probe may stop early: that is part of being cheap.
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        model.fit(fold.x_train.astype(np.float64), fold.y_train)
    predictions = model.predict(fold.x_valid.astype(np.float64))
    return _score(fold, predictions if fold.classes == 0 else np.eye(fold.classes)[predictions])


def _models(regression: bool) -> dict[str, Callable[[], Any]]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    neighbour = KNeighborsRegressor if regression else KNeighborsClassifier
    tree = DecisionTreeRegressor if regression else DecisionTreeClassifier
    return {
        "nearest_neighbour": lambda: neighbour(n_neighbors=1, algorithm="brute"),
        "linear": lambda: Ridge(alpha=1.0, solver="cholesky") if regression else LogisticRegression(max_iter=100),
        "stump": lambda: tree(max_depth=1, random_state=0),
    }


def _measure_networks(fold: Fold) -> dict[str, float]:
    nothing = 1 / fold.classes if fold.classes else 0.0
    measured: dict[str, float] = {}
    for name, rate in LEARNING_RATES.items():
        curve = train_network(fold, rate, EPOCHS)
        first, last = (max(curve[0], 0.0), max(curve[-1], 0.0)) if len(curve) == EPOCHS else (nothing, nothing)
        measured |= {f"network_{name}_1_epoch": first, f"network_{name}_{EPOCHS}_epochs": last}
    return measured


def _score(fold: Fold, predictions: NDArray[Any]) -> float:
    if fold.classes == 0:
        return max(score("regression", fold.y_valid, predictions)["r2"], 0.0)
    return score("multiclass", fold.y_valid, predictions)["balanced_accuracy"]
