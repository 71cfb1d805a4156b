"""Groups of items that must not be torn apart."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_NEARLY_ALL = 0.9
_SIDES = 3


def number_groups(names: Sequence[object]) -> Integers:
    """Return a number from 0 for each name, `(n,)`; items of an unknown group (None, empty, NaN, -1) stand alone."""
    seen: dict[object, int] = {}
    for position, name in enumerate(names):
        key = _key(name)
        seen.setdefault(("alone", position) if key is None else key, len(seen))
    return np.array(
        [seen[("alone", position) if (key := _key(name)) is None else key] for position, name in enumerate(names)],
        dtype=np.int64,
    )


def _key(name: object) -> str | None:
    text = "" if name is None else str(name).strip()
    return None if text in {"", "-1", "-1.0", "nan", "NaN", "None"} else text


def unite(groupings: Iterable[Integers]) -> Integers:
    """Return the finest grouping that none of several cuts through, `(n,)` numbers from 0 as they appear.

    Args:
        groupings: Each `(n,)` numbers; at least one.
    """
    columns = [np.unique(one, return_inverse=True)[1] for one in groupings]
    parents = list(range(len(columns[0])))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    for column in columns:
        first: dict[int, int] = {}
        for item, number in enumerate(column.tolist()):
            one, other = sorted((root(first.setdefault(number, item)), root(item)))
            parents[other] = one
    return renumber(np.array([root(item) for item in range(len(parents))], dtype=np.int64))


def are_classes(groups: Integers, target: Integers) -> bool:
    """Tell whether groups say the class rather than what must not be known of it, as speakers do whose name is asked.

    Args:
        groups: `(n,)` numbers.
        target: `(n,)` class numbers.

    Returns:
        True where nearly all items are in groups of one class, and a class has too few of these to learn from one,
        validate on another and test on a third.
    """
    pairs = np.unique(np.column_stack([groups, target]), axis=0)
    _, number, classes = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    of_one_class = np.isin(groups, pairs[classes[number] == 1, 0])
    _, groups_of_class = np.unique(pairs[:, 1], return_counts=True)
    _, items_of_class = np.unique(target, return_counts=True)
    too_few = (groups_of_class < np.minimum(items_of_class, _SIDES)).any()
    return bool(len(np.unique(groups)) > 1 and of_one_class.mean() >= _NEARLY_ALL and too_few)


def renumber(groups: Integers) -> Integers:
    """Return the same groups with numbers from 0 as they appear."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[number], dtype=np.int64)
