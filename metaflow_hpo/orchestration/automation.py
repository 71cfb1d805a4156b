"""Jobs, the schedule and the sensor."""

import dagster as dg

from metaflow_hpo.adapters.collect_steps import list_inbox
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.orchestration import assets
from metaflow_hpo.settings import Settings

catalogue_job = dg.define_asset_job(
    "catalogue", selection=dg.AssetSelection.assets(assets.dataset_catalogue), description="Read all tasks."
)
collect_job = dg.define_asset_job(
    "collect",
    selection=dg.AssetSelection.assets(assets.search_results, assets.meta_features),
    description="Search and describe tasks, one partition a task.",
)
learn_job = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets(
        assets.meta_dataset, assets.surrogate, assets.recommendation_evaluation, assets.champion
    ),
    description="Join the meta-data set, train the surrogate, evaluate it and promote it if the gate passes.",
)


@dg.schedule(job=learn_job, cron_schedule="0 3 * * 1", default_status=dg.DefaultScheduleStatus.STOPPED)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Retrain on Monday at 3:00, unless no task has been searched yet."""
    searched = list(Settings().data.glob("search_results/*.parquet"))
    if not searched:
        return dg.SkipReason("No task has been searched yet; materialize search_results first.")
    return dg.RunRequest(run_key=None)


@dg.sensor(job=catalogue_job, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.STOPPED)
def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Read the catalogue again when the content of data/inbox/ has changed."""
    files = list_inbox(Pipeline(Settings()))
    if not files:
        return dg.SkipReason("data/inbox/ holds no csv or parquet file.")
    content = ",".join(f"{path.name}:{file_md5(path)}" for path in files)
    if content == context.cursor:
        return dg.SkipReason(f"The {len(files)} files of data/inbox/ are known.")
    context.update_cursor(content)
    return dg.RunRequest(run_key=None, tags={"inbox_files": str(len(files))})
