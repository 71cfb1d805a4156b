"""Commands on a person's table: describe, recommend, search, train, and say what came of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import (
    DATA_HELP,
    Data,
    Force,
    Json,
    Kind,
    Learner,
    Modality,
    Options,
    Script,
    Target,
    check_script,
    opened,
    read_options,
    write_script,
)

app = typer.Typer()
_PANEL = "Your table"


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo recommend my.csv --target y --json")
def recommend(
    data: Annotated[Path | None, typer.Argument(help=DATA_HELP, metavar="DATA")] = None,
    target: Target = None,
    kind: Kind = None,
    modality: Modality = None,
    option: Options = None,
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

    check_script(script, force)
    if data is None and recommender is not None:
        if per_time or script is not None:
            raise typer.BadParameter("--per-time and --script go with DATA.")
        _recommend_from_folder(recommender, k, trials, task_meta_features, as_json=as_json)
        return
    if data is None or recommender is not None:
        raise typer.BadParameter("give either DATA, or --recommender FOLDER.")
    options = read_options(option)
    with opened(learner, quiet=as_json, data=data, modality=modality) as pipeline:
        observed = [] if trials is None else advise.read_observed(trials, pipeline.learner)
        described = advise.describe_file(data, target, kind, pipeline.progress, modality=modality, options=options)
        pipeline.progress("asking what past tasks teach", 0, 0)
        answer = advise.recommend_and_remember(pipeline, described, k, observed, per_time=per_time)
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


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo describe my.csv --target y > request.json")
def describe(
    data: Data, target: Target = None, kind: Kind = None, modality: Modality = None, option: Options = None
) -> None:
    """Print your data's meta-features as a request for the served model."""
    from metaflow_hpo.actions.advise import describe_file

    with opened() as pipeline:
        options = read_options(option)
        described = describe_file(data, target, kind, pipeline.progress, modality=modality, options=options)
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
    from metaflow_hpo.actions.feedback import learner_of, read_recommendation, record_outcomes
    from metaflow_hpo.actions.own_history import keep_feedback
    from metaflow_hpo.learners.registry import LEARNERS
    from metaflow_hpo.metric import Metric

    with opened(learner) as chosen:
        answer = read_recommendation(chosen, recommendation_id)
        is_named = learner is None and learner_of(answer) in LEARNERS.built_in
        pipeline, task = chosen.tuning(learner_of(answer)) if is_named else chosen, answer["task"]
        found = read_observed(trials, pipeline.learner, finished_only=True)
        outcomes = [(o.configuration, Metric.read(task["metric"]).restore(o.performance)) for o in found]
        lines = record_outcomes(pipeline, recommendation_id, outcomes, source="feedback")
        keep_feedback(pipeline, task["sha256"], [(o.configuration, o.performance) for o in found])
    if as_json:
        printing.print_json({"recommendation_id": recommendation_id, "recorded": lines})
        return
    rows = [[line["rank"], line["mean"], _show_interval(line), line["realised"]] for line in lines]
    printing.print_table(f"{len(lines)} new outcomes", ["rank", "predicted", "80 % interval", "realised"], rows)


def _show_interval(line: dict[str, Any]) -> str:
    return "unknown" if line["low"] is None else f"{line['low']:.3f} - {line['high']:.3f}"
