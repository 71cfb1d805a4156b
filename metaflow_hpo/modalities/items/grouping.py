"""Which items of a task must not be torn apart: what a person says, and what is nearly alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.groups import are_classes, number_groups, renumber, unite

_MOST = 0.5
"""Share of all items, or of those of a class, from which on what is nearly alike is no group: nothing could be held
out."""
_FEW = 3
"""Items of a class below which they may all be nearly alike: they are learned from together."""

Integers = NDArray[np.int64]


def settle_groups(
    same: Integers,
    groups: Sequence[object] | None,
    near: Sequence[int] | NDArray[np.int64] | None,
    positions: NDArray[np.intp],
    target: Integers,
) -> tuple[Integers | None, list[str]]:
    """Return the groups of the items that are kept, and what is to be said of them.

    Args:
        same: `(N,)` numbers of all items, equal where their content is.
        groups: `(N,)` what a person says must stay on one side of a split.
        near: `(N,)` numbers, equal where items are nearly alike.
        positions: `(n,)` of the items that are kept.
        target: `(n,)` their class numbers.

    Returns:
        `(n,)` numbers from 0 as they appear; None where every item stands alone.
    """
    notes = []
    known = None if groups is None else number_groups(groups)
    if known is not None and are_classes(known[positions], target):
        known = None
        notes.append("Groups are of one class each, and too few of some class to hold one out: split by class alone.")
    close = None if near is None else np.asarray(near, dtype=np.int64)[positions]
    if close is not None:
        close, loosened = _loosen(close, target)
        if loosened:
            notes.append(
                f"{loosened} items are nearly alike to most of their class: they are split as if they were not."
            )
    if known is None:
        united = close
    else:
        spoken = unite([same, known])[positions]
        united = spoken if close is None else unite([spoken, close])
        if _largest(united) > max(_MOST, _largest(spoken)):
            united = spoken
            notes.append("Items nearly alike are in so many groups that these are kept together by group alone.")
    if united is None:
        return None, notes
    united = renumber(united)
    count = int(united.max()) + 1
    if count == len(united):
        return None, notes
    if known is not None and count == 1:
        return None, [*notes, "All items are of one group, which says nothing: they are split by class alone."]
    if known is not None:
        return united, [*notes, f"Kept the items of each of {count} groups on one side of every split."]
    together = int((np.bincount(united) > 1)[united].sum())
    return united, [*notes, f"Kept {together} items that are nearly alike together in splits."]


def _loosen(close: Integers, target: Integers) -> tuple[Integers, int]:
    """Return the same numbers with each item alone where its group holds most of a class, and how many these are."""
    close = renumber(close)
    pairs, counts = np.unique(np.column_stack([close, target]), axis=0, return_counts=True)
    of_class = np.bincount(target)[pairs[:, 1]]
    crowded = (counts >= _FEW) & (counts >= _MOST * of_class)
    loosened = np.isin(close, pairs[crowded, 0])
    return np.where(loosened, len(close) + np.arange(len(close)), close), int(loosened.sum())


def _largest(groups: Integers) -> float:
    return float(np.unique(groups, return_counts=True)[1].max() / len(groups))
