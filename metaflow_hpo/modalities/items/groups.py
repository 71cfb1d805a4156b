"""Groups of items that must not be torn apart."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


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


def renumber(groups: Integers) -> Integers:
    """Return the same groups with numbers from 0 as they appear."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[number], dtype=np.int64)
