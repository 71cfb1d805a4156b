"""What is known of a learner from past tasks: of a table of trials, or of a folder that `fit` wrote."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.pipeline import logger
from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError, listed
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.tables import META_PREFIX
from metaflow_hpo.task import TaskData

if TYPE_CHECKING:
    from metaflow_hpo.history import History
    from metaflow_hpo.past_tasks import PastTasks
    from metaflow_hpo.recommender.stopping import StoppingRule
    from metaflow_hpo.space import Array


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
    def of(cls, history: "History", stopping: "StoppingRule | None" = None) -> "PastKnowledge":
        """Return what a history teaches."""
        return cls(history.past_tasks(), history.meta_feature_names, stopping)

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


def read_past(path: Path, learner: Learner) -> PastKnowledge:
    """Read what is known of a learner.

    Args:
        path: A table of trials in the learner's search space, a folder of such, or one that `fit --trials` wrote.
        learner: The learner.

    Raises:
        InvalidTableError: If it is neither.
        SearchSpaceMismatchError: If it is of another search space.
    """
    from metaflow_hpo.recommender.recommender_files import DESCRIPTION_FILE

    is_fitted = (path / DESCRIPTION_FILE).is_file()
    return _read_folder(path, learner) if is_fitted else _read_table(path, learner)


def _read_folder(path: Path, learner: Learner) -> PastKnowledge:
    from metaflow_hpo.recommender.recommender import Recommender

    recommender = Recommender.load(path)
    if [dict(i, optional=None) for i in recommender.space.to_json()] != [
        dict(i, optional=None) for i in learner.space.to_json()
    ]:
        raise SearchSpaceMismatchError(
            f"Expected past tasks in the search space of {learner.name!r}, {list(learner.space.names)}; {path} is of "
            f"another, {list(recommender.space.names)}. Fit it with the same --space."
        )
    return PastKnowledge(recommender.past, recommender.meta_feature_names, recommender.stopping)


def _read_table(path: Path, learner: Learner) -> PastKnowledge:
    from metaflow_hpo.adapters.trial_files import read_history

    history = read_history(path, space=learner.space)
    logger.info("Learned from %d past tasks of %s.", len(history.tasks), path)
    return PastKnowledge.of(history, _learn_stopping(path, learner))


def _learn_stopping(path: Path, learner: Learner) -> "StoppingRule | None":
    """Learn from the learning curves of a table when to stop a training; None where it holds too few whole ones."""
    from metaflow_hpo.history import read_curves
    from metaflow_hpo.modalities.table.files.tables import read_table
    from metaflow_hpo.recommender.stopping import StoppingRule

    if path.is_dir():
        return None
    frame = read_table(path)
    if learner.fidelity.maximum == 1 or not {"learner", "status", "learning_curve"} <= set(frame.columns):
        return None
    frame = frame.assign(learning_curve=frame["learning_curve"].map(_read_curve))
    return StoppingRule.fit(read_curves(frame, learner.name, learner.fidelity.maximum))


def _read_curve(cell: Any) -> Any:
    """Return a learning curve, which a csv holds as JSON."""
    return np.array(json.loads(cell), np.float64) if isinstance(cell, str) else cell


def read_task_features(path: Path) -> Mapping[str, float]:
    """Read the meta-features of one task: one line with columns `mf_<name>`.

    Raises:
        InvalidTableError: If it is not that.
    """
    frame = _read_line(path)
    names = [str(name) for name in frame.columns if str(name).startswith(META_PREFIX)]
    if len(frame) != 1 or not names:
        raise InvalidTableError(
            f"Expected one line with columns mf_<name> in {path}; found {len(frame)} lines and the columns "
            f"{[str(c) for c in frame.columns][:8]}. Give the meta-features of the new task alone."
        )
    try:
        return {name: float(frame[name].iloc[0]) for name in names}
    except (TypeError, ValueError) as error:
        raise InvalidTableError(f"Expected numbers in the columns mf_* of {path}; {error}.") from error


def _read_line(path: Path) -> pd.DataFrame:
    from metaflow_hpo.modalities.table.files.tables import read_table

    if path.suffix != ".csv":
        return read_table(path)
    try:
        return pd.read_csv(path)  # `read_table` expects data, so two columns at least
    except (OSError, ValueError) as error:
        raise InvalidTableError(f"Expected one line of meta-features in {path}; {error}. Check the file.") from error
