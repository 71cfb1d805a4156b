"""When jobs run by themselves: the schedule and the sensors. All are off until a person turns them on in the UI.

The one thing to know: `inbox_sensor` only has the catalogue read; from there the sensor `automation` follows, one run
for all new tasks and one for everything that is learned from them, which trains the champion's networks on. The
schedule, and `drift_sensor` where the setting `retrain_on_drift` is on, train from scratch.
"""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from metaflow_hpo.actions import feedback, fit, intake
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.orchestration import assets
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.settings import Settings

MAX_RETRIES_TAG = "dagster/max_retries"
MAX_ATTEMPTS = 3
"""How often the catalogue is read for the same deliveries, before a person has to look."""
_INTERVAL_S = Settings.load().sensor_interval_s
_FORGOTTEN_AFTER = timedelta(hours=6)
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

catalogue_job = dg.define_asset_job(
    "catalogue",
    selection=dg.AssetSelection.assets(assets.dataset_catalogue),
    description="Read all tasks.",
    run_tags={MAX_RETRIES_TAG: "0"},  # the sensor asks again
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


FROM_SCRATCH = {"ops": {"surrogate": {"config": {"from_scratch": True}}}}


@dg.schedule(
    job=learn_job,
    cron_schedule=Settings.load().retrain_cron,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Retrains from scratch, and skips a meta-data set that the surrogate was trained on from scratch.",
)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Retrain from scratch, weekly unless `retrain_cron` says otherwise, and not on a meta-data set that was."""
    obstacle = _find_obstacle(Pipeline(Settings.load()))
    return dg.SkipReason(obstacle) if obstacle else dg.RunRequest(run_key=None, run_config=FROM_SCRATCH)


def _find_obstacle(pipeline: Pipeline) -> str | None:
    """Say why a training from scratch would bring nothing, or return None."""
    if not any(pipeline.store.data.glob("search_results/*.parquet")):
        return "No task has been searched yet; materialize search_results first."
    md5 = fit.find_learned_md5(pipeline)
    return f"The surrogate was trained from scratch on this very meta-data set (md5 {md5})." if md5 else None


@dg.sensor(
    job=learn_job,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Retrains from scratch when the champion's intervals fail, where `retrain_on_drift` is set.",
)
def drift_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Where the setting `retrain_on_drift` is on: retrain from scratch, once a champion, when its intervals fail."""
    pipeline = Pipeline(Settings.load())
    if not pipeline.settings.retrain_on_drift:
        return dg.SkipReason("The setting retrain_on_drift is off: the check `intervals_hold` only warns.")
    report = feedback.read_monitoring(pipeline)
    if report is None or not report["drifted"]:
        return dg.SkipReason("Not monitored yet." if report is None else report["reason"])
    obstacle = _find_obstacle(pipeline)
    if obstacle:
        return dg.SkipReason(f"{report['reason']} {obstacle} Search new tasks first.")
    champion = pipeline.registry.champion()
    served = "none" if champion is None else str(champion.version)
    key = f"drift/{served}/{file_md5(pipeline.store.meta_dataset_path)}"
    return dg.RunRequest(run_key=key, run_config=FROM_SCRATCH, tags={"drift": report["reason"][:200]})


@dg.sensor(
    jobs=[catalogue_job, collect_job],
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Has the catalogue read when files come into `data/inbox/`, change or go; `automation` does the rest.",
)
def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Have the catalogue read, once for all files that came, changed or went; again after a run that was killed.

    Tasks of which the rows were replaced are collected again; `automation` only follows those that never were.
    """
    pipeline = Pipeline(Settings.load())
    store = pipeline.store
    pending = intake.find_pending(store)
    # Accepted on the command line, where no partition can be added.
    known = set(context.instance.get_dynamic_partitions(TASKS)) | _without_learner(pipeline)
    unknown = [task_id for task_id in intake.accepted_tasks(store) if task_id not in known]
    if not pending and not unknown:
        context.update_cursor("")
        return _collect_replaced(context.instance, store)
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
    request = dg.RunRequest(job_name=catalogue_job.name, run_key=None, tags={"inbox_files": str(len(waited_for))})
    return dg.SensorResult([request])


def _without_learner(pipeline: Pipeline) -> set[str]:
    """Return the tasks of the catalogue that no learner trains on, which have no partition."""
    store = pipeline.store
    return set(store.task_ids()) - set(pipeline.collected_task_ids()) if store.catalogue_path.is_file() else set()


def _collect_replaced(instance: dg.DagsterInstance, store: DataStore) -> dg.SensorResult | dg.SkipReason:
    """Ask for the partitions of files that were replaced, each version once."""
    done = instance.get_materialized_partitions(dg.AssetKey("search_results"))
    replaced = {task_id: sha256 for task_id, sha256 in intake.replaced_tasks(store).items() if task_id in done}
    if not replaced:
        return dg.SkipReason(f"All files of {store.inbox} are known, or still being written.")
    return dg.SensorResult(
        [
            dg.RunRequest(job_name=collect_job.name, run_key=f"{task_id}/{sha256}", partition_key=task_id)
            for task_id, sha256 in replaced.items()
        ]
    )


def _is_catalogue_read(instance: dg.DagsterInstance) -> bool:
    """Tell whether a run of the job is waiting or at work; one that was forgotten hours ago does not count."""
    since = datetime.now(UTC) - _FORGOTTEN_AFTER
    running = dg.RunsFilter(job_name=catalogue_job.name, statuses=_UNFINISHED, created_after=since)
    return instance.get_runs_count(running) > 0


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.assets(*assets.ASSETS, *assets.OTHERS, *assets.MONITORING),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=_INTERVAL_S,
    run_tags={"metaflow_hpo": "automation"},
    description="New tasks are searched and described in one run; then the surrogate is trained, evaluated and gated.",
)
