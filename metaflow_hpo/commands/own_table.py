"""Commands on a person's table: describe, recommend, search, train, and say what came of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import (
    TABLE_HELP,
    Data,
    Force,
    Json,
    Kind,
    Learner,
    Modality,
    Script,
    Target,
    check_script,
    check_seconds,
    check_trials_output,
    describe_trial,
    opened,
    write_script,
)

if TYPE_CHECKING:
    from metaflow_hpo.trial import Trial

app = typer.Typer()
_PANEL = "Your table"


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo recommend my.csv --target y --json")
def recommend(
    data: Annotated[Path | None, typer.Argument(help=TABLE_HELP, metavar="DATA")] = None,
    target: Target = None,
    kind: Kind = None,
    modality: Modality = None,
    k: Annotated[int, typer.Option("--k", min=1, max=50, help="How many configurations.")] = 5,
    trials: Annotated[Path | None, typer.Option(help="Your own trials so far: performance and hp_* columns.")] = None,
    per_time: Annotated[
        bool, typer.Option("--per-time", help="Most gain per second of training first, rather than per trial.")
    ] = False,
    learner: Learner = None,
    recommender: Annotated[
        Path | None, typer.Option(help="Folder that fit --trials wrote; answers without DATA.")
    ] = None,
    task_meta_features: Annotated[
        Path | None, typer.Option(help="With --recommender: one line of the table's mf_* columns for the new task.")
    ] = None,
    script: Script = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Recommend configurations for your table, or from a recommender of your own, without training anything."""
    from metaflow_hpo.actions import advise
    from metaflow_hpo.actions.feedback import remember

    check_script(script, force)
    if data is None and recommender is not None:
        if per_time or script is not None:
            raise typer.BadParameter("--per-time and --script go with DATA.")
        _recommend_from_folder(recommender, k, trials, task_meta_features, as_json=as_json)
        return
    if data is None or recommender is not None:
        raise typer.BadParameter("give either DATA, or --recommender FOLDER.")
    with opened(learner, quiet=as_json) as pipeline:
        observed = [] if trials is None else advise.read_observed(trials, pipeline.settings.learner)
        described = advise.describe_file(data, target, kind, pipeline.progress, modality=modality)
        pipeline.progress("asking what past tasks teach", 0, 0)
        answer = advise.recommend(pipeline, described, k, observed, per_time=per_time)
        remember(pipeline, answer)
        if script is not None:
            write_script(pipeline, script, data, described.data, answer["recommendations"][0]["configuration"])
    if as_json:
        printing.print_json(answer)
    else:
        printing.show_recommendation(answer)


def _recommend_from_folder(
    folder: Path, k: int, trials: Path | None, meta_features: Path | None, *, as_json: bool
) -> None:
    from metaflow_hpo.actions.own_recommender import recommend_from_table

    answer = recommend_from_table(folder, k=k, observed=trials, meta_features=meta_features)
    if as_json:
        printing.print_json(answer)
        return
    printing.show_notes(answer["task"]["notes"])
    printing.warn_if_novel(answer["novelty"], "what complements each other over all past tasks is")
    printing.print_recommendations(f"{folder}, {answer['evidence']['observed_trials']} observed trials", answer)


@app.command(
    rich_help_panel=_PANEL,
    epilog="Try: metaflow-hpo search my.csv --target y --trials 20 --strategy tpe --output trials.parquet",
)
def search(
    data: Data,
    target: Target = None,
    kind: Kind = None,
    modality: Modality = None,
    trials: Annotated[int, typer.Option(min=1, help="How many trainings; with halving over all rungs.")] = 20,
    strategy: Annotated[
        Literal["recommended", "sobol", "random", "grid", "tpe", "hyperopt", "halving"],
        typer.Option(help="Who proposes; halving begins with short trainings."),
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
            help="Whether recommended stops trials whose learning curve will not reach the best; not with --refit all.",
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the trials here, .csv or .parquet.", dir_okay=False, callback=check_trials_output),
    ] = None,
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Search your table; the same command goes on where a killed one stopped."""
    from metaflow_hpo.actions import advise, own_trials
    from metaflow_hpo.collect.search import find_best
    from metaflow_hpo.modalities.registry import read_source

    if per_time is not None and strategy != advise.RECOMMENDED:
        raise typer.BadParameter(f"--per-time and --per-trial are for --strategy recommended; got {strategy!r}.")
    counts_time = seconds is not None if per_time is None else per_time
    with opened(learner) as pipeline:
        rows = read_source(data, target, kind=kind, modality=modality)
        printing.show_notes(rows.task.notes)
        try:
            found = own_trials.search(
                pipeline,
                rows,
                strategy=strategy,
                trials=trials,
                seconds=seconds,
                per_time=counts_time,
                seed=seed,
                output=output,
                refit=refit,
                stop=stop,
            )
        except KeyboardInterrupt:
            typer.echo("stopped; finished trials are kept, and the same command goes on from them", err=True)
            raise
    best = find_best(found)
    if as_json:
        described = None if best is None else describe_trial(best, rows.task.metric.name)
        summary = {"task": advise.describe_task(rows), "strategy": strategy, "trials": len(found), **_count(found)}
        printing.print_json({**summary, "best": described, "output": None if output is None else str(output)})
    elif best is None:
        print(f"All {len(found)} trials failed; the first reason: {found[0].reason}")
    else:
        _show_best(f"{rows.task.task_id}: {len(found)} trials by {strategy}", rows.task.metric.name, best, found)


def _count(found: "list[Trial]") -> dict[str, int]:
    return {status: sum(trial.status == status for trial in found) for status in ("failed", "stopped")}


def _show_best(title: str, metric: str, best: "Trial", found: "list[Trial]") -> None:
    lines: list[list[Any]] = [["best performance", best.performance], ["its test performance", best.test_performance]]
    if len({trial.fidelity for trial in found}) > 1:
        lines.append([f"its {best.fidelity_unit}", best.fidelity])
    lines += [[f"{status} trials", count] for status, count in _count(found).items() if count]
    printing.print_table(title, ["", metric], lines)
    print("configuration: " + json.dumps(dict(best.configuration)))


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo describe my.csv --target y > request.json")
def describe(data: Data, target: Target = None, kind: Kind = None, modality: Modality = None) -> None:
    """Print your data's meta-features as a request for the served model."""
    from metaflow_hpo.actions.advise import describe_file

    with opened() as pipeline:
        described = describe_file(data, target, kind, pipeline.progress, modality=modality)
    printing.show_notes(described.data.task.notes)
    printing.print_json({"dataframe_records": [described.meta_features], "params": {"k": 5}})


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo feedback 0123456789abcdef --trials trials.csv")
def feedback(
    recommendation_id: Annotated[str, typer.Argument(help="`lineage.recommendation_id` of a recommendation.")],
    trials: Annotated[Path, typer.Option(help="Your trials of it: performance and hp_* columns.")],
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Record what came of a recommendation, beside what was predicted with it."""
    from metaflow_hpo.actions.advise import read_observed
    from metaflow_hpo.actions.feedback import record_outcomes

    with opened(learner) as pipeline:
        observed = [
            (o.configuration, o.performance)
            for o in read_observed(trials, pipeline.settings.learner, finished_only=True)
        ]
        lines = record_outcomes(pipeline, recommendation_id, observed, source="feedback")
    if as_json:
        printing.print_json({"recommendation_id": recommendation_id, "recorded": lines})
        return
    rows = [[line["rank"], line["mean"], f"{line['low']:.3f} - {line['high']:.3f}", line["realised"]] for line in lines]
    printing.print_table(f"{len(lines)} new outcomes", ["rank", "predicted", "80 % interval", "realised"], rows)
