"""Splits of items by classes and groups.

Unlike the rows of a table, a group may hold items of every class (a speaker says all words), so that groups are dealt
out one at a time, the largest first, to the part that lacks its classes most.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.modality import Split, Splits

ONE_SPLIT_FROM = 400
"""Training items from which one split is enough: those of a task of 500 items."""
_MANY = 100
"""Training items from which three folds are enough: a network a fold is dear."""
_PARTS_OF_ONE_SPLIT = 4

Integers = NDArray[np.int64]


def split_items(data: ItemData, seed: int = 0) -> Splits:
    """Return the splits of a task: one, with a quarter for validation, from 400 training items on, below that folds.

    There are three folds, or five below 100 items. An item whose class has none to learn from in a split is not scored
    in it.

    Args:
        data: The task.
        seed: Seed of the assignment.
    """
    training = np.flatnonzero(~data.is_test)
    target = data.target[training]
    groups = None if data.groups is None else data.groups[training]
    if len(training) >= ONE_SPLIT_FROM:
        part = deal(target, groups, _PARTS_OF_ONE_SPLIT, seed)
        chosen = [choose_part(part, _PARTS_OF_ONE_SPLIT)]
    else:
        folds = 3 if len(training) >= _MANY else 5
        part = deal(target, groups, folds, seed)
        chosen = [fold for fold in range(folds) if (part == fold).any()]
    splits = (_hold_out(training, target, part == one) for one in chosen)
    usable = tuple(split for split in splits if len(split.train) and len(split.valid))
    if not usable:  # one group holds all that can be learned from
        return split_items(replace(data, groups=None), seed)
    return Splits(usable, Split(training, np.flatnonzero(data.is_test)))


def deal(target: Integers, groups: Integers | None, parts: int, seed: int) -> Integers:
    """Deal items out to parts that are alike in size and in the share of each class.

    Args:
        target: `(n,)` class numbers, in an order that depends on the content alone.
        groups: `(n,)` numbers; those of a group go to the same part. None where every item stands alone.
        parts: How many parts.
        seed: Of the order among what is alike.

    Returns:
        `(n,)` numbers of parts; some stay empty where there are fewer groups.
    """
    rng = np.random.default_rng(seed)
    part = np.full(len(target), -1, np.int64)
    counts = np.zeros((parts, int(target.max(initial=0)) + 1))
    if groups is not None:
        _deal_groups(target, groups, part, counts, rng)
    _deal_single(target, part, counts, rng)
    return part


def _deal_groups(
    target: Integers, groups: Integers, part: Integers, counts: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Deal the groups of several items out: to the part that then is nearest to the others, class by class."""
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(sizes)[:-1])
    share = np.maximum(np.bincount(target, minlength=counts.shape[1]), 1)
    order = np.lexsort((rng.permutation(len(sizes)), -sizes))
    for one in order[: np.count_nonzero(sizes > 1)]:
        classes, size = np.unique(target[members[one]], return_counts=True)
        # What the sum of squared shares grows by, up to what is the same for every part.
        crowding = (counts[:, classes] / share[classes] ** 2) @ size + counts.sum(axis=1) * sizes[one] / len(
            target
        ) ** 2
        chosen = int(np.argmin(crowding))
        part[members[one]] = chosen
        counts[chosen, classes] += size


def _deal_single(target: Integers, part: Integers, counts: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Deal the items that stand alone out: of each class in turn to the part with fewest of it, then fewest in all."""
    order = rng.permutation(len(target))
    single = order[part[order] < 0]
    total = counts.sum(axis=1).tolist()
    of_class: dict[int, list[float]] = {c: counts[:, c].tolist() for c in np.unique(target[single]).tolist()}
    for item, label in sorted(zip(single.tolist(), target[single].tolist(), strict=True), key=lambda pair: pair[1]):
        mine = of_class[label]
        chosen = min(range(len(total)), key=lambda one: (mine[one], total[one]))
        part[item] = chosen
        mine[chosen] += 1
        total[chosen] += 1


def choose_part(part: Integers, parts: int) -> int:
    """Return the part, of those that hold something and not all, whose size is nearest to what all should have."""
    sizes = np.bincount(part, minlength=parts)
    away = np.where((sizes > 0) & (sizes < len(part)), np.abs(sizes - len(part) / parts), np.inf)
    return int(np.argmin(away))


def _hold_out(training: NDArray[np.intp], target: Integers, is_held: NDArray[np.bool_]) -> Split:
    is_known = np.isin(target, target[~is_held])
    return Split(training[~is_held], training[is_held & is_known])
