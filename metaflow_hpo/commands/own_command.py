"""What `search` is told of a learner of a person's own: the command, its space and effort, and what it is scored by."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from metaflow_hpo.learners.command import CommandLearner
    from metaflow_hpo.metric import Metric
    from metaflow_hpo.task import TaskData


def check_own(command: str | None, learner: str | None, space: Path | None, with_command: dict[str, Any]) -> None:
    """Check that the options of a learner of one's own go together.

    Raises:
        BadParameter: If they do not.
    """
    given = [option for option, value in with_command.items() if value is not None]
    if command is None and given:
        raise typer.BadParameter(f"{', '.join(given)} go with --command.")
    if command is not None and learner is not None:
        raise typer.BadParameter("give either --command or --learner.")
    if command is not None and space is None:
        raise typer.BadParameter("--command needs --space, a file such as: lr: {type: float, low: 1e-5, high: 0.1}")


def make_learner(command: str, space: Path | None, name: str | None, fidelity: str | None) -> "CommandLearner":
    """Return the learner of `--command`.

    Raises:
        BadParameter: If the fidelity is none.
    """
    from metaflow_hpo.adapters.trial_files import read_space
    from metaflow_hpo.learners.command import learner_from_command
    from metaflow_hpo.learners.learner import Fidelity

    found = None if fidelity is None else re.fullmatch(r"(?:([A-Za-z_]\w*)=)?(\d+)", fidelity)
    if fidelity is not None and found is None:
        raise typer.BadParameter(f"expected --fidelity as a number of epochs or as UNIT=NUMBER; got {fidelity!r}.")
    effort = None if found is None else Fidelity(found[1] or "epochs", int(found[2]))
    return learner_from_command(command, read_space(space or Path()), name=name, fidelity=effort)


def read_metric(name: str | None, mode: str | None) -> "Metric | None":
    """Return the metric of `--metric` and `--mode`; None where neither is given.

    Raises:
        BadParameter: If they contradict each other, or what is better is not said.
    """
    from metaflow_hpo.metric import KNOWN_METRICS, Metric

    if name is None and mode is None:
        return None
    known = KNOWN_METRICS.get(name or "")
    if known is not None and mode in (None, known.direction):
        return known
    if known is not None:
        raise typer.BadParameter(f"{name} is better with --mode {known.direction}; got {mode}.")
    if mode is None:
        raise typer.BadParameter(f"--metric {name} needs --mode max or --mode min.")
    return Metric(name or "score", "max" if mode == "max" else "min")


def read_task(
    path: Path | None,
    target: str | None,
    kind: Any,
    modality: str | None,
    options: dict[str, Any] | None,
    metric: "Metric | None",
    own: "CommandLearner | None",
) -> "TaskData":
    """Read the task; with a command, what is no description is an address that the command understands.

    Raises:
        BadParameter: If something is missing, or given twice.
    """
    from metaflow_hpo.modalities.opaque import SUFFIXES, name_task, read_opaque
    from metaflow_hpo.modalities.registry import read_source
    from metaflow_hpo.task import OPAQUE

    is_described = path is not None and path.suffix.lower() in SUFFIXES
    if own is None or is_described:
        if path is None:
            raise typer.BadParameter("give DATA, or --command with --metric and --mode.")
        if metric is not None:
            raise typer.BadParameter("--metric and --mode go with --command; a task says what it is scored by.")
        modality = modality or (OPAQUE if is_described else None)
        return read_source(path, target, kind=kind, modality=modality, options=options)
    if metric is None:
        raise typer.BadParameter("--command needs --metric NAME --mode max|min, or a task in YAML that says it.")
    if target is not None or kind is not None or options is not None:
        raise typer.BadParameter("--target, --kind and --option go with tables, which a command reads by itself.")
    task_id = name_task(f"{Path.cwd().name}_{own.name}" if path is None else path.name)
    address = "" if path is None else str(path)
    place = str(Path.cwd()) if path is None else ""
    return read_opaque({"task_id": task_id, "metric": metric.to_json(), "data": address}, place)
