"""Order and split rows by a hash of their content, so that neither depends on how a file happened to be sorted.

The one thing to know: rows with equal features always land on the same side of the split, whatever their target.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.columns import hash_column

TEST_FRACTION = 0.2
TARGET_BINS = 10
"""Strata of a regression target: its deciles."""

Hashes = NDArray[np.uint64]


def mix(values: Hashes) -> Hashes:
    """Scramble 64-bit values (the finaliser of SplitMix64; Steele et al., 2014, doi:10.1145/2660193.2660195)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_rows(features: pd.DataFrame, target: NDArray[Any]) -> tuple[Hashes, Hashes]:
    """Hash every row, with and without its target.

    Args:
        features: `(N, columns)`, cleaned.
        target: `(N,)` class numbers or float64.

    Returns:
        `(N,)` hashes of features and target, and `(N,)` hashes of the features alone. Neither depends on the order
        of rows or columns.
    """
    names = pd.util.hash_array(np.asarray(features.columns, dtype=object), categorize=False)
    of_features = np.zeros(len(features), dtype=np.uint64)
    for name, key in zip(features.columns, names, strict=True):
        of_features += mix(hash_column(features[name]) ^ key)
    of_target = pd.util.hash_array(np.asarray(target, dtype="float64") + 0.0)
    return mix(mix(of_features) + of_target), of_features


def strata_of(target: NDArray[Any], *, is_regression: bool) -> NDArray[np.int64]:
    """Return the stratum of every row, `(N,)`: its class, or the decile of its target."""
    if not is_regression:
        return np.asarray(target, dtype=np.int64)
    edges = np.sort(target)[len(target) * np.arange(1, TARGET_BINS) // TARGET_BINS]
    return np.asarray(np.searchsorted(edges, target, side="right"), dtype=np.int64)


def split_rows(row_hash: Hashes, feature_hash: Hashes, strata: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose about 20 % of the rows of every stratum as test rows, from the content of the rows alone.

    Rows with equal features form a group that is moved as a whole; a group counts to the stratum of its row with the
    smallest hash. A group that would make a stratum's share too large stays in training.

    Args:
        row_hash: `(N,)` hashes of whole rows.
        feature_hash: `(N,)` hashes of features: the groups, and the order in which they are taken.
        strata: `(N,)` strata.

    Returns:
        `(N,)` booleans, True for test rows; every stratum keeps training rows.

    Raises:
        InvalidTaskError: The rows are so much alike that no group is small enough to be held out.
    """
    order = np.lexsort((row_hash, feature_hash))
    _, starts, sizes = np.unique(feature_hash[order], return_index=True, return_counts=True)
    group_of_row = np.empty(len(order), dtype=np.int64)
    group_of_row[order] = np.repeat(np.arange(len(starts)), sizes)
    group_strata = strata[order][starts]
    chosen = np.zeros(len(starts), dtype=bool)
    for stratum in np.unique(group_strata):
        groups = np.flatnonzero(group_strata == stratum)
        quota = round(TEST_FRACTION * int(sizes[groups].sum()))
        chosen[_fill(groups, sizes, quota)] = True
    is_test = chosen[group_of_row]
    for stratum in np.setdiff1d(np.unique(strata), np.unique(strata[~is_test])):
        is_test &= ~np.isin(group_of_row, group_of_row[strata == stratum])
    if not is_test.any():
        raise InvalidTaskError(
            f"Expected rows that differ, so that about 20 % can be held out; found {len(starts)} different rows among "
            f"{len(order)}. Add features or rows, or say which rows to hold out (test_rows)."
        )
    return is_test


def digest_content(
    features: pd.DataFrame,
    target: NDArray[Any],
    is_test: NDArray[np.bool_],
    kind: str,
    class_names: Sequence[str],
) -> str:
    """Return the SHA-256 of the prepared content (names, values, target, kind and split) as 64 hexadecimal digits."""
    header = {"columns": list(features.columns), "kind": kind, "class_names": list(class_names)}
    digest = hashlib.sha256(json.dumps(header, ensure_ascii=False).encode())
    for name in features.columns:
        digest.update(b"number" if types.is_float_dtype(features[name].dtype) else b"text")
        digest.update(hash_column(features[name]).astype("<u8").tobytes())
    digest.update(np.asarray(target, dtype="<f8").tobytes())
    digest.update(is_test.tobytes())
    return digest.hexdigest()


def _fill(groups: NDArray[np.int64], sizes: NDArray[np.int64], quota: int) -> list[int]:
    """Take groups in order while they fit into the quota (at least the smallest one, where there are two)."""
    taken, rows = [], 0
    for group in groups:
        if rows + sizes[group] <= quota:
            taken.append(int(group))
            rows += int(sizes[group])
    if not taken and len(groups) > 1:
        taken = [int(groups[np.argmin(sizes[groups])])]
    return taken
