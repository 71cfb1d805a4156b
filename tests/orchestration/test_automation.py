"""Files that land: one run of the catalogue, one of the collection, one of the learning, on a real instance."""

import importlib
import os
import time

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.collect import describe_tasks, search_tasks
from metaflow_hpo.adapters.files import write_json
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.definitions import defs
from metaflow_hpo.orchestration import automation
from metaflow_hpo.orchestration.assets import ASSETS
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    (folder / "inbox").mkdir(parents=True)
    settings = {
        "DATA": folder,
        "TASKS": '["iris"]',
        "CORE_TRIALS": 8,
        "RANDOM_TRIALS": 0,
        "FIDELITY_EPOCHS": 1,
        "FOLDS": 3,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"METAFLOW_HPO_{name}", str(value))
    return folder


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as made:
        yield made


def land(folder, count, start=0):
    for number in range(start, start + count):
        rng = np.random.default_rng(number)
        path = folder / "inbox" / f"landed_{number}.csv"
        pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "y": [0, 1] * 20}).to_csv(path, index=False)
        os.utime(path, (time.time() - 60, time.time() - 60))


def tick(instance, cursor=""):
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    return automation.inbox_sensor(context), context.cursor


def evaluate(instance, cursor=None):
    chosen = dg.AssetSelection.assets(*ASSETS)
    return dg.evaluate_automation_conditions(defs, instance, chosen, cursor=cursor)


def run(job, instance):
    return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)


def test_a_burst_of_files_is_one_run_of_the_catalogue_and_one_of_the_collection(data, instance):
    assert isinstance(tick(instance)[0], dg.SkipReason)
    evaluated = evaluate(instance)
    assert evaluated.total_requested == 0
    land(data, 10)
    (data / "inbox" / "bad.csv").write_text("a,y\n1\n")
    os.utime(data / "inbox" / "bad.csv", (0, 0))
    request, _ = tick(instance)
    assert isinstance(request, dg.SensorResult)
    assert request.run_requests[0].tags["inbox_files"] == "11"
    assert run("catalogue", instance).success
    skipped, _ = tick(instance)
    assert isinstance(skipped, dg.SkipReason)
    assert (data / "quarantine" / "bad.csv.reason.txt").is_file()
    expected = {"iris", *(f"landed_{n}" for n in range(10))}
    assert set(instance.get_dynamic_partitions(TASKS)) == expected

    evaluated = evaluate(instance, cursor=evaluated.cursor)
    for name in ("search_results", "meta_features"):
        assert evaluated.get_requested_partitions(dg.AssetKey(name)) == expected
    assert evaluated.total_requested == 2 * len(expected)


def test_the_sensor_waits_for_a_run_tries_a_killed_one_again_and_stops_in_the_end(data, instance):
    land(data, 1)
    cursor = ""
    for _ in range(automation.MAX_ATTEMPTS):
        request, cursor = tick(instance, cursor)
        assert isinstance(request, dg.SensorResult)
        queued = instance.create_run_for_job(
            defs.resolve_job_def("catalogue"), status=dg.DagsterRunStatus.STARTED, run_config={}
        )
        waiting, cursor = tick(instance, cursor)
        assert "is being read" in waiting.skip_message
        instance.report_run_failed(queued)
    given_up, cursor = tick(instance, cursor)
    assert "without taking in landed_0.csv" in given_up.skip_message
    land(data, 1, start=1)
    assert isinstance(tick(instance, cursor)[0], dg.SensorResult)


def test_a_file_accepted_on_the_command_line_still_gets_its_partition(data, instance):
    from metaflow_hpo.actions.collect import build_catalogue

    land(data, 1)
    build_catalogue(Pipeline(Settings()))
    assert isinstance(tick(instance)[0], dg.SensorResult)
    assert run("catalogue", instance).success
    assert isinstance(tick(instance)[0], dg.SkipReason)


def materialized(instance, name, partition=None):
    instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=partition))


def requested(evaluated):
    return {result.key.to_user_string() for result in evaluated.results if result.true_subset.size}


def test_learning_follows_the_whole_collection_in_one_run_although_a_task_is_missing(instance):
    instance.add_dynamic_partitions(TASKS, ["one", "two", "broken"])
    materialized(instance, "dataset_catalogue")
    evaluated = evaluate(instance)
    assert requested(evaluated) == {"search_results", "meta_features"}
    for name in ("search_results", "meta_features"):
        for partition in ("one", "two"):
            materialized(instance, name, partition)
    evaluated = evaluate(instance, cursor=evaluated.cursor)
    assert {"meta_dataset", "surrogate", "recommendation_evaluation", "champion"} <= requested(evaluated)
    for name in ("meta_dataset", "surrogate", "recommendation_evaluation", "champion"):
        materialized(instance, name)
    evaluated = evaluate(instance, cursor=evaluated.cursor)
    assert not requested(evaluated) & {"meta_dataset", "surrogate", "champion"}


def test_rows_that_were_replaced_are_collected_again_once(data, instance):
    land(data, 1)
    assert run("catalogue", instance).success
    pipeline = Pipeline(Settings())
    search_tasks(pipeline, ["landed_0"])
    describe_tasks(pipeline, ["landed_0"])
    materialized(instance, "search_results", "landed_0")
    assert isinstance(tick(instance)[0], dg.SkipReason)
    land(data, 1, start=7)
    (data / "inbox" / "landed_7.csv").rename(data / "inbox" / "landed_0.csv")
    assert tick(instance)[0].run_requests[0].job_name == "catalogue"
    assert run("catalogue", instance).success
    (request,) = tick(instance)[0].run_requests
    sha256 = pipeline.store.read_task("landed_0").task.sha256
    assert (request.job_name, request.partition_key, request.run_key) == ("collect", "landed_0", f"landed_0/{sha256}")
    search_tasks(pipeline, ["landed_0"])
    describe_tasks(pipeline, ["landed_0"])
    assert isinstance(tick(instance)[0], dg.SkipReason)


def test_drift_retrains_only_where_the_setting_is_on_and_there_is_something_new(data, instance, monkeypatch):
    def look():
        return automation.drift_sensor(dg.build_sensor_context(instance=instance))

    assert "retrain_on_drift is off" in look().skip_message
    monkeypatch.setenv("METAFLOW_HPO_RETRAIN_ON_DRIFT", "true")
    assert look().skip_message == "Not monitored yet."
    report = data / "feedback" / "monitoring.json"
    write_json(report, {"drifted": False, "reason": "All is well."})
    assert look().skip_message == "All is well."
    write_json(report, {"drifted": True, "reason": "40% lie in their interval."})
    assert "No task has been searched yet" in look().skip_message
    for name in ("search_results", "meta_features"):
        (data / name).mkdir()
        (data / name / "iris.parquet").write_bytes(b"")
    (data / "meta_dataset.parquet").write_bytes(b"rows")
    request = look()
    assert request.run_config == automation.FROM_SCRATCH
    assert request.run_key == look().run_key


def test_the_schedule_follows_its_setting_and_a_wrong_one_is_refused(monkeypatch):
    assert automation.weekly_retraining.cron_schedule == "0 3 * * 1"
    with pytest.raises(ValueError, match="expected five fields"):
        Settings(retrain_cron="weekly")
    monkeypatch.setenv("METAFLOW_HPO_RETRAIN_CRON", "30 1 * * *")
    assert importlib.reload(automation).weekly_retraining.cron_schedule == "30 1 * * *"
    monkeypatch.delenv("METAFLOW_HPO_RETRAIN_CRON")
    importlib.reload(automation)


def test_whatever_is_shown_in_the_ui_says_what_it_is_for():
    repository = defs.get_repository_def()
    shown = [*repository.sensor_defs, *repository.schedule_defs, *repository.get_all_jobs()]
    unsaid = {one.name for one in shown if not one.description} - {"__ASSET_JOB"}
    unsaid |= {
        key.to_user_string()
        for key in repository.asset_graph.executable_asset_keys
        if not repository.asset_graph.get(key).description or not repository.asset_graph.get(key).owners
    }
    unsaid |= {
        key.name
        for key in repository.asset_graph.asset_check_keys
        if not repository.asset_graph.get_check_spec(key).description
    }
    assert unsaid == set()
