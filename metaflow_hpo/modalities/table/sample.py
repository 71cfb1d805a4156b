"""Represent a large task by a sample of its rows, so that collecting on hundreds of tasks stays affordable.

The one thing to know: the sample is a function of the content. It keeps the split, and the share of every class (or
decile of the target) on either side of it; one task in five keeps four times as many rows, so that sizes vary.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.modalities.table.rows import Hashes, digest_content, hash_rows, mix, strata_of
from metaflow_hpo.modalities.table.table_data import TableData

MIN_OF_STRATUM = 10
"""Rows of a class (or decile) that are kept on either side of the split, where there are as many."""
LARGE_EVERY = 5
LARGE_FACTOR = 4


def sample_rows(data: TableData, max_rows: int) -> TableData:
    """Keep about `max_rows` rows of a task, or four times as many on one task in five.

    Args:
        data: The task with its rows in canonical order, which is random but fixed.
        max_rows: Rows to keep, test rows included, at least 100.

    Returns:
        `data` itself where it is no larger; else a task with fewer rows, another digest and a note that says so.
    """
    limit = max_rows * (LARGE_FACTOR if int(data.task.sha256[:8], 16) % LARGE_EVERY == 0 else 1)
    if data.task.rows <= limit:
        return data
    kept = _choose(data, limit / data.task.rows)
    features, target = data.features.loc[kept].reset_index(drop=True), data.target[kept]
    is_test = data.is_test[kept]
    task = replace(
        data.task,
        rows=len(features),
        test_rows=int(is_test.sum()),
        sha256=digest_content(features, target, is_test, data.task.kind, data.class_names),
        notes=(*data.task.notes, f"A sample of {len(features)} of {data.task.rows} rows."),
    )
    return replace(data, task=task, features=features, target=target, is_test=is_test)


def _choose(data: TableData, share: float) -> NDArray[np.bool_]:
    """Return which rows are kept, `(rows,)`: those with the lowest keys of a stratum, on either side of the split."""
    strata = strata_of(data.target, is_regression=data.task.is_regression)
    keys = _keys(data)
    kept = np.zeros(len(strata), dtype=bool)
    for side in (False, True):
        for stratum in np.unique(strata):
            rows = np.flatnonzero((strata == stratum) & (data.is_test == side))
            count = max(round(share * len(rows)), min(len(rows), MIN_OF_STRATUM))
            kept[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return kept


def _keys(data: TableData) -> Hashes:
    """Return a random number a row, `(rows,)`, that tells equal rows apart.

    Equal rows with one number would be kept or left out together, and the target would become a function of the
    features: of the labels seen with the same features, only those with a low hash would stay.
    """
    row_hash, _ = hash_rows(data.features, data.target)
    occurrence = pd.Series(row_hash).groupby(row_hash, sort=False).cumcount().to_numpy().astype(np.uint64)
    return np.where(occurrence > 0, mix(row_hash ^ mix(occurrence)), row_hash)
