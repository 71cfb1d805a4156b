"""Import the trials that other tools left behind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.past_trials.build import Imported
from metaflow_hpo.adapters.past_trials.registry import read_past_trials
from metaflow_hpo.adapters.past_trials.source import Direction, Wanted
from metaflow_hpo.history import History


def import_trials(
    source: str,
    address: Any,
    *,
    metric: str | None = None,
    mode: Direction | None = None,
    task: str | None = None,
    only: str | None = None,
    at: str | int | None = None,
    task_features: Sequence[str] = (),
    assume: Mapping[str, Any] | None = None,
    leave_out: Sequence[str] = (),
    output: str | Path | None = None,
) -> Imported:
    """Read the trials of another tool as one table of trials with its search space.

    Args:
        source: `optuna`, `mlflow`, `wandb`, `ray`, `keras-tuner`, `syne-tune`, `smac`, `hyperopt`, `tensorboard`,
            `sklearn`, `dvc`, `csv`, or what a package adds.
        address: File, folder, URL, or a table or an object of the tool.
        metric: Its name, where there are several.
        mode: Whether higher (`max`) or lower (`min`) is better, where the tool does not know.
        task: Label that tells tasks apart: `experiment`, `study`, `parent`, `tag:NAME`, `param:NAME`, a column, or
            `name:NAME` where all trials are of one task.
        only: Glob of the studies, experiments or folders to read.
        at: Which value of a metric with a history counts: `last`, `best` or a step.
        task_features: Labels whose numbers describe the task.
        assume: Values of hyperparameters that older trials lack.
        leave_out: Names that are no hyperparameters.
        output: Parquet file to write as well.

    Raises:
        InvalidTableError: If there are no trials, or something must be asked.
        MetaflowHPOError: If there is no such source.
    """
    wanted = Wanted(
        metric=metric,
        mode=mode,
        task=task,
        only=only,
        at=None if at is None else str(at),
        features=tuple(task_features),
        assume=dict(assume or {}),
        leave_out=tuple(leave_out),
    )
    imported = read_past_trials(source, address, wanted)
    if output is not None:
        imported.write(Path(output))
    return imported


def import_history(source: str, address: Any, **options: Any) -> History:
    """Read the trials of another tool as a history.

    Args:
        source: See `import_trials`.
        address: See `import_trials`.
        options: See `import_trials`.

    Raises:
        InvalidTableError: If there are no trials, something must be asked, or no task is left on which trials differ.
        MetaflowHPOError: If there is no such source.
    """
    return import_trials(source, address, **options).to_history()
