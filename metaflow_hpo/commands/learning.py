"""Commands that learn and judge: from the collected trials, or from any table of trials."""

from pathlib import Path
from typing import Annotated

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import Json, Learner, opened

app = typer.Typer()
_PANEL = "Learn and judge"

LowerIsBetter = Annotated[
    bool | None,
    typer.Option(
        "--lower-is-better/--higher-is-better",
        help="Whether its performance is a loss; must be said of another tool's table.",
    ),
]
TaskColumn = Annotated[
    str | None, typer.Option(help="Column that names the task, in a table as another tool exports it.")
]


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo fit --trials trials.parquet --output recommender")
def fit(
    trials: Annotated[
        Path | None, typer.Option(help="A table of trials of any learner: task_id, hp_*, performance.")
    ] = None,
    lower_is_better: LowerIsBetter = None,
    task_column: TaskColumn = None,
    space: Annotated[Path | None, typer.Option(help="Its search space, JSON; inferred unless given.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the recommender of the table.")] = Path("recommender"),
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Learn from what was collected and searched, and register it as candidate; or a recommender on your own table."""
    from metaflow_hpo.actions.collect import join_tasks
    from metaflow_hpo.actions.fit import fit as fit_step
    from metaflow_hpo.actions.own_history import choose_learned, has_own_trials
    from metaflow_hpo.actions.own_recommender import fit_table

    if trials is None:
        if lower_is_better is not None or space is not None or task_column is not None:
            raise typer.BadParameter("--lower-is-better, --task-column and --space go with --trials TABLE.")
        with opened(learner) as asked:
            pipeline = choose_learned(asked)
            if has_own_trials(pipeline) or not pipeline.store.meta_dataset_path.is_file():
                join_tasks(pipeline)
            report = fit_step(pipeline)
        verb = "unchanged inputs, kept" if report["reused"] else "trained"
        chosen = f" --learner {learner or pipeline.settings.learner}" if pipeline.is_chosen else ""
        summary = f"{report['name']} version {report['version']} ({verb}); next: metaflow-hpo evaluate{chosen}"
    else:
        if learner is not None:
            raise typer.BadParameter("--trials TABLE says itself whose trials it holds; leave --learner out.")
        with opened() as pipeline:
            report = fit_table(
                pipeline, trials, output, space=space, lower_is_better=lower_is_better, task_column=task_column
            )
        for note in report["notes"]:
            printing.say(f"note: {note}")
        counts = f"{report['trials']} trials of {report['tasks']} tasks"
        summary = f"{output}: learned from {counts}; next: metaflow-hpo recommend --recommender {output}"
    if as_json:
        printing.print_json(report)
    else:
        printing.tell(summary)


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo evaluate --json")
def evaluate(
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Fit on fewer past tasks as well: about two more fits of time.")
    ] = False,
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Evaluate the candidate on held-out families, train what it recommends there, and decide the gate."""
    from metaflow_hpo.actions.evaluate import evaluate as evaluate_step
    from metaflow_hpo.adapters.evaluation_files import REPORT_FILE

    with opened(learner) as pipeline:
        report = evaluate_step(pipeline, learning_curve=learning_curve)
        page = pipeline.store.evaluation_folder / REPORT_FILE
    if as_json:
        tables = {name: report.pop(name).to_dict("records") for name in ("summary", "gains", "realised")}
        printing.print_json({**report, **tables})
    else:
        printing.show_evaluation(report)
        printing.tell(f"report: {page}")


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo benchmark trials.parquet --folds 5 --output report")
def benchmark(
    table: Annotated[Path, typer.Argument(help="Trials, csv or parquet: task_id, hp_*, performance.", metavar="TABLE")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="Folds of families; one family at a time unless given.")
    ] = None,
    k: Annotated[str, typer.Option("--k", help="Numbers of trials, with commas.")] = "1,3,5,10,25,50",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions of random recommenders.")] = 3,
    tasks: Annotated[
        int, typer.Option(min=2, help="Tasks that are judged at most, drawn at random; all are learned from.")
    ] = 200,
    recommenders: Annotated[
        str | None, typer.Option(help="Names, with commas; recommended and all baselines unless given.")
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Recommended without each of its parts, in place of the baselines.")
    ] = False,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also Optuna's GP, Hyperopt, Syne Tune and FLAML (extra `benchmark`).")
    ] = False,
    lower_is_better: LowerIsBetter = None,
    task_column: TaskColumn = None,
    space: Annotated[Path | None, typer.Option(help="Search space, JSON; inferred unless given.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for tables and plots.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: Json = False,
) -> None:
    """Say whether meta-learning helps on a table of past trials, against every baseline."""
    from metaflow_hpo.actions.benchmark import benchmark as benchmark_step
    from metaflow_hpo.adapters.terminal import show_progress
    from metaflow_hpo.adapters.trial_files import read_trial_table
    from metaflow_hpo.evaluate.benchmark import Plan, choose_names
    from metaflow_hpo.recommender.new_task import RecommenderSettings
    from metaflow_hpo.recommender.strategies.recommended import FitRecommender

    chosen = None if recommenders is None else [n.strip() for n in recommenders.split(",") if n.strip()]
    names = choose_names(chosen, ablation=ablation, peers=peers)
    fit = FitRecommender(RecommenderSettings(default_first=space is not None))
    plan = Plan(names, _read_ks(k), seeds, folds, max_tasks=tasks, fit=fit)
    if output is not None and output.is_file():
        raise typer.BadParameter(f"--output must be a folder; {output} is a file.")
    with show_progress() as progress:
        answer = benchmark_step(
            read_trial_table(table, space=space, lower_is_better=lower_is_better, task_column=task_column),
            plan,
            workers=workers,
            output=output,
            progress=progress,
            say=printing.say,
        )
    if as_json:
        printing.print_json(answer)
    else:
        printing.show_benchmark(answer)


def _read_ks(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected whole numbers from 1 with commas, such as 1,3,5; got {text!r}.")
    return tuple(int(part) for part in parts)
