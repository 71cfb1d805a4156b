"""Splits over task families: every family is meta-validation once and meta-test once.

The surrogate is cross-fitted: network `j` is trained on the families that are in neither fold `j` (its meta-test
families, reported and never selected on) nor fold `j + 1` (its meta-validation families: early stopping, trust, gate).
The served surrogate is exactly these networks together, so what was evaluated is what is served.

References:
    Barber, Candes, Ramdas, Tibshirani 2021, Predictive inference with the jackknife+, arXiv:1905.02928 (CV+).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import IntArray

MIN_FAMILIES = 3


@dataclass(frozen=True)
class FamilySplit:
    """Positions of tasks in the three parts; no family is in two of them.

    Attributes:
        train: `(T1,)` meta-train tasks.
        validation: `(T2,)` meta-validation tasks.
        test: `(T3,)` meta-test tasks.
    """

    train: IntArray
    validation: IntArray
    test: IntArray


def assign_folds(families: Sequence[str], folds: int) -> dict[str, int]:
    """Deal the distinct families out over `folds` folds, in the order of a hash of their names.

    Raises:
        InvalidTableError: If there are fewer than three families: one each to train, validate and test on.
    """
    distinct = sorted(set(families), key=_digest)
    if len(distinct) < MIN_FAMILIES:
        raise InvalidTableError(
            f"Meta-learning needs tasks of at least {MIN_FAMILIES} families; found {len(distinct)}: {distinct}. "
            "Collect more tasks."
        )
    count = max(MIN_FAMILIES, min(folds, len(distinct)))
    return {family: position % count for position, family in enumerate(distinct)}


def extend_folds(known: Mapping[str, int], families: Sequence[str]) -> dict[str, int]:
    """Leave every known family in its fold and put each new one into the fold that has the fewest.

    A network that is trained on may only be asked about the families of its fold if no family ever moves.

    Args:
        known: The fold of each family as it was; every fold has one.
        families: Families of the present tasks, in any order, repeated or not.

    Returns:
        The folds of known and new families; new ones are dealt in the order of a hash of their names.
    """
    assignment = dict(known)
    sizes = Counter(assignment.values())
    for family in sorted(set(families) - set(known), key=_digest):
        fold = min(sizes, key=lambda number: (sizes[number], number))
        assignment[family] = fold
        sizes[fold] += 1
    return assignment


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def split_families(families: Sequence[str], assignment: dict[str, int]) -> list[FamilySplit]:
    """Return one split a fold: fold `j` is meta-test, fold `j + 1` meta-validation, the others meta-train."""
    fold = np.array([assignment[family] for family in families], dtype=np.int64)
    count = max(assignment.values()) + 1
    splits = []
    for j in range(count):
        validation = (j + 1) % count
        splits.append(
            FamilySplit(
                train=np.flatnonzero((fold != j) & (fold != validation)),
                validation=np.flatnonzero(fold == validation),
                test=np.flatnonzero(fold == j),
            )
        )
    return splits
