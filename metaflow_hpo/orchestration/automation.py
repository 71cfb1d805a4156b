"""When jobs run by themselves: the schedule and the sensors. All are off until a person turns them on in the UI.

The one thing to know: `inbox_sensor` only has the catalogue read; from there the sensor `automation` follows, one run
for all new tasks and one for everything that is learned from them.
"""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from metaflow_hpo.adapters import intake, surrogate_steps
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.orchestration import assets
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.settings import Settings

MAX_ATTEMPTS = 3
"""How often the catalogue is read for the same deliveries, before a person has to look."""
_FORGOTTEN_AFTER = timedelta(hours=6)
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

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
    """Retrain on Monday at 3:00, unless there is nothing the surrogate does not know yet."""
    pipeline = Pipeline(Settings())
    if not any(pipeline.store.data.glob("search_results/*.parquet")):
        return dg.SkipReason("No task has been searched yet; materialize search_results first.")
    md5 = surrogate_steps.find_learned_md5(pipeline)
    if md5 is not None:
        return dg.SkipReason(f"The surrogate was trained on this very meta-data set (md5 {md5}).")
    return dg.RunRequest(run_key=None)


@dg.sensor(job=catalogue_job, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.STOPPED)
def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Have the catalogue read, once for all files that came, changed or went; again after a run that was killed."""
    store = Pipeline(Settings()).store
    pending = intake.find_pending(store)
    # Accepted on the command line, where no partition can be added.
    known = set(context.instance.get_dynamic_partitions(TASKS))
    unknown = [task_id for task_id in intake.accepted_tasks(store) if task_id not in known]
    if not pending and not unknown:
        context.update_cursor("")
        return dg.SkipReason(f"All files of {store.inbox} are known, or still being written.")
    waited_for = [*pending, *unknown]
    if _is_catalogue_read(context.instance):
        return dg.SkipReason(f"The catalogue is being read; {len(waited_for)} deliveries wait for the next one.")
    last = json.loads(context.cursor or "{}")
    attempts = last.get("attempts", 0) + 1 if last.get("waited_for") == waited_for else 1
    if attempts > MAX_ATTEMPTS:
        return dg.SkipReason(
            f"The catalogue was read {MAX_ATTEMPTS} times without taking in {', '.join(waited_for[:5])}. "
            "See the failed runs of the job `catalogue`; mend the cause and run it by hand."
        )
    context.update_cursor(json.dumps({"waited_for": waited_for, "attempts": attempts}))
    return dg.RunRequest(run_key=None, tags={"inbox_files": str(len(waited_for))})


def _is_catalogue_read(instance: dg.DagsterInstance) -> bool:
    """Tell whether a run of the job is waiting or at work; one that was forgotten hours ago does not count."""
    since = datetime.now(UTC) - _FORGOTTEN_AFTER
    running = dg.RunsFilter(job_name=catalogue_job.name, statuses=_UNFINISHED, created_after=since)
    return instance.get_runs_count(running) > 0


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.assets(*assets.ASSETS, *assets.MONITORING),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    run_tags={"metaflow_hpo": "automation"},
    description="New tasks are searched and described in one run; then the surrogate is trained, evaluated and gated.",
)
