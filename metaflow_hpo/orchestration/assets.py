"""The assets, left to right: collect, surrogate, evaluate. Each calls one step and returns metadata.

The one thing to know: partitioned assets run over many partitions in one run (`BackfillPolicy.single_run`), since
a run a partition costs seconds. A run over a range works on all its tasks and reports on each partition.
"""

import warnings
from collections.abc import Iterator

import dagster as dg

from metaflow_hpo.actions import collect, feedback
from metaflow_hpo.actions.evaluate import evaluate
from metaflow_hpo.actions.fit import fit
from metaflow_hpo.actions.import_runs import import_runs
from metaflow_hpo.actions.other_learners import learn_others
from metaflow_hpo.actions.promote import promote
from metaflow_hpo.adapters.evaluation_files import REPORT_FILE
from metaflow_hpo.adapters.pipeline import record_stages
from metaflow_hpo.orchestration import metadata as show
from metaflow_hpo.orchestration.conditions import (
    AFTER_COLLECTION,
    AFTER_DEPENDENCY,
    EVERY_MORNING,
    WATCHED_DAILY,
    WHEN_DUE,
    WHERE_MISSING,
)
from metaflow_hpo.orchestration.partitions import sync_partitions, task_partitions
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.orchestration.retries import CATALOGUE, RETRY, TRAINING, keep_done_tasks

OWNERS = ["team:metaflow-hpo"]
SINGLE_RUN = dg.BackfillPolicy.single_run()
COLLECTED = ("dataset_catalogue", "search_results", "meta_features", "meta_dataset")
"""Stages of dvc.yaml that the meta-data set is made of."""

# `backfill_policy` is the point of the layout; Dagster calls the argument beta.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)


class SurrogateConfig(dg.Config):
    """How the surrogate is trained."""

    from_scratch: bool = False
    """Whether to train anew where the champion's networks could be trained on with the new tasks."""


@dg.asset(group_name="collect", kinds={"pandas", "parquet"}, owners=OWNERS, retry_policy=RETRY, pool=CATALOGUE)
def dataset_catalogue(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> dg.MaterializeResult[None]:
    """All tasks: data set, target, metric and fixed row splits. One prepared file a task, one partition a task."""
    work = pipeline.open(context)
    report = collect.build_catalogue(work)
    sync_partitions(context.instance, work.collected_task_ids())
    shown = {"catalogue": show.show_table(report["table"])}
    shown |= {name: report[name] for name in ("modalities", "kinds", "deliveries", "refused")}
    return dg.MaterializeResult(metadata=show.keep_plain(report) | shown, data_version=dg.DataVersion(report["md5"]))


@dg.asset(
    group_name="collect",
    kinds={"pytorch", "scikitlearn", "mlflow"},
    owners=OWNERS,
    deps=[dataset_catalogue],
    partitions_def=task_partitions,
    backfill_policy=SINGLE_RUN,
    automation_condition=WHERE_MISSING,
    retry_policy=RETRY,
    pool=TRAINING,
)
def search_results(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> None:
    """Trials of each task: the shared core and random search, cross-validated. Finished trials are never repeated."""
    with keep_done_tasks(context):
        reports = collect.search_tasks(pipeline.open(context), list(context.partition_keys))
    for task_id, report in reports.items():
        plot = {"search": show.show_png(report["plot"])}
        context.add_asset_metadata(show.keep_plain(report) | plot, partition_key=task_id)


@dg.asset(
    group_name="collect",
    kinds={"pandas", "parquet"},
    owners=OWNERS,
    deps=[dataset_catalogue],
    partitions_def=task_partitions,
    backfill_policy=SINGLE_RUN,
    automation_condition=WHERE_MISSING,
    retry_policy=RETRY,
    pool=TRAINING,
)
def meta_features(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> None:
    """The numbers that describe each task, from its training rows only, cheap landmarks included."""
    with keep_done_tasks(context):
        reports = collect.describe_tasks(pipeline.open(context), list(context.partition_keys))
    for task_id, report in reports.items():
        shown = {"values": report["values"]} | show.show_task(report["shown"])
        context.add_asset_metadata(show.keep_plain(report) | shown, partition_key=task_id)


@dg.asset(
    group_name="collect",
    kinds={"pandas", "dvc"},
    owners=OWNERS,
    deps=[
        dg.AssetDep(search_results, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(meta_features, partition_mapping=dg.AllPartitionMapping()),
    ],
    automation_condition=AFTER_COLLECTION,
    retry_policy=RETRY,
    pool=TRAINING,
)
def meta_dataset(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> dg.MaterializeResult[None]:
    """Trials joined with meta-features over all tasks, recorded by DVC. Its md5 names it everywhere downstream."""
    work = pipeline.open(context)
    report = collect.join_tasks(work)
    recorded = record_stages(work, COLLECTED)
    return dg.MaterializeResult(metadata=report | recorded, data_version=dg.DataVersion(report["md5"]))


@dg.asset(
    group_name="collect",
    kinds={"matplotlib", "mlflow"},
    owners=OWNERS,
    deps=[meta_dataset],
    automation_condition=AFTER_DEPENDENCY,
)
def knowledge_report(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> dg.MaterializeResult[None]:
    """The page on which people see the meta-data: tasks, performances, heat maps, importance, noise, suspects."""
    from metaflow_hpo.actions.report import publish_report

    report = publish_report(pipeline.open(context))
    return dg.MaterializeResult(metadata=report | {"page": dg.MetadataValue.path(str(report["output"]))})


@dg.asset(
    group_name="surrogate",
    kinds={"pytorch", "lightning", "mlflow"},
    owners=OWNERS,
    deps=[meta_dataset],
    automation_condition=AFTER_DEPENDENCY,
    retry_policy=RETRY,
    pool=TRAINING,
)
def surrogate(
    context: dg.AssetExecutionContext, config: SurrogateConfig, pipeline: PipelineResource
) -> dg.MaterializeResult[None]:
    """f(T, theta) -> p, cross-fitted over task families on a GPU where there is one; registered as candidate."""
    work = pipeline.open(context)
    report = fit(work, incremental=not config.from_scratch)
    recorded = record_stages(work, ["surrogate"])
    return dg.MaterializeResult(metadata=show.keep_plain(report) | report["metrics"] | recorded)


@dg.asset(
    group_name="evaluate",
    kinds={"matplotlib", "mlflow"},
    owners=OWNERS,
    deps=[surrogate],
    automation_condition=AFTER_DEPENDENCY,
    retry_policy=RETRY,
    pool=TRAINING,
)
def recommendation_evaluation(
    context: dg.AssetExecutionContext, pipeline: PipelineResource
) -> dg.MaterializeResult[None]:
    """The candidate on held-out families against every baseline, by regret and by really training; decides the gate."""
    work = pipeline.open(context)
    report = evaluate(work)
    folder = work.store.evaluation_folder
    tables = {name: show.show_table(report[name]) for name in ("summary", "gains", "realised") if len(report[name])}
    # A learner without networks has fewer.
    names = ("regret", "realised", "predictions", "calibration", "ablation")
    drawn = [name for name in names if (folder / f"{name}.png").is_file()]
    plots = {f"plot_{name}": show.show_image(folder / f"{name}.png") for name in drawn}
    page = {"report": dg.MetadataValue.path(folder / REPORT_FILE)}
    recorded = record_stages(work, ["recommendation_evaluation"])
    shown = tables | plots | page | report["metrics"] | recorded
    return dg.MaterializeResult(metadata=show.keep_plain(report) | shown)


@dg.asset(
    group_name="evaluate",
    kinds={"mlflow"},
    owners=OWNERS,
    deps=[recommendation_evaluation],
    automation_condition=AFTER_DEPENDENCY,
    retry_policy=RETRY,
    pool=TRAINING,
)
def champion(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> dg.MaterializeResult[None]:
    """The served version: the alias `champion` on the candidate that passed the gate."""
    work = pipeline.open(context)
    report = promote(work)
    recorded = record_stages(work, ["champion"])
    return dg.MaterializeResult(metadata=show.keep_plain(report) | recorded)


@dg.asset(
    group_name="collect",
    kinds={"mlflow", "parquet"},
    owners=OWNERS,
    automation_condition=WHEN_DUE,
    retry_policy=RETRY,
    pool=CATALOGUE,
    output_required=False,
)
def imported_runs(
    context: dg.AssetExecutionContext, pipeline: PipelineResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Runs that people logged into MLflow, of the experiments that the setting `imports` names; only new ones are read.

    Where nothing changed there is no materialization, so nothing is learned anew.
    """
    reports = import_runs(pipeline.open(context))
    for name, report in reports.items():
        context.log.info(f"{name}: {report}")
    if any(report["changed"] for report in reports.values()):
        yield dg.MaterializeResult(metadata={name: show.keep_plain(report) for name, report in reports.items()})


@dg.asset(
    group_name="evaluate",
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    deps=[
        imported_runs,
        dg.AssetDep(search_results, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(meta_features, partition_mapping=dg.AllPartitionMapping()),
    ],
    automation_condition=AFTER_COLLECTION,
    retry_policy=RETRY,
    pool=TRAINING,
)
def other_champions(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> dg.MaterializeResult[None]:
    """The champions of learners of other modalities and of imported runs: fitted, evaluated, gated, each by itself."""
    reports = learn_others(pipeline.open(context))
    shown = {name: show.keep_plain(report) for name, report in reports.items()}
    return dg.MaterializeResult(metadata={"learners": len(reports), **shown})


@dg.asset(
    group_name="evaluate",
    kinds={"matplotlib"},
    owners=OWNERS,
    deps=[champion],
    automation_condition=EVERY_MORNING,
    freshness_policy=WATCHED_DAILY,
    retry_policy=RETRY,
)
def recommendation_monitoring(
    context: dg.AssetExecutionContext, pipeline: PipelineResource
) -> dg.MaterializeResult[None]:
    """What came of recommendations against what was predicted with them, and how novel the tasks of people are."""
    report, figures = feedback.monitor(pipeline.open(context))
    own, *others = [show.show_figure(figure) for figure in figures.values()]
    plots = {"plot_monitoring": own} | {f"plot_{name}": plot for name, plot in zip([*figures][1:], others, strict=True)}
    reasons = {f"reason_{name}": found["reason"] for name, found in report["learners"].items()}
    return dg.MaterializeResult(metadata=show.keep_plain(report) | reasons | plots)


ASSETS = [
    dataset_catalogue,
    search_results,
    meta_features,
    meta_dataset,
    surrogate,
    recommendation_evaluation,
    champion,
]
"""The steps of the pipeline, which are the stages of dvc.yaml as well."""

OTHERS = [imported_runs, other_champions]
"""What is learned of other learners than that of the settings; no stages of DVC."""

MONITORING = [knowledge_report, recommendation_monitoring]
"""What people look at; nothing depends on it."""
