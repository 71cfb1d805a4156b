"""What studies of Optuna find, written into the history that they learn from."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna import Study
from optuna.trial import FrozenTrial

from metaflow_hpo.adapters.past_trials.build import build
from metaflow_hpo.adapters.past_trials.growing import grow
from metaflow_hpo.adapters.past_trials.optuna import read_ended
from metaflow_hpo.adapters.past_trials.source import Wanted
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.tables import META_PREFIX

logger = logging.getLogger("metaflow_hpo")


def remember(path: Path, study: Study, trials: Sequence[FrozenTrial], task: Mapping[str, float] | None) -> None:
    """Write the trials of a study into a history; a person's objective never hears of it where that cannot be done.

    Args:
        path: The history.
        study: The study; its name is that of the task.
        trials: Its trials.
        task: Meta-features of the task.
    """
    found = read_ended(study, trials)
    if not any(trial.status == "ok" for trial in found.trials):
        return
    features = {n if n.startswith(META_PREFIX) else META_PREFIX + n: float(v) for n, v in (task or {}).items()}
    try:
        imported = build(found, Wanted())
        frame = imported.frame.assign(**features)
        grow(path, frame, imported.space, direction=imported.direction, source="optuna")
    except (MetaflowHPOError, OSError) as error:
        logger.warning("The trials of %s are not written into %s: %s", study.study_name, path, error)
