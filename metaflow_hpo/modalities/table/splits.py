"""Folds of a table, and its rows as arrays."""

import numpy as np
import pandas as pd

from metaflow_hpo.modalities.modality import Fold, Split, Splits
from metaflow_hpo.modalities.splits import split_into_folds
from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler
from metaflow_hpo.modalities.table.table_data import TableData


def split_table(data: TableData, seed: int = 0) -> Splits:
    """Return the folds of a table; rows with equal features go to the same one, as they do in the test split."""
    hashes = pd.util.hash_pandas_object(data.train_features, index=False)
    groups = pd.factorize(hashes)[0]  # numbered as they appear
    return split_into_folds(data.target, data.is_test, regression=data.task.is_regression, seed=seed, groups=groups)


def prepare_split(data: TableData, split: Split, number: int = 0) -> Fold:
    """Return the arrays of a split, with columns and target prepared on its training rows."""
    train, valid = data.features.iloc[split.train], data.features.iloc[split.valid]
    y_train, y_valid = data.target[split.train], data.target[split.valid]
    preprocessor = Preprocessor.fit(train)
    x_train, x_valid = preprocessor.transform(train), preprocessor.transform(valid)
    if not data.task.is_regression:
        classes = data.task.classes
        return Fold(x_train, y_train.astype(np.int64), x_valid, y_valid.astype(np.int64), classes, number=number)
    scaler = TargetScaler.fit(y_train.astype(np.float64))
    y = scaler.transform(y_train.astype(np.float64)), scaler.transform(y_valid.astype(np.float64))
    return Fold(x_train, y[0], x_valid, y[1], 0, scaler.scale, number)
