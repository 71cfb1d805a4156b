"""Fingerprints of a table's columns by their content, whatever they are called.

A column with few distinct values proves nothing and is not counted.
"""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.modalities.table.table_data import TableData

MIN_DISTINCT = 12
"""Columns with fewer distinct values are trivial: months, weekdays and grades look alike in unrelated tasks."""
_SIGNIFICANT_DIGITS = 6
_SMALLEST = 1e-300


def column_fingerprints(data: TableData) -> frozenset[str]:
    """Return a fingerprint of every non-trivial column, the target of a regression included.

    Args:
        data: The task with its rows.

    Returns:
        Digests (32 hexadecimal digits) of the sorted values; numbers are rounded to 6 significant digits first. They
        depend neither on the order of rows and columns nor on names.
    """
    columns = [data.features[name] for name in data.features.columns]
    if data.task.is_regression:
        columns.append(pd.Series(data.target))
    return frozenset(filter(None, map(_fingerprint, columns)))


def _fingerprint(column: pd.Series) -> str:
    """Return the digest of a column's sorted values; empty for a trivial column."""
    if types.is_float_dtype(column.dtype):
        values = _rounded(np.sort(column.dropna().to_numpy(dtype="float64")))
        if 1 + np.count_nonzero((values[1:] != values[:-1]).any(axis=1)) < MIN_DISTINCT:  # equal ones are neighbours
            return ""
        content = values.astype("<f8").tobytes()
    else:
        counts = column.value_counts().sort_index()
        if len(counts) < MIN_DISTINCT:
            return ""
        content = "\x1f".join(f"{name}\x1e{count}" for name, count in counts.items()).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to significant digits, so that a set stored with other precision keeps its fingerprint.

    Args:
        values: `(n,)`.

    Returns:
        `(n, 2)` decimal mantissas and exponents.
    """
    exponent = np.floor(np.log10(np.maximum(np.abs(np.where(values == 0, 1.0, values)), _SMALLEST)))
    mantissa = np.round(values / 10.0**exponent, _SIGNIFICANT_DIGITS - 1) + 0.0
    carried = np.abs(mantissa) >= 10
    return np.column_stack([np.where(carried, mantissa / 10, mantissa), exponent + carried])
