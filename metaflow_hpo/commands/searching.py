"""The command `search`: a person's table, or any task with a learner of their own."""

import json
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
from metaflow_hpo.commands.own_command import check_own, make_learner, read_metric, read_task

if TYPE_CHECKING:
    from metaflow_hpo.metric import Metric
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


Data = Annotated[
    Path | None, typer.Argument(help=f"{DATA_HELP} Or a task: YAML with metric, data, family.", metavar="[DATA]")
]
Trials = Annotated[int, typer.Option(min=1, help="How many trainings; with halving over all rungs.")]
StrategyName = Annotated[
    str,
    typer.Option(
        help="Who proposes: recommended, sobol, random, grid, tpe, hyperopt, halving (begins with short "
        "trainings), ..., or module:attribute.",
        callback=check_strategy,
    ),
]
Seconds = Annotated[float | None, typer.Option(help="Time limit.", callback=check_seconds)]
PerTime = Annotated[
    bool | None,
    typer.Option(
        "--per-time/--per-trial",
        help="What recommended counts: seconds of training, or trials. Seconds where there is a time limit.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of strategy and trainings.")]
Refit = Annotated[
    Literal["best", "all"],
    typer.Option(help="Which trials are trained on all training rows too and scored on the test rows."),
]
Stop = Annotated[
    bool,
    typer.Option(
        "--stop/--no-stop",
        help="Whether trials are stopped whose learning curve will not reach the best; not with --refit all.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Write the trials here, .parquet or .csv.", dir_okay=False, callback=check_trials_output),
]
Command = Annotated[
    str | None,
    typer.Option(
        help="Your training command, e.g. 'python train.py --lr {lr}'; it prints JSON lines.", rich_help_panel=_OWN
    ),
]
Space = Annotated[Path | None, typer.Option(help="Search space of the command, YAML or JSON.", rich_help_panel=_OWN)]
Name = Annotated[
    str | None, typer.Option(help="Name of the command's learner; that of its script.", rich_help_panel=_OWN)
]
Effort = Annotated[
    str | None,
    typer.Option(
        help="Full effort of the command, e.g. 50 (epochs) or steps=1000; for {fidelity}.", rich_help_panel=_OWN
    ),
]
MetricName = Annotated[
    str | None, typer.Option(help="What the command is scored by, where no task says it.", rich_help_panel=_OWN)
]
Mode = Annotated[Literal["max", "min"] | None, typer.Option(help="Which way that is better.", rich_help_panel=_OWN)]
Past = Annotated[
    Path | None,
    typer.Option(
        help="Past trials to learn from, of any search space: a table, or a folder that fit wrote.",
        rich_help_panel=_OWN,
    ),
]
TaskFeatures = Annotated[
    Path | None,
    typer.Option(help="With --past: one line of its mf_* columns for this task.", rich_help_panel=_OWN),
]
Learn = Annotated[
    bool,
    typer.Option("--learn", help="Write what is found into --past, a .parquet, which is made.", rich_help_panel=_OWN),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Trainings at once.", rich_help_panel=_OWN)]


@app.command(
    rich_help_panel="Your table",
    epilog="Try: metaflow-hpo search my.csv --target y --trials 20 --output trials.parquet, or: metaflow-hpo search "
    "TASK.yaml --command 'python train.py --lr {lr}' --space space.yaml",
)
def search(
    data: Data = None,
    target: Target = None,
    kind: Kind = None,
    modality: Modality = None,
    option: Options = None,
    trials: Trials = 20,
    strategy: StrategyName = "recommended",
    seconds: Seconds = None,
    per_time: PerTime = None,
    seed: Seed = 0,
    refit: Refit = "best",
    stop: Stop = True,
    output: Output = None,
    learner: Learner = None,
    command: Command = None,
    space: Space = None,
    name: Name = None,
    fidelity: Effort = None,
    metric: MetricName = None,
    mode: Mode = None,
    past: Past = None,
    task_features: TaskFeatures = None,
    assume: Assume = None,
    learn: Learn = False,
    workers: Workers = None,
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
    check_own(command, learner, space, {"--space": space, "--name": name, "--fidelity": fidelity})
    options = read_options(option)
    own = None if command is None else make_learner(command, space, name, fidelity)
    counts_time = seconds is not None if per_time is None else per_time
    surroundings = opened(learner, own_learner=own, data=None if own else data, modality=modality)
    with surroundings as pipeline, _interruptible(), redirect_stdout(sys.stderr):
        task = read_task(data, target, kind, modality, options, read_metric(metric, mode), own)
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
            printing.say("stopped; finished trials are kept, and the same command goes on from them")
            raise
        if grown is not None:
            learn_from(grown, task, pipeline.learner, found, known=known, features=features)
    best, by = find_best(found), found[0].strategy
    if as_json:
        described = None if best is None else describe_trial(best, task.task.metric.name)
        summary = {"task": advise.describe_task(task), "strategy": by, "trials": len(found), **_count(found)}
        printing.print_json({**summary, "best": described, "output": None if output is None else str(output)})
    elif best is None:
        printing.tell(f"All {len(found)} trials failed; the first reason: {found[0].reason}")
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
    printing.tell("configuration: " + json.dumps(dict(best.configuration)))
