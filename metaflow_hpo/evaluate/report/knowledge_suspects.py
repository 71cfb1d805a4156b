"""Tasks that deserve a second look before anything is learned from them.

A finding is a reason to look at the raw data, never a reason to drop a task by itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.history import MIN_SPAN
from metaflow_hpo.modalities.roles import Roles
from metaflow_hpo.tables import meta_feature_columns

Finding = tuple[str, str, float]

PERFECT = 0.999
MOSTLY_PERFECT = 0.98
MIN_SKILL = 0.05
MAX_FAILED = 0.3
TWIN_CORRELATION = 0.99
TELLING_COLUMN = 0.98
MIN_SEED_CORRELATION = 0.5
MIN_TEST_AGREEMENT = 0.2
MAX_OPTIMISM = 0.1

FINDINGS: Mapping[str, str] = {
    "best is perfect": f"The best performance is at least {PERFECT}: a leak, or classes that anything can tell apart.",
    "nearly all is perfect": f"Half of the configurations reach {MOSTLY_PERFECT}: a leak, or too easy to learn from.",
    "one column tells": f"One split of one column scores at least {TELLING_COLUMN}, or one column correlates as much "
    "with a numeric target: a leak, a copy, or the target in other units.",
    "nothing beats chance": f"The best is less than {MIN_SKILL:.0%} of the way from the majority class or the mean to "
    "1: noise, or no signal in these columns.",
    "no span": f"Best and worst differ by less than {MIN_SPAN}: configurations are told apart by noise alone.",
    "seeds disagree": f"Two seeds rank the configurations with a correlation below {MIN_SEED_CORRELATION}.",
    "test disagrees": f"Cross-validated and test performance correlate by less than {MIN_TEST_AGREEMENT} in rank.",
    "test falls short": f"The best tenth scores more than {MAX_OPTIMISM} less on the test rows than in "
    "cross-validation: rows of one unit on both sides of a fold, or few rows.",
    "many failures": f"More than {MAX_FAILED:.0%} of the trials failed.",
    "moves with": f"Its performances correlate by more than {TWIN_CORRELATION} with those of a task of another family.",
    "shares columns with": "It holds columns of the same content as a task of another family (share of the smaller).",
}
"""What each finding means and what it may come from; pairs are followed by the other task's name."""


def find_suspicious(
    tasks: pd.DataFrame,
    core: pd.DataFrame,
    *,
    noise: pd.DataFrame | None = None,
    meta_features: pd.DataFrame | None = None,
    fingerprints: Mapping[str, frozenset[str]] | None = None,
) -> pd.DataFrame:
    """List tasks that look like a leak, like noise, or like a relative of a task in another family.

    Args:
        tasks: From `knowledge_facts.summarise_tasks`.
        core: `(T, C)` performance of the shared core, from `knowledge_facts.pivot_core`.
        noise: From `knowledge_facts.measure_noise`; None leaves the seeds out.
        meta_features: One line a task with `task_id` and `mf_*`; None leaves the columns out.
        fingerprints: `collect.fingerprint.column_fingerprints` of each task; None leaves shared columns out.

    Returns:
        `task_id, finding, value`, one line a finding, in the order of `FINDINGS`, then by name.
    """
    found: list[Finding] = [*_find_by_performance(tasks), *_find_twins(tasks, core)]
    if noise is not None:
        pairs = zip(noise["task_id"], noise["seed_correlation"], strict=True)
        found += [(task, "seeds disagree", value) for task, value in pairs if value < MIN_SEED_CORRELATION]
    if meta_features is not None:
        found += _find_telling_columns(tasks, meta_features)
    if fingerprints is not None:
        found += _find_shared_columns(tasks, fingerprints)
    order = list(FINDINGS)

    def place(line: Any) -> tuple[int, str, str]:
        kind = next(i for i, name in enumerate(order) if line[1].startswith(name))
        return kind, line[0], line[1]

    return pd.DataFrame(sorted(found, key=place), columns=["task_id", "finding", "value"])


def _find_by_performance(tasks: pd.DataFrame) -> Iterator[Finding]:
    rules = (
        ("best is perfect", "best", tasks["best"] >= PERFECT),
        ("nearly all is perfect", "median", tasks["median"] >= MOSTLY_PERFECT),
        ("nothing beats chance", "skill", tasks["skill"] < MIN_SKILL),
        ("no span", "span", tasks["span"] < MIN_SPAN),
        ("test disagrees", "test_agreement", tasks["test_agreement"] < MIN_TEST_AGREEMENT),
        ("test falls short", "optimism", tasks["optimism"] > MAX_OPTIMISM),
        ("many failures", "failed_fraction", tasks["failed_fraction"] > MAX_FAILED),
    )
    for finding, column, hit in rules:
        for task_id, value in tasks.loc[hit, ["task_id", column]].itertuples(index=False):
            yield str(task_id), finding, float(value)


def _find_telling_columns(tasks: pd.DataFrame, meta_features: pd.DataFrame) -> Iterator[Finding]:
    """Yield tasks that one column solves."""
    known, names = set(tasks["task_id"]), meta_feature_columns(meta_features)
    told = Roles.of(names).told_by_one(meta_features[names].to_numpy(dtype="float64"))
    for task_id, value in zip(meta_features["task_id"], told, strict=True):
        if task_id in known and value >= TELLING_COLUMN:
            yield str(task_id), "one column tells", float(value)


def _find_twins(tasks: pd.DataFrame, core: pd.DataFrame) -> Iterator[Finding]:
    """Yield pairs of tasks of different families with the same profile over the core; without span there is none."""
    family = dict(zip(tasks["task_id"], tasks["family"], strict=True))
    names = [name for name in core.index if name in family and core.loc[name].max() - core.loc[name].min() >= MIN_SPAN]
    alike = np.triu(core.loc[names].T.corr(min_periods=8).fillna(0.0).to_numpy(), 1)
    for one, other in np.argwhere(alike > TWIN_CORRELATION):
        if family[names[one]] != family[names[other]]:
            yield names[one], f"moves with {names[other]}", float(alike[one, other])


def _find_shared_columns(tasks: pd.DataFrame, fingerprints: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    lines = list(tasks[["task_id", "family"]].itertuples(index=False, name=None))
    for position, (one, one_family) in enumerate(lines):
        for other, other_family in lines[position + 1 :]:
            first, second = fingerprints.get(one, frozenset()), fingerprints.get(other, frozenset())
            if one_family != other_family and first & second:
                yield one, f"shares columns with {other}", len(first & second) / min(len(first), len(second))
