"""A run whose process was killed is found, failed and, as dagster.yaml says, started again."""

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus

from metaflow_hpo.definitions import defs
from metaflow_hpo.orchestration import launcher
from metaflow_hpo.orchestration.launcher import WatchedRunLauncher

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path, monkeypatch):
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as made:
        yield made


def start_run(instance, pid):
    job = defs.resolve_job_def("catalogue")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, run_config={})
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    return run


def test_the_instance_watches_runs_and_starts_dead_ones_again(instance):
    assert isinstance(instance.run_launcher, WatchedRunLauncher)
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    settings = yaml.safe_load((ROOT / "dagster_home" / "dagster.yaml").read_text())
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert settings["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}


def test_a_killed_process_is_noticed_and_a_living_one_left_alone(instance):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = start_run(instance, process.pid)
        assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        process.kill()
        process.wait()
    found = instance.run_launcher.check_run_worker_health(run)
    assert found.status == WorkerStatus.FAILED
    assert f"its process {process.pid} is gone" in found.msg


def test_a_run_that_has_not_reported_its_process_yet_is_left_alone(instance):
    assert instance.run_launcher.check_run_worker_health(start_run(instance, None)).status == WorkerStatus.RUNNING


def test_a_younger_process_of_the_same_number_does_not_count(instance):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = start_run(instance, process.pid)
        (event,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        assert launcher._is_alive(process.pid, event.timestamp)
        assert not launcher._is_alive(process.pid, event.timestamp - 3600)
        process.kill()
