"""The meta-data set as arrays: trials joined with meta-features, over tasks.

The one thing to know: a failed trial has no performance of its own; it counts as the worst of its task, so that the
surrogate learns to avoid it. A stopped one was merely not good enough, and is left out. Repetitions of a configuration
on a task (seeds, strategies) are averaged. Trials of fewer epochs than the learner's longest (low rungs of a halving
search) are left out: their scores do not compare.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.tables import read_configuration

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_log = logging.getLogger(__name__)

MIN_SPAN = 0.02
"""A task whose best and worst performance are closer than this tells configurations apart by noise alone."""


@dataclass(frozen=True)
class MetaDataset:
    """Trials of one learner on many tasks.

    Attributes:
        space: Search space of the learner.
        task_ids: `(T,)` names, sorted.
        families: `(T,)` family of each task.
        meta_feature_names: `(M,)` column names, `mf_` prefix included.
        meta_features: `(T, M)` finite numbers.
        configurations: `(C,)` distinct configurations, in the order of their first appearance.
        configuration_ids: `(C,)` their names.
        performance: `(T, C)` performance, higher is better; NaN where a configuration was never tried on a task.
        duration: `(T, C)` seconds a trial took; NaN where never tried or failed.
    """

    space: SearchSpace
    task_ids: tuple[str, ...]
    families: tuple[str, ...]
    meta_feature_names: tuple[str, ...]
    meta_features: Array
    configurations: tuple[Configuration, ...]
    configuration_ids: tuple[str, ...]
    performance: Array
    duration: Array

    def __post_init__(self) -> None:
        shape = (len(self.task_ids), len(self.configurations))
        if self.performance.shape != shape or self.duration.shape != shape:
            raise InvalidTableError(
                f"Expected performances of shape {shape} (tasks, configurations); got {self.performance.shape}."
            )
        if self.meta_features.shape != (shape[0], len(self.meta_feature_names)):
            raise InvalidTableError(
                f"Expected meta-features of {shape[0]} tasks; got shape {self.meta_features.shape}."
            )
        if not np.isfinite(self.meta_features).all():
            bad = [t for t, row in zip(self.task_ids, self.meta_features, strict=True) if not np.isfinite(row).all()]
            raise InvalidTableError(
                f"Meta-features must be finite; they are not on {bad[:5]}. Describe these tasks again."
            )

    @cached_property
    def encoded(self) -> Array:
        """Encoded configurations, `(C, D)`."""
        return self.space.encode(self.configurations)

    @property
    def normalised(self) -> Array:
        """`(T, C)` performance scaled to [0, 1] between the worst and the best known of a task (NaN = never tried)."""
        low, high = self.worst[:, None], self.best[:, None]
        return np.asarray((self.performance - low) / np.where(high > low, high - low, 1.0))

    @property
    def best(self) -> Array:
        """`(T,)` best known performance of each task."""
        return np.asarray(np.nanmax(self.performance, axis=1))

    @property
    def worst(self) -> Array:
        """`(T,)` worst known performance of each task."""
        return np.asarray(np.nanmin(self.performance, axis=1))

    @property
    def informative(self) -> IntArray:
        """Positions of the tasks on which configurations differ by at least `MIN_SPAN`."""
        return np.flatnonzero(self.best - self.worst >= MIN_SPAN)

    def to_arrays(self) -> dict[str, Array]:
        """Return the numbers by name, for safetensors."""
        return {"meta_features": self.meta_features, "performance": self.performance, "duration": self.duration}

    def to_json(self) -> dict[str, Any]:
        """Return the tasks' and configurations' names and values, JSON-ready."""
        return {
            "task_ids": self.task_ids,
            "families": self.families,
            "configurations": [dict(c) for c in self.configurations],
            "configuration_ids": self.configuration_ids,
        }

    @classmethod
    def from_parts(
        cls,
        description: Mapping[str, Any],
        arrays: Mapping[str, Array],
        space: SearchSpace,
        meta_feature_names: tuple[str, ...],
    ) -> "MetaDataset":
        """Build a meta-data set from what `to_json` and `to_arrays` returned, and what they leave to the surrogate."""
        return cls(
            space=space,
            task_ids=tuple(description["task_ids"]),
            families=tuple(description["families"]),
            meta_feature_names=meta_feature_names,
            meta_features=arrays["meta_features"],
            configurations=tuple(description["configurations"]),
            configuration_ids=tuple(description["configuration_ids"]),
            performance=arrays["performance"],
            duration=arrays["duration"],
        )

    def subset(self, tasks: Sequence[int] | IntArray) -> "MetaDataset":
        """Return the rows of some tasks; configurations stay, tried or not."""
        rows = np.asarray(tasks, dtype=np.int64)
        return MetaDataset(
            space=self.space,
            task_ids=tuple(self.task_ids[i] for i in rows),
            families=tuple(self.families[i] for i in rows),
            meta_feature_names=self.meta_feature_names,
            meta_features=self.meta_features[rows],
            configurations=self.configurations,
            configuration_ids=self.configuration_ids,
            performance=self.performance[rows],
            duration=self.duration[rows],
        )

    def shared(self, min_fraction: float = 1.0) -> "MetaDataset":
        """Return only the configurations tried on at least `min_fraction` of the tasks: the shared core."""
        keep = np.flatnonzero(np.isfinite(self.performance).mean(axis=0) >= min_fraction)
        return MetaDataset(
            space=self.space,
            task_ids=self.task_ids,
            families=self.families,
            meta_feature_names=self.meta_feature_names,
            meta_features=self.meta_features,
            configurations=tuple(self.configurations[c] for c in keep),
            configuration_ids=tuple(self.configuration_ids[c] for c in keep),
            performance=self.performance[:, keep],
            duration=self.duration[:, keep],
        )


def build_meta_dataset(frame: pd.DataFrame, space: SearchSpace, learner: str) -> MetaDataset:
    """Turn the joined table into arrays.

    Args:
        frame: One line a trial with `task_id, family, learner, configuration_id, performance, duration_s, status`,
            `hp_*` and `mf_*`; optionally `fidelity_epochs`, of which only the highest of the learner is kept.
        space: Search space of the learner.
        learner: Which learner's trials to keep.

    Raises:
        InvalidTableError: If no trial of the learner is left.
        DegenerateTaskError: If every configuration performs the same on every task.
        SearchSpaceMismatchError: If a configuration does not belong to the search space.
    """
    rows = frame.loc[frame["learner"] == learner]
    if rows.empty:
        raise InvalidTableError(
            f"No trial of the learner {learner!r} in the table; it has {sorted(frame['learner'].unique())}."
        )
    rows = keep_highest_fidelity(rows.loc[rows["status"] != "stopped"])
    mf_names = tuple(sorted(c for c in rows.columns if c.startswith("mf_")))
    tasks = rows.drop_duplicates("task_id").set_index("task_id").sort_index()
    configurations = rows.drop_duplicates("configuration_id")
    performance = _pivot(rows.assign(performance=rows["performance"].where(rows["status"] == "ok")), "performance")
    tried = _pivot(rows.assign(tried=1.0), "tried").notna()
    ok_tasks = performance.index[performance.notna().any(axis=1)]
    order = list(configurations["configuration_id"])
    performance, tried = performance.loc[ok_tasks, order], tried.loc[ok_tasks, order]
    values = performance.to_numpy(dtype=np.float64)
    worst = np.nanmin(values, axis=1, keepdims=True)
    values = np.where(np.isfinite(values) | ~tried.to_numpy(dtype=bool), values, worst)
    if (np.nanmax(values, axis=1) == np.nanmin(values, axis=1)).all():
        raise DegenerateTaskError(
            "Every configuration performs the same on every task; there is nothing to learn. Search longer."
        )
    duration = _pivot(rows.assign(duration_s=rows["duration_s"].where(rows["status"] == "ok")), "duration_s")
    return MetaDataset(
        space=space,
        task_ids=tuple(ok_tasks),
        families=tuple(tasks.loc[ok_tasks, "family"]),
        meta_feature_names=mf_names,
        meta_features=tasks.loc[ok_tasks, list(mf_names)].to_numpy(dtype=np.float64),
        configurations=_read_configurations(configurations, space, learner),
        configuration_ids=tuple(order),
        performance=values,
        duration=duration.reindex(index=ok_tasks, columns=order).to_numpy(dtype=np.float64),
    )


def _read_configurations(rows: pd.DataFrame, space: SearchSpace, learner: str) -> tuple[Configuration, ...]:
    """Return the configuration of each line; one that is none of the learner's is named with a task that has it."""
    found = []
    for row in rows.to_dict("records"):
        try:
            found.append(read_configuration(row, space))
        except SearchSpaceMismatchError as error:
            raise SearchSpaceMismatchError(
                f"Configuration {row['configuration_id']} of {learner}, tried on the task {row['task_id']}: {error} "
                "Correct its trials in the table, or leave them out."
            ) from error
    return tuple(found)


def read_curves(frame: pd.DataFrame, learner: str, epochs: int) -> Array:
    """Return the learning curves of a learner's whole trainings.

    Args:
        frame: Trials of any learner; `learning_curve` may be missing.
        learner: Name of the learner.
        epochs: Full fidelity: curves of other lengths are left out.

    Returns:
        `(N, E)`, in the order of the table; there may be none.
    """
    if "learning_curve" not in frame.columns:
        return np.empty((0, epochs))
    rows = frame.loc[(frame["learner"] == learner) & (frame["status"] == "ok"), "learning_curve"]
    whole = [curve for curve in rows if curve is not None and len(curve) == epochs]
    return np.array(whole, np.float64).reshape(-1, epochs)


def keep_highest_fidelity(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the most epochs; all of them where the table does not say how many epochs were trained.

    Args:
        rows: Trials of one learner. A task that was never tried at its highest fidelity is left out with a warning.
    """
    if "fidelity_epochs" not in rows.columns:
        return rows
    kept: pd.DataFrame = rows.loc[rows["fidelity_epochs"] == rows["fidelity_epochs"].max()]
    lost = sorted(set(rows["task_id"]) - set(kept["task_id"]))
    if lost:
        epochs = int(kept["fidelity_epochs"].iloc[0])
        _log.warning("%d tasks have no trial of %d epochs and are left out: %s.", len(lost), epochs, lost[:5])
    return kept


def _pivot(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    return rows.pivot_table(
        index="task_id", columns="configuration_id", values=column, aggfunc="mean", dropna=False, observed=True
    )
