"""Meta-features of tables, from their training rows only.

Rows and columns are put into an order that depends on their content alone before anything is sampled or summed, so a
file with shuffled rows, or shuffled or renamed columns, has the same meta-features.

References:
    Vanschoren 2018, Meta-learning: a survey, arXiv:1810.03548, section 3.1.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.meta_features import Columns, MetaFeature, MetaFeatureGroup, Role
from metaflow_hpo.modalities.table.canonical_order import put_in_canonical_order
from metaflow_hpo.modalities.table.landmark_names import EPOCHS, LANDMARKS, LEARNING_RATES
from metaflow_hpo.modalities.table.landmarks import MAX_ROWS as LANDMARK_ROWS
from metaflow_hpo.modalities.table.landmarks import measure_landmarks
from metaflow_hpo.modalities.table.metrics import curve_metric
from metaflow_hpo.modalities.table.preprocessing import Preprocessor
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.space import Array
from metaflow_hpo.tables import META_PREFIX
from metaflow_hpo.task import TABLE

MAX_ROWS = 4_000
"""Rows that moments, correlations and components are computed on."""
MAX_COLUMNS = 200
"""Columns that moments, correlations and components are computed on."""

_STRONG_CORRELATION = 0.8
_LAST = f"{EPOCHS}_epochs"

_DESCRIPTIONS = {
    "log_rows": "log10 of the number of training rows",
    "log_columns": "log10 of the number of feature columns",
    "log_encoded_columns": "log10 of the number of columns a network sees after one-hot encoding",
    "log_rows_per_encoded_column": "log10 of training rows per encoded column",
    "is_regression": "1 for regression, 0 for classification",
    "log_classes": "log10 of the number of classes; 0 for regression",
    "class_entropy": "entropy of the classes divided by its maximum, in [0, 1]; 0 for regression",
    "majority_fraction": "share of the most frequent class; 0 for regression",
    "minority_fraction": "share of the rarest class; 0 for regression",
    "log_imbalance": "log10 of most frequent over rarest class; 0 for regression",
    "missing_fraction": "share of missing cells",
    "missing_columns_fraction": "share of columns with a missing value",
    "categorical_fraction": "share of columns that are not numeric",
    "mean_log_cardinality": "mean over categorical columns of log10 of the number of categories",
    "max_log_cardinality": "maximum of the same",
    "skewness_mean": "mean over numeric columns of arcsinh(skewness)",
    "skewness_sd": "standard deviation of the same",
    "skewness_max": "largest absolute value of the same",
    "kurtosis_mean": "mean over numeric columns of arcsinh(excess kurtosis)",
    "kurtosis_sd": "standard deviation of the same",
    "kurtosis_max": "maximum of the same",
    "zero_fraction": "share of zeros among the numbers of numeric columns",
    "whole_fraction": "share of numeric columns that hold whole numbers only",
    "outlier_fraction": "share of numbers more than 1.5 interquartile ranges outside the quartiles of their column",
    "correlation_mean": "mean absolute correlation between encoded columns",
    "correlation_strong_fraction": f"share of pairs of encoded columns correlated by more than {_STRONG_CORRELATION}",
    "target_correlation_mean": "mean correlation of encoded columns with the target (correlation ratio for classes)",
    "target_correlation_max": "maximum of the same",
    "target_skewness": "arcsinh(skewness) of the target; 0 for classification",
    "target_kurtosis": "arcsinh(excess kurtosis) of the target; 0 for classification",
    "pca_first_fraction": "share of the variance of the encoded columns on the first principal component",
    "pca_95_fraction": "principal components needed for 95 % of the variance, as a share of the encoded columns",
}

_DIFFERENCES = {
    "neighbour_minus_linear": ("nearest_neighbour", "linear"),
    "linear_minus_stump": ("linear", "stump"),
    "network_minus_linear": (f"network_middle_{_LAST}", "linear"),
    "network_fast_minus_slow": (f"network_fast_{_LAST}", f"network_slow_{_LAST}"),
    "network_gain": (f"network_middle_{_LAST}", "network_middle_1_epoch"),
}


def _describe_landmarks() -> dict[str, str]:
    metric = "balanced accuracy or R2 on held-out training rows"
    described = {
        "nearest_neighbour": f"one nearest neighbour: {metric}",
        "linear": f"logistic or ridge regression: {metric}",
        "stump": f"a tree with one split: {metric}",
    }
    for name, rate in LEARNING_RATES.items():
        described[f"network_{name}_1_epoch"] = f"a default network at learning rate {rate:g} after 1 epoch: {metric}"
        described[f"network_{name}_{_LAST}"] = f"the same after {EPOCHS} epochs"
    described |= {name: f"landmark {a} minus landmark {b}" for name, (a, b) in _DIFFERENCES.items()}
    return {f"landmark_{name}": text for name, text in described.items()}


_SIZES = ("log_rows", "log_encoded_columns", "log_rows_per_encoded_column", "log_classes")
_PLAIN_LANDMARK = "landmark_nearest_neighbour"
"""Where rows repeat, the nearest neighbour is better than anything that is learned."""


def _role(name: str) -> Role:
    if name in _SIZES:
        return "size"
    if name == "is_regression":
        return "chance"
    measured = name.removeprefix("landmark_")
    return "landmark" if measured in LANDMARKS and measured != name != _PLAIN_LANDMARK else "plain"


def measure(data: TableData, *, landmarks: bool = True) -> dict[str, float]:
    """Compute the meta-features of a table.

    Args:
        data: The task; its test rows are not looked at.
        landmarks: Measure the landmarks too, which costs about a second.

    Returns:
        Finite values by name, in order, 0 where one does not apply; without those that start with `landmark_` where
        `landmarks` is False.
    """
    features, target = put_in_canonical_order(data.train_features, data.train_target)
    regression = data.task.is_regression
    sample, sample_target = features[:MAX_ROWS], target[:MAX_ROWS]
    encoded = Preprocessor.fit(sample).transform(sample)  # (n, D)
    described = {
        **_describe_size(features, encoded.shape[1]),
        "is_regression": float(regression),
        **_describe_classes(target, data.task.classes if not regression else 0),
        **_describe_columns(features),
        **_describe_numbers(sample),
        **_describe_relations(_limit_columns(encoded), sample_target, regression),
    }
    if landmarks:
        measured = measure_landmarks(features, target, data.task.kind)
        measured |= {name: measured[a] - measured[b] for name, (a, b) in _DIFFERENCES.items()}
        described |= {f"landmark_{name}": value for name, value in measured.items()}
    return {name: float(described[name]) for name in TABLE_GROUP.features if name in described}


def _guess(columns: Columns) -> Array | None:
    """Return the performance of guessing: balanced accuracy, or R2."""
    if "log_classes" not in columns:
        return None
    chance = 10.0 ** -columns["log_classes"]
    return np.where(columns["is_regression"] > 0.5, 0.0, chance) if "is_regression" in columns else chance


def _count_rows_of_class(columns: Columns) -> Array | None:
    if "log_rows" not in columns or "log_classes" not in columns:
        return None
    return (columns["log_rows"] - columns["log_classes"])[:, None]


_NEEDED = ("log_rows", "is_regression", "log_classes", "minority_fraction")
_HELD_OUT = 3
"""Landmarks are scored on every third row."""
_ERRORS = 3.0
"""Standard errors above guessing that the best of nine landmarks must reach."""
_R2_ROWS = 20.0
"""The best R2 of nine landmarks on noise is below this over the held-out rows."""


def _find_nothing(columns: Columns) -> NDArray[np.bool_] | None:
    """Tell whether the best landmark may be guessing."""
    scores = [columns[name] for name in map("landmark_{}".format, LANDMARKS) if name in columns]
    if not scores or any(name not in columns for name in _NEEDED):
        return None
    best = np.max(scores, axis=0)
    rows = np.minimum(10.0 ** columns["log_rows"], LANDMARK_ROWS) / _HELD_OUT
    classes = np.maximum(np.round(10.0 ** columns["log_classes"]), 2)
    chance = 1.0 / classes
    # Balanced accuracy is a mean of recalls, each as sure as its class has rows: the rarest, and the others alike.
    rarest = np.minimum(np.maximum(columns["minority_fraction"], 1.0 / rows), chance)
    spread = (1.0 / rarest + (classes - 1) ** 2 / (1.0 - rarest)) / classes**2
    highest = chance + _ERRORS * np.sqrt(chance * (1.0 - chance) * spread / rows)
    return np.asarray(best < np.where(columns["is_regression"] == 1.0, _R2_ROWS / rows, highest))


def _tell_by_one(columns: Columns) -> Array | None:
    """Return the best correlation with a number; for classes the stump: what follows from a class does not tell it."""
    if not {"is_regression", "target_correlation_max", "landmark_stump"} <= set(columns):
        return None
    return np.where(columns["is_regression"] > 0.5, columns["target_correlation_max"], columns["landmark_stump"])


def _choose_metric(values: Mapping[str, float]) -> Metric | None:
    if not math.isfinite(values.get("is_regression", math.nan)):
        return None
    return curve_metric("regression" if values["is_regression"] > 0.5 else "multiclass")


TABLE_GROUP = MetaFeatureGroup(
    name="table",
    version=1,
    features={name: MetaFeature(text, _role(name)) for name, text in (_DESCRIPTIONS | _describe_landmarks()).items()},
    modalities=(TABLE,),
    measure=measure,
    prefix=META_PREFIX,
    chance=_guess,
    more_sizes=_count_rows_of_class,
    finds_nothing=_find_nothing,
    told_by_one=_tell_by_one,
    metric=_choose_metric,
)
"""Every number that describes a table, landmarks last; what ships has columns without the name of a group."""


def _limit_columns(matrix: NDArray[Any]) -> Array:
    if matrix.shape[1] <= MAX_COLUMNS:
        return matrix.astype(np.float64)
    return matrix[:, np.linspace(0, matrix.shape[1] - 1, MAX_COLUMNS).astype(int)].astype(np.float64)


def _describe_size(features: pd.DataFrame, encoded_columns: int) -> dict[str, float]:
    rows, encoded = np.log10(max(len(features), 1)), np.log10(max(encoded_columns, 1))
    return {
        "log_rows": rows,
        "log_columns": np.log10(max(features.shape[1], 1)),
        "log_encoded_columns": encoded,
        "log_rows_per_encoded_column": rows - encoded,
    }


def _describe_classes(target: NDArray[Any], classes: int) -> dict[str, float]:
    names = ("log_classes", "class_entropy", "majority_fraction", "minority_fraction", "log_imbalance")
    if classes == 0:
        return dict.fromkeys(names, 0.0)
    counts = np.unique(target, return_counts=True)[1]
    shares = counts / counts.sum()
    entropy = -float(np.sum(shares * np.log(shares))) / np.log(max(classes, 2))
    imbalance = np.log10(shares.max() / shares.min())
    return dict(zip(names, (np.log10(classes), entropy, shares.max(), shares.min(), imbalance), strict=True))


def _describe_columns(features: pd.DataFrame) -> dict[str, float]:
    missing = features.isna().to_numpy()
    texts = [features.iloc[:, c] for c in range(features.shape[1]) if not is_numeric_dtype(features.iloc[:, c])]
    cardinalities = np.log10([max(column.nunique(), 1) for column in texts])
    return {
        "missing_fraction": missing.mean(),
        "missing_columns_fraction": missing.any(axis=0).mean(),
        "categorical_fraction": len(texts) / features.shape[1],
        "mean_log_cardinality": cardinalities.mean() if texts else 0.0,
        "max_log_cardinality": cardinalities.max(initial=0.0),
    }


def _describe_numbers(sample: pd.DataFrame) -> dict[str, float]:
    numeric = sample.loc[:, [is_numeric_dtype(dtype) for dtype in sample.dtypes]]
    matrix = _limit_columns(numeric.to_numpy(dtype=np.float64, na_value=np.nan))  # (n, C)
    present = [column[np.isfinite(column)] for column in matrix.T]
    # A column without two different numbers has no shape.
    kept = [column for column in present if column.size and column.min() < column.max()]
    moments = np.array([_moments(column) for column in kept]).reshape(len(kept), 2)
    cells = max(sum(column.size for column in present), 1)
    described = dict.fromkeys((f"{m}_{s}" for m in ("skewness", "kurtosis") for s in ("mean", "sd", "max")), 0.0)
    if kept:
        for name, values in zip(("skewness", "kurtosis"), moments.T, strict=True):
            largest = np.abs(values).max() if name == "skewness" else values.max()
            described |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std(), f"{name}_max": largest}
    return described | {
        "zero_fraction": sum(np.count_nonzero(column == 0) for column in present) / cells,
        "whole_fraction": sum(bool(np.all(column == np.rint(column))) for column in kept) / max(len(kept), 1),
        "outlier_fraction": sum(_count_outliers(column) for column in kept) / cells,
    }


def _moments(column: Array) -> tuple[float, float]:
    """Return arcsinh of skewness and of excess kurtosis; 0 where the column is constant up to rounding."""
    scaled = column / np.abs(column).max()  # first, so that squares of 1e300 stay finite
    centred = scaled - scaled.mean()
    spread = centred.std()
    if spread < 1e-12:
        return 0.0, 0.0
    z = centred / spread
    return float(np.arcsinh(np.mean(z**3))), float(np.arcsinh(np.mean(z**4) - 3))


def _count_outliers(column: Array) -> int:
    scaled = column / np.abs(column).max()
    low, high = np.quantile(scaled, [0.25, 0.75])
    margin = 1.5 * (high - low)
    return int(np.count_nonzero((scaled < low - margin) | (scaled > high + margin)))


def _describe_relations(encoded: Array, target: NDArray[Any], regression: bool) -> dict[str, float]:
    centred = encoded - encoded.mean(axis=0)
    spread = centred.std(axis=0)
    z = centred[:, spread > 1e-9] / spread[spread > 1e-9]  # (n, D)
    with_target = _correlate_with_target(z, target, regression)
    skewness, kurtosis = _moments(_as_column(target)) if regression else (0.0, 0.0)
    pairs = np.abs(z.T @ z / len(z))[np.triu_indices(z.shape[1], 1)]
    first, needed = _share_components(centred)
    return {
        "correlation_mean": pairs.mean() if pairs.size else 0.0,
        "correlation_strong_fraction": np.mean(pairs > _STRONG_CORRELATION) if pairs.size else 0.0,
        "target_correlation_mean": with_target.mean() if with_target.size else 0.0,
        "target_correlation_max": with_target.max(initial=0.0),
        "target_skewness": skewness,
        "target_kurtosis": kurtosis,
        "pca_first_fraction": first,
        "pca_95_fraction": needed,
    }


def _as_column(target: NDArray[Any]) -> Array:
    column = target.astype(np.float64)
    return column if np.any(column) else column + 1.0


def _correlate_with_target(z: Array, target: NDArray[Any], regression: bool) -> Array:
    """Return absolute correlation, or the correlation ratio for classes, of standardised columns `(n, D)`, `(D,)`."""
    if regression:
        column = _as_column(target)
        scaled = column / np.abs(column).max()
        centred = scaled - scaled.mean()
        spread = centred.std()
        return np.abs(z.T @ centred) / len(z) / spread if spread > 1e-12 else np.zeros(z.shape[1])
    classes, labels = np.unique(target, return_inverse=True)
    members = np.eye(len(classes))[labels]  # (n, classes)
    sums = members.T @ z  # (classes, D)
    between = (sums**2 / members.sum(axis=0)[:, None]).sum(axis=0) / len(z)
    return np.asarray(np.sqrt(np.clip(between, 0.0, 1.0)))


def _share_components(centred: Array) -> tuple[float, float]:
    """Return the first component's share of the variance, and the share of components that hold 95 % of it."""
    variances = np.linalg.eigvalsh(centred.T @ centred / len(centred))[::-1] if centred.shape[1] else np.zeros(0)
    total = variances.sum()
    if not total > 1e-12:
        return 0.0, 0.0
    cumulated = np.cumsum(np.clip(variances, 0.0, None)) / total
    return float(cumulated[0]), float(np.searchsorted(cumulated, 0.95 - 1e-9) + 1) / len(variances)
