"""What is known of a learner from past tasks: of a table of trials, or of a folder that `fit` wrote."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.pipeline import logger
from metaflow_hpo.alignment import check_assumed, fit_table, is_inside, is_whole
from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError, SearchSpaceMismatchError, listed
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.tables import META_PREFIX
from metaflow_hpo.task import TaskData

if TYPE_CHECKING:
    from metaflow_hpo.history import History
    from metaflow_hpo.past_tasks import PastTasks
    from metaflow_hpo.recommender.stopping import StoppingRule
    from metaflow_hpo.space import Array, SearchSpace, Value
    from metaflow_hpo.trial import Trial

LEAST_POOL = 200
"""Configurations to choose among, at least, where past trials lie in another search space."""


@dataclass(frozen=True)
class PastKnowledge:
    """What past tasks teach.

    Attributes:
        tasks: The past tasks on a pool of configurations.
        meta_feature_names: `(M,)` names of what describes them, `mf_` prefix included; perhaps none.
        stopping: When to stop a training by its learning curve; None where that was not learned.
    """

    tasks: "PastTasks"
    meta_feature_names: tuple[str, ...]
    stopping: "StoppingRule | None" = None

    @classmethod
    def of(
        cls,
        history: "History",
        space: "SearchSpace",
        *,
        assume: "Mapping[str, Value] | None" = None,
        stopping: "StoppingRule | None" = None,
    ) -> "PastKnowledge":
        """Return what a history of any search space teaches about one.

        Args:
            history: Trials of other tasks.
            space: What is searched now.
            assume: Values of hyperparameters for past trials that lack them.
            stopping: When to stop a training, where that was learned.

        Raises:
            SearchSpaceMismatchError: If nothing of it can be carried over, or a value cannot be assumed.
        """
        check_assumed(space, assume or {})
        aligned = history.aligned_to(space, assume=assume)
        if not aligned.tasks:
            raise SearchSpaceMismatchError(
                f"Expected past trials that differ in hyperparameters of {list(space.names)}; they have "
                f"{list(history.space.names)}. Rename the columns of these, or search without past trials."
            )
        return cls(see_in(space, aligned), history.meta_feature_names, stopping)

    def describe(self, data: TaskData, given: Mapping[str, float] | None = None) -> "Array":
        """Return the meta-features of a task, `(M,)`, NaN for what is not known.

        Args:
            data: The task; what its modality says of it counts where past tasks know it by the same name.
            given: Meta-features that a person gives beside it, by column.

        Raises:
            InvalidTableError: If something is given that past tasks were not described by.
        """
        names = self.meta_feature_names
        unknown = sorted(set(given or {}) - set(names))
        if unknown:
            raise InvalidTableError(
                f"Expected meta-features that past tasks have, {listed(list(names)) or 'of which there are none'}; got "
                f"{listed(unknown)}."
            )
        return np.array([{**self._known_of(data), **(given or {})}.get(name, np.nan) for name in names], np.float64)

    def describe_by_name(self, data: TaskData, given: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return the meta-features of a task that are known, see `describe`."""
        values = self.describe(data, given).tolist()
        return {name: v for name, v in zip(self.meta_feature_names, values, strict=True) if math.isfinite(v)}

    def _known_of(self, data: TaskData) -> dict[str, float]:
        if not self.meta_feature_names:
            return {}
        from metaflow_hpo.modalities.registry import describe, groups_of

        own = {name for group in groups_of(data.task.modality) for name in group.columns}
        stated = getattr(data, "meta_features", {})
        # A person's own table may call what the description of a task gives by its name alone.
        plain = {META_PREFIX + name: float(value) for name, value in stated.items()}
        is_described = bool(stated) or bool(own & set(self.meta_feature_names))
        return plain | (describe(data) if is_described else {})


def know_others(
    path: Path, learner: Learner, task_id: str, *, assume: "Mapping[str, Value] | None" = None
) -> PastKnowledge | None:
    """Return what a history that grows teaches of other tasks than one; None where there are none yet."""
    from metaflow_hpo.adapters.trial_files import read_trials_of_tasks

    if not path.is_file():
        return None
    frame, said = read_trials_of_tasks(path)
    others = frame.loc[frame["task_id"].astype(str) != task_id]
    try:
        return _learn(others, said, learner, assume) if len(others) else None
    except DegenerateTaskError:
        return None  # one trial a task, so far


def learn_from(
    path: Path,
    data: TaskData,
    learner: Learner,
    trials: "Sequence[Trial]",
    *,
    known: PastKnowledge | None = None,
    features: Mapping[str, float] | None = None,
) -> None:
    """Write what a search found into the history that it learned from.

    Args:
        path: The history; made where there is none.
        data: The task.
        learner: What was tuned.
        trials: What came of it.
        known: What was known before; the task is described as past ones are.
        features: Meta-features that a person gave beside the task.
    """
    from metaflow_hpo.adapters.past_trials.growing import grow
    from metaflow_hpo.modalities.registry import describe
    from metaflow_hpo.tables import trials_to_frame

    if not any(trial.status == "ok" for trial in trials):
        return
    described = describe(data) if known is None else known.describe_by_name(data, features)
    frame = trials_to_frame(trials).assign(**described)
    grow(path, frame, learner.space, direction="max", source=f"search of {learner.name}")


def see_in(space: "SearchSpace", aligned: "History", *, seed: int = 0) -> "PastTasks":
    """Return past tasks on configurations that may be proposed.

    Args:
        space: What is searched now.
        aligned: A history that was aligned to it.
        seed: Seed of configurations that nobody tried.

    Returns:
        On all that was tried where that lies in the space; else on what does, the best first, and on others.
    """
    if all(is_whole(space, configuration) for configuration in aligned.configurations):
        return replace(aligned, space=space).past_tasks()
    inside = sum(is_inside(space, configuration) for configuration in aligned.configurations)
    pool = aligned.candidates_in(space, seed=seed, count=max(LEAST_POOL, inside + inside // 4))
    wider, at = aligned.with_configurations(pool)
    return wider.past_tasks(pool=at)


def know_past(past: Any, learner: Learner, *, assume: "Mapping[str, Value] | None" = None) -> PastKnowledge:
    """Return what is known of a learner from anything that holds past trials.

    Args:
        past: A history, a frame of trials, the address of what `read_past` or Optuna reads, or studies of Optuna.
        learner: The learner.
        assume: Values of hyperparameters for past trials that lack them.

    Raises:
        InvalidTableError: If it holds no trials that differ.
        SearchSpaceMismatchError: If nothing of it can be carried over, or a value cannot be assumed.
    """
    if is_file(past):
        return read_past(Path(past).expanduser(), learner, assume=assume)
    if isinstance(past, pd.DataFrame):
        return _learn(past, {}, learner, assume)
    return PastKnowledge.of(as_history(past), learner.space, assume=assume)


def as_history(past: Any) -> "History":
    """Return past trials, given as any of what `past=` takes, as a history.

    Args:
        past: A history, a frame of trials, the file of one, an Optuna storage, or studies of Optuna.

    Raises:
        InvalidTableError: If it holds no trials that differ.
    """
    from metaflow_hpo.actions.past_trials import import_history
    from metaflow_hpo.adapters.trial_files import read_history
    from metaflow_hpo.history import History

    if isinstance(past, History):
        return past
    if isinstance(past, pd.DataFrame):
        return History.from_frame(past)
    return read_history(Path(past).expanduser()) if is_file(past) else import_history("optuna", past)


def is_file(past: Any) -> bool:
    """Tell the path of a table, or of a folder of such, from the address of an Optuna storage."""
    if not isinstance(past, str | Path) or "://" in str(past):
        return False
    return Path(past).suffix in {".csv", ".parquet", ".jsonl"} or Path(past).expanduser().is_dir()


def read_past(path: Path, learner: Learner, *, assume: "Mapping[str, Value] | None" = None) -> PastKnowledge:
    """Read what is known of a learner.

    Args:
        path: A table of trials, a folder of such, or one that `fit --trials` wrote; its search space may be another.
        learner: The learner.
        assume: Values of hyperparameters for past trials that lack them.

    Raises:
        InvalidTableError: If it is neither.
        SearchSpaceMismatchError: If nothing of it can be carried over, or a value cannot be assumed.
    """
    from metaflow_hpo.recommender.recommender_files import DESCRIPTION_FILE

    is_fitted = (path / DESCRIPTION_FILE).is_file()
    known = _read_folder(path, learner, assume) if is_fitted else _read_table(path, learner, assume)
    logger.info("Learned from %d past tasks of %s.", len(known.tasks.task_ids), path)
    return known


def _read_folder(path: Path, learner: Learner, assume: "Mapping[str, Value] | None") -> PastKnowledge:
    from metaflow_hpo.recommender.recommender import Recommender

    recommender = Recommender.load(path)
    if not assume and _is_same(recommender.space, learner.space):
        return PastKnowledge(recommender.past, recommender.meta_feature_names, recommender.stopping)
    return PastKnowledge.of(recommender.history, learner.space, assume=assume, stopping=recommender.stopping)


def _is_same(first: "SearchSpace", second: "SearchSpace") -> bool:
    """Tell whether two search spaces have the same configurations, but for those that lack a value."""
    known, other = ([dict(item, optional=None) for item in space.to_json()] for space in (first, second))
    return known == other


def _read_table(path: Path, learner: Learner, assume: "Mapping[str, Value] | None") -> PastKnowledge:
    from metaflow_hpo.adapters.trial_files import read_trials_of_tasks

    return _learn(*read_trials_of_tasks(path), learner, assume)


def _learn(
    frame: pd.DataFrame, said: Mapping[str, Any], learner: Learner, assume: "Mapping[str, Value] | None"
) -> PastKnowledge:
    from metaflow_hpo.history import History

    rows, space = (frame, None) if "space" in said else fit_table(frame, learner.space)
    names = set(frame["learner"].dropna().astype(str)) if "learner" in frame else set()
    mine = learner.name if len(names) > 1 and learner.name in names else None
    history = History.from_file(rows, said, space=space, learner=mine)
    return PastKnowledge.of(history, learner.space, assume=assume, stopping=_learn_stopping(frame, learner))


def _learn_stopping(frame: pd.DataFrame, learner: Learner) -> "StoppingRule | None":
    """Learn from the learning curves of a table when to stop a training; None where it holds too few whole ones."""
    from metaflow_hpo.history import read_curves
    from metaflow_hpo.recommender.stopping import StoppingRule

    if learner.fidelity.maximum == 1 or not {"learner", "status", "learning_curve"} <= set(frame.columns):
        return None
    frame = frame.assign(learning_curve=frame["learning_curve"].map(_read_curve))
    return StoppingRule.fit(read_curves(frame, learner.name, learner.fidelity.maximum))


def _read_curve(cell: Any) -> Any:
    """Return a learning curve, which a csv holds as JSON."""
    return np.array(json.loads(cell), np.float64) if isinstance(cell, str) else cell
