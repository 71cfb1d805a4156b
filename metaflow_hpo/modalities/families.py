"""Families: relatives among tasks, found by what they share."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

from metaflow_hpo.modalities.modality import Fingerprinting
from metaflow_hpo.modalities.registry import get_modality
from metaflow_hpo.task import TaskData

MIN_SHARED = 2
MIN_SHARED_FRACTION = 0.5


def assign_families(tasks: Sequence[TaskData]) -> list[TaskData]:
    """Merge the declared families of tasks that share their content.

    Two tasks of a modality are relatives when they share at least two fingerprints (columns of a table), and at least
    half of those of the task that has fewer. Relatives of relatives are one family.

    Args:
        tasks: Tasks with declared families, unique ids.

    Returns:
        The tasks with their families; a merged one is called as the first of its tasks declared it.
    """
    families = merge_families([data.task.family for data in tasks], [fingerprint(data) for data in tasks])
    return [_with_family(data, family) for data, family in zip(tasks, families, strict=True)]


def merge_families(declared: Sequence[str], fingerprints: Sequence[frozenset[str]]) -> list[str]:
    """Return the family of each task, see `assign_families`.

    Args:
        declared: Family that each task declares.
        fingerprints: Of each task, see `fingerprint`.
    """
    parents = {family: family for family in declared}
    order = {family: position for position, family in enumerate(parents)}

    def root(family: str) -> str:
        while parents[family] != family:
            family = parents[family]
        return family

    for one, other in _relatives(fingerprints):
        first, second = sorted((root(declared[one]), root(declared[other])), key=order.__getitem__)
        parents[second] = first
    return [root(family) for family in declared]


def fingerprint(data: TaskData) -> frozenset[str]:
    """Return digests of the parts of a task, by which relatives are found; none where its modality has none."""
    modality = get_modality(data.task.modality)
    found = modality.fingerprint(data) if isinstance(modality, Fingerprinting) else frozenset()
    return frozenset(f"{data.task.modality}:{one}" for one in found)


def _with_family(data: TaskData, family: str) -> TaskData:
    changed: TaskData = replace(cast(Any, data), task=replace(data.task, family=family))
    return changed


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
        if count >= MIN_SHARED and count >= MIN_SHARED_FRACTION * min(len(fingerprints[one]), len(fingerprints[other]))
    ]
