"""Splits by strata: classes, or tenths of a number, spread evenly, with what belongs together on one side."""

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.modality import Split, Splits

_TENTHS = 10


def split_into_folds(
    target: NDArray[np.generic],
    is_test: NDArray[np.bool_],
    *,
    regression: bool,
    seed: int = 0,
    groups: NDArray[np.intp] | None = None,
) -> Splits:
    """Split the training rows into folds of cross-validation, and all rows into training and test rows.

    Args:
        target: `(N,)` of all rows, in an order that depends on their content alone.
        is_test: `(N,)` True on the test rows.
        regression: Whether the target is a number rather than a class.
        seed: Seed of the assignment of rows to folds.
        groups: `(n,)` numbers from 0 of the training rows; those of a group go to the same fold.
    """
    training = np.flatnonzero(~is_test)
    number = assign_folds(target[training], count_folds(len(training)), regression, seed, groups)
    folds = (Split(training[number != k], training[number == k]) for k in range(int(number.max()) + 1))
    return Splits(tuple(folds), Split(training, np.flatnonzero(is_test)))


def count_folds(rows: int) -> int:
    """Return the number of cross-validation folds for a number of training rows: 5 below 500, 3 below 5,000, else 2."""
    return 5 if rows < 500 else 3 if rows < 5000 else 2


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
