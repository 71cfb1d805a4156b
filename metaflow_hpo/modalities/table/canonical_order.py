"""Put rows and columns into an order that depends on their content alone: the first rows are always the same sample.

The one thing to know: unlike the row order of a `TableData`, this one ignores the names and the order of the columns.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from metaflow_hpo.modalities.table.rows import mix


def put_in_canonical_order(features: pd.DataFrame, target: NDArray[Any]) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Sort columns and rows by hashes of their content.

    Args:
        features: `(n, columns)`, numbers or strings.
        target: `(n,)`.

    Returns:
        The same cells, in an order that depends neither on that of rows or columns nor on the columns' names.
    """
    hashed = [_hash_cells(features.iloc[:, column]) for column in range(features.shape[1])]
    # Two sums, each independent of the row order; `mix` keeps columns with the same values in other rows apart.
    keys = [(int(cells.sum(dtype=np.uint64)), int(mix(cells).sum(dtype=np.uint64))) for cells in hashed]
    order = sorted(range(len(hashed)), key=keys.__getitem__)
    rows = _hash_cells(pd.Series(target))
    for column, cells in enumerate(hashed):
        # Mixed with the column's key, or swapping the values of two columns would go unnoticed.
        rows = rows + mix(cells ^ np.uint64(keys[column][1]))
    ranked = np.argsort(rows, kind="stable")
    return features.iloc[ranked, order].reset_index(drop=True), target[ranked]


def _hash_cells(column: "pd.Series[Any]") -> NDArray[np.uint64]:
    # Not `hash_column`, which marks a missing text otherwise: meta-features are those of the rows in this order.
    if is_numeric_dtype(column):
        # -0.0 and 0.0 are the same number.
        return pd.util.hash_array(column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0)
    texts = np.array(column, dtype=object)
    texts[column.isna().to_numpy()] = None  # one mark for a missing text, whatever the dtype
    return pd.util.hash_array(texts)
