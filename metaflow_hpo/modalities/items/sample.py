"""Represent a large task of items by a part of them, so that collecting on hundreds of tasks stays affordable."""

from dataclasses import replace

import numpy as np

from metaflow_hpo.modalities.items.assembling import digest_items
from metaflow_hpo.modalities.items.groups import renumber
from metaflow_hpo.modalities.items.item_data import ItemData

MIN_OF_CLASS = 10
"""Items of a class that are kept on either side of the split, where there are as many."""


def sample_items(data: ItemData, max_rows: int) -> ItemData:
    """Keep about `max_rows` items of a task: the split, and the share of every class on either side of it, stay.

    Args:
        data: The task; its order is random but fixed, so that the first items of a class are a sample.
        max_rows: Items to keep, test items included.

    Returns:
        `data` itself where it is no larger; else a task with another digest and a note that says so.
    """
    if data.task.rows <= max_rows:
        return data
    share = max_rows / data.task.rows
    kept = np.zeros(data.task.rows, dtype=bool)
    for side in (False, True):
        for label in range(data.task.classes):
            there = np.flatnonzero((data.target == label) & (data.is_test == side))
            kept[there[: max(round(share * len(there)), min(len(there), MIN_OF_CLASS))]] = True
    positions = np.flatnonzero(kept)
    target, is_test, digests = data.target[positions], data.is_test[positions], data.digests[positions]
    task = replace(
        data.task,
        rows=len(positions),
        test_rows=int(is_test.sum()),
        sha256=digest_items(data.task.modality, data.class_names, digests, target, is_test),
        notes=(*data.task.notes, f"A sample of {len(positions)} of {data.task.rows} items."),
    )
    groups = None if data.groups is None else renumber(data.groups[positions])
    items = data.items[positions]
    return ItemData(task, items, target, is_test, data.class_names, digests, groups, data.columns)
