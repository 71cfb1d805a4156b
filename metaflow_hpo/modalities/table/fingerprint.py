"""Find relatives among tasks by the content of their columns, whatever the columns are called.

The one thing to know: a column with few distinct values proves nothing and is not counted.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.modalities.table.table_data import TableData

MIN_DISTINCT = 12
"""Columns with fewer distinct values are trivial: months, weekdays and grades look alike in unrelated tasks."""
MIN_SHARED_COLUMNS = 2
MIN_SHARED_FRACTION = 0.5
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


def assign_families(tasks: Sequence[TableData]) -> dict[str, str]:
    """Merge the declared families of tasks that share their columns.

    Two tasks are relatives when they share at least two non-trivial columns, and at least half of those of the task
    that has fewer. Relatives of relatives are one family.

    Args:
        tasks: Tasks with declared families, unique ids.

    Returns:
        The family of every task by `task_id`; a merged family is called as the first of its tasks declared it.
    """
    parents = {data.task.family: data.task.family for data in tasks}
    order = {family: position for position, family in enumerate(parents)}

    def root(family: str) -> str:
        while parents[family] != family:
            family = parents[family]
        return family

    for one, other in _relatives([column_fingerprints(data) for data in tasks]):
        first, second = sorted((root(tasks[one].task.family), root(tasks[other].task.family)), key=order.__getitem__)
        parents[second] = first
    return {data.task.task_id: root(data.task.family) for data in tasks}


def _relatives(fingerprints: Sequence[frozenset[str]]) -> list[tuple[int, int]]:
    """Return the pairs of positions that share enough columns."""
    holders: dict[str, list[int]] = defaultdict(list)
    for position, prints in enumerate(fingerprints):
        for one in prints:
            holders[one].append(position)
    shared = Counter(pair for positions in holders.values() for pair in combinations(positions, 2))
    return [
        (one, other)
        for (one, other), count in sorted(shared.items())
        if count >= MIN_SHARED_COLUMNS
        and count >= MIN_SHARED_FRACTION * min(len(fingerprints[one]), len(fingerprints[other]))
    ]


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
