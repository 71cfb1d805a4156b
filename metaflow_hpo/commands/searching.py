"""The command `search`: a person's table, or any task with a learner of their own."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import (
    DATA_HELP,
    Assume,
    Json,
    Kind,
    Learner,
    Modality,
    Options,
    Target,
    check_seconds,
    check_trials_output,
    describe_trial,
    opened,
    read_assumptions,
    read_options,
)

if TYPE_CHECKING:
    from metaflow_hpo.learners.command import CommandLearner
    from metaflow_hpo.metric import Metric
    from metaflow_hpo.task import TaskData
    from metaflow_hpo.trial import Trial

app = typer.Typer()
_OWN = "A learner of your own"


def check_strategy(name: str) -> str:
    """Refuse a strategy that there is not.

    Raises:
        BadParameter: If it is neither the name of one nor an address.
    """
    from metaflow_hpo.collect.strategies.registry import REGISTRY, STRATEGY_NAMES

    if ":" not in name and name not in REGISTRY.names:
        raise typer.BadParameter(
            f"expected one of {', '.join(STRATEGY_NAMES)}, or an address module:attribute; got {name!r}."
        )
    return name


@app.command(
    rich_help_panel="Your table",
    epilog="Try: metaflow-hpo search my.csv --target y --trials 20 --output trials.parquet, or: metaflow-hpo search "
    "TASK.yaml --command 'python train.py --lr {lr}' --space space.yaml",
)
def search(
    data: Annotated[
        Path | None, typer.Argument(help=f"{DATA_HELP} Or a task: YAML with metric, data, family.", metavar="[DATA]")
    ] = None,
    target: Target = None,
    kind: Kind = None,
    modality: Modality = None,
    option: Options = None,
    trials: Annotated[int, typer.Option(min=1, help="How many trainings; with halving over all rungs.")] = 20,
    strategy: Annotated[
        str,
        typer.Option(
            help="Who proposes: recommended, sobol, random, grid, tpe, hyperopt, halving (begins with short "
            "trainings), ..., or module:attribute.",
            callback=check_strategy,
        ),
    ] = "recommended",
    seconds: Annotated[float | None, typer.Option(help="Time limit.", callback=check_seconds)] = None,
    per_time: Annotated[
        bool | None,
        typer.Option(
            "--per-time/--per-trial",
            help="What recommended counts: seconds of training, or trials. Seconds where there is a time limit.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of strategy and trainings.")] = 0,
    refit: Annotated[
        Literal["best", "all"],
        typer.Option(help="Which trials are trained on all training rows too and scored on the test rows."),
    ] = "best",
    stop: Annotated[
        bool,
        typer.Option(
            "--stop/--no-stop",
            help="Whether trials are stopped whose learning curve will not reach the best; not with --refit all.",
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the trials here, .parquet or .csv.", dir_okay=False, callback=check_trials_output),
    ] = None,
    learner: Learner = None,
    command: Annotated[
        str | None,
        typer.Option(
            help="Your training command, e.g. 'python train.py --lr {lr}'; it prints JSON lines.", rich_help_panel=_OWN
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="Search space of the command, YAML or JSON.", rich_help_panel=_OWN)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the command's learner; that of its script.", rich_help_panel=_OWN)
    ] = None,
    fidelity: Annotated[
        str | None,
        typer.Option(
            help="Full effort of the command, e.g. 50 (epochs) or steps=1000; for {fidelity}.", rich_help_panel=_OWN
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What the command is scored by, where no task says it.", rich_help_panel=_OWN)
    ] = None,
    mode: Annotated[
        Literal["max", "min"] | None, typer.Option(help="Which way that is better.", rich_help_panel=_OWN)
    ] = None,
    past: Annotated[
        Path | None,
        typer.Option(
            help="Past trials to learn from, of any search space: a table, or a folder that fit wrote.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    task_features: Annotated[
        Path | None,
        typer.Option(help="With --past: one line of its mf_* columns for this task.", rich_help_panel=_OWN),
    ] = None,
    assume: Assume = None,
    learn: Annotated[
        bool,
        typer.Option(
            "--learn", help="Write what is found into --past, a .parquet, which is made.", rich_help_panel=_OWN
        ),
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Trainings at once.", rich_help_panel=_OWN)] = None,
    as_json: Json = False,
) -> None:
    """Search your table, or any task with a learner of your own; the same line goes on where a killed one stopped."""
    from metaflow_hpo.actions import advise, own_trials
    from metaflow_hpo.actions.past_knowledge import know_others, learn_from, read_past
    from metaflow_hpo.actions.task_features import read_task_features
    from metaflow_hpo.adapters.past_trials.growing import check_growing
    from metaflow_hpo.collect.search import find_best

    if per_time is not None and strategy != advise.RECOMMENDED:
        raise typer.BadParameter(f"--per-time and --per-trial are for --strategy recommended; got {strategy!r}.")
    assumed = read_assumptions(assume)
    if past is None and (task_features is not None or assumed or learn):
        raise typer.BadParameter("--task-features, --assume and --learn go with --past.")
    grown = check_growing(past) if learn else None
    _check_own(command, learner, space, {"--space": space, "--name": name, "--fidelity": fidelity})
    options = read_options(option)
    own = None if command is None else _make_learner(command, space, name, fidelity)
    counts_time = seconds is not None if per_time is None else per_time
    surroundings = opened(learner, own_learner=own, data=None if own else data, modality=modality)
    with surroundings as pipeline, _interruptible(), redirect_stdout(sys.stderr):
        task = _read_task(data, target, kind, modality, options, _read_metric(metric, mode), own)
        printing.show_notes(task.task.notes)
        known = None
        if grown is not None:
            known = know_others(grown, pipeline.learner, task.task.task_id, assume=assumed)
        elif past is not None:
            known = read_past(past, pipeline.learner, assume=assumed)
        features = None if task_features is None else read_task_features(task_features)
        try:
            found = own_trials.search(
                pipeline,
                task,
                strategy=strategy,
                trials=trials,
                seconds=seconds,
                per_time=counts_time,
                seed=seed,
                output=output,
                refit=refit,
                stop=stop,
                workers=workers,
                past=known,
                features=features,
            )
        except KeyboardInterrupt:
            typer.echo("stopped; finished trials are kept, and the same command goes on from them", err=True)
            raise
        if grown is not None:
            learn_from(grown, task, pipeline.learner, found, known=known, features=features)
    best, by = find_best(found), found[0].strategy
    if as_json:
        described = None if best is None else describe_trial(best, task.task.metric.name)
        summary = {"task": advise.describe_task(task), "strategy": by, "trials": len(found), **_count(found)}
        printing.print_json({**summary, "best": described, "output": None if output is None else str(output)})
    elif best is None:
        print(f"All {len(found)} trials failed; the first reason: {found[0].reason}")
    else:
        _show_best(f"{task.task.task_id}: {len(found)} trials by {by}", task.task.metric, best, found)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Take SIGTERM for an interrupt, so that what trains is ended with this process."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_own(command: str | None, learner: str | None, space: Path | None, with_command: dict[str, Any]) -> None:
    given = [option for option, value in with_command.items() if value is not None]
    if command is None and given:
        raise typer.BadParameter(f"{', '.join(given)} go with --command.")
    if command is not None and learner is not None:
        raise typer.BadParameter("give either --command or --learner.")
    if command is not None and space is None:
        raise typer.BadParameter("--command needs --space, a file such as: lr: {type: float, low: 1e-5, high: 0.1}")


def _make_learner(command: str, space: Path | None, name: str | None, fidelity: str | None) -> "CommandLearner":
    from metaflow_hpo.adapters.trial_files import read_space
    from metaflow_hpo.learners.command import learner_from_command
    from metaflow_hpo.learners.learner import Fidelity

    found = None if fidelity is None else re.fullmatch(r"(?:([A-Za-z_]\w*)=)?(\d+)", fidelity)
    if fidelity is not None and found is None:
        raise typer.BadParameter(f"expected --fidelity as a number of epochs or as UNIT=NUMBER; got {fidelity!r}.")
    effort = None if found is None else Fidelity(found[1] or "epochs", int(found[2]))
    return learner_from_command(command, read_space(space or Path()), name=name, fidelity=effort)


def _read_metric(name: str | None, mode: str | None) -> "Metric | None":
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


def _read_task(
    path: Path | None,
    target: str | None,
    kind: Any,
    modality: str | None,
    options: dict[str, Any] | None,
    metric: "Metric | None",
    own: "CommandLearner | None",
) -> "TaskData":
    """Read the task; with a command, what is no description is an address that the command understands."""
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


def _count(found: "list[Trial]") -> dict[str, int]:
    return {status: sum(trial.status == status for trial in found) for status in ("failed", "stopped")}


def _show_best(title: str, metric: "Metric", best: "Trial", found: "list[Trial]") -> None:
    lines: list[list[Any]] = [
        ["best performance", metric.restore(best.performance)],
        ["its test performance", metric.restore(best.test_performance)],
    ]
    if len({trial.fidelity for trial in found}) > 1:
        lines.append([f"its {best.fidelity_unit}", best.fidelity])
    lines += [[f"{status} trials", count] for status, count in _count(found).items() if count]
    printing.print_table(title, ["", metric.name], lines)
    print("configuration: " + json.dumps(dict(best.configuration)))
