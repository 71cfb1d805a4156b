"""The whole pipeline through Dagster, on real tasks with small budgets."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import dagster as dg
import pandas as pd
import pytest

from metaflow_hpo.actions import collect, fit, promote
from metaflow_hpo.actions.candidate import read_candidate
from metaflow_hpo.adapters import evaluation_files
from metaflow_hpo.adapters.files import write_json
from metaflow_hpo.definitions import defs
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.orchestration import automation
from metaflow_hpo.orchestration.assets import ASSETS, MONITORING, OTHERS
from metaflow_hpo.orchestration.checks import CHECKS
from metaflow_hpo.orchestration.main_job import run_main_job
from metaflow_hpo.orchestration.partitions import TASKS
from metaflow_hpo.orchestration.resources import PipelineResource

pytestmark = pytest.mark.integration


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.parquet"))}


def test_every_asset_is_described_grouped_and_owned():
    for asset in [*ASSETS, *OTHERS, *MONITORING]:
        (spec,) = asset.specs
        assert spec.description
        assert spec.group_name in {"collect", "surrogate", "evaluate"}
        assert spec.kinds
        assert spec.owners


def test_only_the_monitoring_goes_stale_by_age():
    aging = [
        spec.key.to_user_string() for a in [*ASSETS, *OTHERS, *MONITORING] for spec in a.specs if spec.freshness_policy
    ]
    assert aging == ["recommendation_monitoring"]


def test_the_gate_is_the_only_blocking_check():
    blocking = {spec.name for check in CHECKS for spec in check.check_specs if spec.blocking}
    assert blocking == {"gate"}


def test_definitions_hold_all_assets_jobs_the_schedule_and_the_sensor():
    repository = defs.get_repository_def()
    names = {key.to_user_string() for key in repository.assets_defs_by_key}
    assert names == {a.key.to_user_string() for a in [*ASSETS, *OTHERS, *MONITORING]}
    assert {"catalogue", "collect", "learn"} <= set(repository.job_names)
    assert repository.has_schedule_def("weekly_retraining")
    assert repository.has_sensor_def("inbox_sensor")


def test_the_main_job_writes_every_table_plot_and_version(project):
    data, pipeline = project.data, project.pipeline()
    tasks = sorted(project.instance.get_dynamic_partitions(TASKS))
    assert tasks == ["glass", "iris", "servo", "wine", "yacht", "zoo"]
    assert sorted(p.stem for p in (data / "search_results").glob("*.parquet")) == tasks
    results = evaluation_files.read_results(pipeline.store)
    assert set(results["summary"]["recommender"]) == {"recommended", "portfolio", "nearest_task", "default", "random"}
    for name in ("regret.png", "realised.png", "calibration.png", "regret_per_task.csv", "realised_per_task.csv"):
        assert (data / "evaluation" / name).stat().st_size > 0
    champion = json.loads((data / "champion.json").read_text())
    assert champion["promoted"] == (champion["version"] is not None)


def test_each_partition_reports_its_search(project):
    records = project.instance.fetch_materializations(dg.AssetKey("search_results"), limit=50).records
    reported = {
        r.partition_key for r in records if r.asset_materialization and "search" in r.asset_materialization.metadata
    }
    assert reported == set(project.instance.get_dynamic_partitions(TASKS))


def test_searches_are_nested_runs_with_their_tables(project):
    client = project.pipeline().tracking.client()
    experiment = client.get_experiment_by_name("metaflow_hpo/search_results")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["task_id"] for run in children} == set(project.instance.get_dynamic_partitions(TASKS))
    assert {"trials.csv", "trials.parquet", "search.png"} <= {
        a.path for a in client.list_artifacts(children[0].info.run_id)
    }
    assert all("git.revision" in run.data.tags and "dagster.run_id" in run.data.tags for run in runs)


def test_the_surrogate_run_holds_learning_curves_and_the_evaluation(project):
    candidate = read_candidate(project.pipeline())
    client = project.pipeline().tracking.client()
    run = client.get_run(candidate["run_id"])
    assert run.data.tags["data.meta_dataset.md5"] == candidate["meta_dataset_md5"]
    assert run.info.run_name == f"version {candidate['version']}"
    assert run.data.params["learner"] == "mlp"
    assert "regret/recommended_k1" in run.data.metrics
    curves = [name for name in run.data.metrics if name.endswith("validation_loss") and name.startswith("fit/fold-")]
    assert len(curves) == 3
    assert len(client.get_metric_history(candidate["run_id"], curves[0])) > 1


def test_a_second_run_trains_nothing_and_changes_no_table(project):
    before = {name: digest(project.data / name) for name in ("tasks", "search_results", "meta_features")}
    version = read_candidate(project.pipeline())["version"]
    assert run_main_job(project.instance, PipelineResource())
    assert before == {name: digest(project.data / name) for name in before}
    pipeline = project.pipeline()
    reports = collect.search_tasks(pipeline, pipeline.store.task_ids())
    assert {r["fresh_trials"] for r in reports.values()} == {0}
    assert fit.fit(pipeline)["reused"]
    assert read_candidate(pipeline)["version"] == version


def test_an_unevaluated_candidate_is_not_promoted(project, monkeypatch):
    pipeline = project.pipeline()
    candidate = read_candidate(pipeline)
    monkeypatch.setattr(promote, "read_candidate", lambda _: {**candidate, "version": 99})
    with pytest.raises(MetaflowHPOError, match="Version 99 has not been evaluated"):
        promote.promote(pipeline)


def test_a_refused_candidate_leaves_the_champion_and_says_why(project):
    pipeline = project.pipeline()
    evaluation, candidate_file = (
        project.data / "evaluation" / "results.json",
        project.data / "mlflow" / "candidate.json",
    )
    results, candidate = (json.loads(path.read_text()) for path in (evaluation, candidate_file))
    registry = pipeline.registry
    registry.promote(int(candidate["version"]), "for this test")
    example = pd.DataFrame([dict.fromkeys(_meta_feature_names(pipeline), 0.0)])
    worse = registry.register_surrogate(project.data / "surrogate", run_id=candidate["run_id"], input_example=example)
    try:
        write_json(evaluation, {**results, "version": worse, "promoted": False, "reason": "Worse than portfolio."})
        write_json(candidate_file, {**candidate, "version": worse})
        record = promote.promote(pipeline)
    finally:
        write_json(evaluation, results)
        write_json(candidate_file, candidate)
    assert record["version"] == candidate["version"]
    assert registry.champion().version == candidate["version"]
    tags = pipeline.tracking.client().get_model_version(registry.name, str(worse)).tags
    assert tags["rejection.reason"] == "Worse than portfolio."


def _meta_feature_names(pipeline):
    frame = pipeline.store.read_meta_dataset()
    return sorted(c for c in frame.columns if c.startswith("mf_"))


def test_a_killed_search_loses_nothing_and_ends_like_an_undisturbed_one(project, tmp_path, monkeypatch):
    more = {"CORE_TRIALS": "40", "RANDOM_TRIALS": "10", "FIDELITY_EPOCHS": "40", "TASKS": '["iris"]'}
    for name, value in {**more, "DATA": str(tmp_path / "data")}.items():
        monkeypatch.setenv(f"METAFLOW_HPO_{name}", value)
    pipeline = project.pipeline()
    collect.build_catalogue(pipeline)
    journals = tmp_path / "data" / "kept_trials"
    command = [sys.executable, "-m", "metaflow_hpo.cli", "step", "search_results"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while count_lines(journals) < 5:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert count_lines(journals) < 50
    table = tmp_path / "data" / "search_results" / "iris.parquet"
    assert not table.exists()
    collect.search_tasks(pipeline, ["iris"])
    resumed = pd.read_parquet(table)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "undisturbed"))
    other = project.pipeline()
    collect.build_catalogue(other)
    collect.search_tasks(other, ["iris"])
    undisturbed = pd.read_parquet(other.store.search_results_path("iris"))
    assert len(resumed) == 50
    pd.testing.assert_frame_equal(
        resumed.drop(columns="duration_s"), undisturbed.drop(columns="duration_s"), check_exact=True
    )
    assert count_lines(journals) == 0


def count_lines(folder):
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(".*.journal.jsonl"))


def test_trials_of_other_rows_are_not_used(project):
    pipeline = project.pipeline()
    task = pipeline.store.read_task("iris").task
    assert len(pipeline.store.read_trials(task)) == 14
    changed = replace(task, sha256="0" * 64)
    assert pipeline.store.read_trials(changed) == []


def test_the_schedule_skips_what_the_surrogate_knows_already(project, monkeypatch, tmp_path):
    with dg.build_schedule_context() as context:
        known = automation.weekly_retraining(context)
        assert isinstance(known, dg.SkipReason)
        assert read_candidate(project.pipeline())["meta_dataset_md5"] in known.skip_message
        # A table that is newer than the join may hold what is not joined yet.
        table = project.data / "search_results" / "iris.parquet"
        stat = table.stat()
        table.touch()
        assert isinstance(automation.weekly_retraining(context), dg.RunRequest)
        os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "empty"))
        nothing = automation.weekly_retraining(context)
        assert isinstance(nothing, dg.SkipReason)
        assert "No task has been searched" in nothing.skip_message
