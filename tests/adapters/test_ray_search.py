"""Searches on a real Ray cluster: two nodes on this machine, with a token, whose workers and nodes are killed.

The one thing to know: Ray reads the token when it is imported, so nothing may import it before the fixture `cluster`.
"""

import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml

from metaflow_hpo.actions import collect
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.ray_search import MAX_DEATHS, Order, search_on_ray, stream_trials
from metaflow_hpo.adapters.servers import stop
from metaflow_hpo.adapters.sources.builtin import builtin_specs, load_builtin
from metaflow_hpo.collect.search import search
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "metaflow_hpo" / "orchestration" / "kubernetes"
TASKS = ("glass", "iris", "servo", "zoo")
TRIALS = 30
WORKER = "ray::stream_trials"


def load(task_id):
    return load_builtin(next(spec for spec in builtin_specs() if spec.task_id == task_id))


@pytest.fixture(scope="module")
def order():
    return Order(load("iris"), get_learner("mlp", workers=1), [("sobol", 4, 0), ("random", 2, 1)], fidelity=2)


def outcomes(trials):
    return {trial.key: (trial.performance, trial.test_performance, trial.learning_curve) for trial in trials}


def test_a_worker_streams_the_trials_of_every_search_of_its_plan(order):
    expected = []
    for strategy, trials, seed in order.plan:
        expected += search(order.data, get_learner("mlp"), strategy=strategy, trials=trials, seed=seed, fidelity=2)
    streamed = list(stream_trials(order))
    assert outcomes(streamed) == outcomes(expected)
    assert len(streamed) == len(expected) == 6


def test_a_worker_trains_only_what_is_not_known(order):
    first = list(stream_trials(order))
    assert list(stream_trials(replace(order, known=tuple(first)))) == []
    assert outcomes(stream_trials(replace(order, known=tuple(first[:-1])))) == outcomes(first[-1:])


def test_an_error_in_a_worker_comes_after_the_trials_before_it(order):
    stream = stream_trials(replace(order, plan=[("sobol", 2, 0), ("nothing_like_it", 2, 0)]))
    assert next(stream).strategy == next(stream).strategy == "sobol"
    with pytest.raises(MetaflowHPOError, match="nothing_like_it"):
        next(stream)


def test_a_worker_of_another_version_refuses(order):
    with pytest.raises(MetaflowHPOError, match=r"Expected metaflow_hpo 0\.0\.1 on every node"):
        next(stream_trials(replace(order, version="0.0.1")))


@pytest.fixture
def untouched(monkeypatch):
    """Let connecting set these without changing the tests that follow."""
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def drain(data, **settings):
    pipeline = Pipeline(Settings(data=data, executor="ray", **settings))
    return list(search_on_ray(pipeline, ["iris"], lambda task: []))


def test_a_ray_client_is_refused_with_the_remedy(tmp_path, untouched):
    with pytest.raises(MetaflowHPOError, match="run this step on a node of the cluster"):
        drain(tmp_path, ray_address="ray://head:10001")


def test_without_the_extra_the_command_that_installs_it_is_named(tmp_path, untouched, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MetaflowHPOError, match=r"pip install 'metaflow-hpo\[ray\]'"):
        drain(tmp_path)


@dataclass
class Cluster:
    """Ray nodes of one processor each, as `ray start` makes them."""

    folder: Path
    port: int
    environment: dict[str, str]
    nodes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_node(self) -> "subprocess.Popen[bytes]":
        where = [f"--address={self.address}"]
        if not self.nodes:
            where = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        size = ["--num-cpus=1", "--object-store-memory=100000000"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, *size, "--block"]
        path = self.folder / f"node_{len(self.nodes)}.log"
        with path.open("wb") as log:
            node = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.nodes.append(node)
        wait_until(lambda: node.poll() is not None or b"Ray runtime started" in path.read_bytes(), "a node")
        assert node.poll() is None, path.read_text()
        return node

    def workers(self, node: "subprocess.Popen[bytes] | None" = None) -> list[psutil.Process]:
        """Return the processes that are searching a task now."""
        nodes = self.nodes if node is None else [node]
        return [p for n in nodes if n.poll() is None for p in descendants(n) if p.name().startswith(WORKER[:15])]

    def raylet(self, node: "subprocess.Popen[bytes]") -> psutil.Process:
        return next(p for p in descendants(node) if p.name() == "raylet")


def descendants(node: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(node.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    process.name()
                    found.append(process)
    return found


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes that let nobody in without the token."""
    token = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # workers give way to others by default, and on a busy machine hardly run
    }
    before = {name: os.environ.get(name) for name in token}
    os.environ.update(token)  # the drivers run in this process, where Ray reads them when it is imported
    pytest.importorskip("ray")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Ray's sockets lie in the folder, and a socket's path may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray_", dir="/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    made = Cluster(folder, port, {**os.environ, "PYTHONPATH": path})
    try:
        made.start_node()
        made.start_node()
        yield made
    finally:
        stop(made.nodes)
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Pipeline:
    """A project whose tasks were searched on this machine."""
    data = tmp_path_factory.mktemp("local") / "data"
    (data / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    settings = Settings(data=data, tasks=TASKS, core_trials=16, random_trials=TRIALS - 16, fidelity_epochs=30)
    pipeline = Pipeline(settings)
    collect.build_catalogue(pipeline)
    collect.search_tasks(pipeline, TASKS)
    return pipeline


@pytest.fixture
def unsearched(local: Pipeline, tmp_path: Path, mlflow_template: Path, cluster: Cluster) -> Pipeline:
    """The same project before its searches, to be made on the cluster."""
    data = tmp_path / "data"
    shutil.copytree(local.store.data / "tasks", data / "tasks")
    shutil.copy(local.store.catalogue_path, data)
    (data / "mlflow").mkdir()
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    changes = {"data": data, "executor": "ray", "ray_address": cluster.address}
    return Pipeline(local.settings.model_copy(update=changes))


def assert_same_tables(found: Pipeline, expected: Pipeline) -> None:
    for task_id in TASKS:
        tables = [pd.read_parquet(p.store.search_results_path(task_id)) for p in (found, expected)]
        assert len(tables[0]) == TRIALS
        assert not tables[0]["configuration_id"].groupby(tables[0]["strategy"]).value_counts().gt(1).any()
        pd.testing.assert_frame_equal(*(t.drop(columns="duration_s") for t in tables), check_exact=True)
        assert found.store.is_searched(found.store.read_task(task_id).task)


def search_killing(pipeline: Pipeline, kill: Callable[[], bool]) -> dict[str, dict[str, object]]:
    """Search all tasks, and kill once two have trials and `kill` finds its victim at work, which it tells."""
    seen: set[str] = set()
    is_killed: list[bool] = []

    def progress(what: str, done: int, total: int) -> None:
        seen.add(what)
        if len(seen) >= 2 and not is_killed and kill():
            is_killed.append(True)

    reports = collect.search_tasks(replace(pipeline, progress=progress), TASKS)
    assert is_killed
    return reports


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestTwoNodes:
    def test_a_worker_killed_in_the_middle_loses_nothing(self, cluster, unsearched, local, caplog):
        victims: list[psutil.Process] = []

        def kill() -> bool:
            victims.extend(cluster.workers(cluster.nodes[1])[:1])
            for victim in victims:
                victim.kill()
            return victims != []

        with caplog.at_level(logging.WARNING, logger="metaflow_hpo"):
            reports = search_killing(unsearched, kill)
        assert "WorkerCrashedError; searching it again after" in caplog.text
        assert not victims[0].is_running()
        assert_same_tables(unsearched, local)
        # Each trial was kept once: what had been finished before the kill was not trained again.
        assert [report["fresh_trials"] for report in reports.values()] == [TRIALS] * len(TASKS)
        assert all(report["seconds"] > 0 for report in reports.values())
        runs = unsearched.tracking.client().search_runs(
            [unsearched.tracking.client().get_experiment_by_name("metaflow_hpo/search_results").experiment_id]
        )
        assert {run.data.tags["task_id"] for run in runs if "task_id" in run.data.tags} == set(TASKS)

    def test_a_second_call_searches_nothing_and_leaves_the_tables_as_they_are(self, unsearched, local):
        collect.search_tasks(unsearched, TASKS)
        before = {t: unsearched.store.search_results_path(t).read_bytes() for t in TASKS}
        reports = collect.search_tasks(unsearched, TASKS)
        assert [report["fresh_trials"] for report in reports.values()] == [0] * len(TASKS)
        assert {t: unsearched.store.search_results_path(t).read_bytes() for t in TASKS} == before

    def test_searches_that_fail_are_named_after_all_others_are_finished(self, unsearched):
        def plan(task):
            return [("sobol", 4, 0), *[("nothing_like_it", 1, 0)] * (task.task_id == "iris")]

        done = []
        with pytest.raises(MetaflowHPOError, match="2 of 5 searches failed on the cluster") as failure:
            done.extend(s.task_id for s in search_on_ray(unsearched, [*TASKS, "nothing_like_it"], plan))
        assert sorted(done) == ["glass", "servo", "zoo"]
        assert "iris (SearchSpaceMismatchError" in str(failure.value)
        assert "nothing_like_it (No task 'nothing_like_it'" in str(failure.value)
        counts = {task_id: len(unsearched.store.read_trials(load(task_id).task)) for task_id in TASKS}
        assert counts == dict.fromkeys(TASKS, 4)

    def test_a_search_whose_worker_dies_again_and_again_is_given_up_and_named(self, cluster, unsearched):
        is_over = threading.Event()

        def kill_workers() -> None:
            while not is_over.wait(0.02):
                for worker in cluster.workers():
                    with suppress(psutil.NoSuchProcess):
                        worker.kill()

        killer = threading.Thread(target=kill_workers)
        killer.start()
        try:
            with pytest.raises(MetaflowHPOError, match=rf"iris \(WorkerCrashedError, {MAX_DEATHS} times without a"):
                list(search_on_ray(unsearched, ["iris"], lambda task: [("sobol", 4, 0)]))
        finally:
            is_over.set()
            killer.join()

    def test_nobody_gets_in_without_the_token(self, cluster, unsearched):
        wrong = secrets.token_hex(32)
        answer = run_step("metaflow-hpo step search_results", unsearched, cluster, {"RAY_AUTH_TOKEN": wrong})
        assert answer.returncode == 1
        assert "Check the address, and that RAY_AUTH_TOKEN is the cluster's." in answer.stderr
        for token in (wrong, cluster.environment["RAY_AUTH_TOKEN"]):
            assert token not in answer.stderr + answer.stdout

    def test_the_command_of_the_manifest_goes_on_after_a_kill_of_the_driver(self, cluster, unsearched, local):
        command = read_manifest()["spec"]["entrypoint"]
        process = start_step(command, unsearched, cluster)
        journals = unsearched.store.data / "kept_trials"
        try:
            wait_until(lambda: sum(p.read_bytes().count(b"\n") for p in journals.glob(".*.jsonl")) >= 5, "5 trials")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            print(process.communicate()[1])  # shown where this fails
        kept = {}
        for task_id in TASKS:
            for trial in unsearched.store.read_trials(load(task_id).task):
                kept[task_id, trial.configuration_id, trial.strategy] = trial.duration_s
        assert 5 <= len(kept) < TRIALS * len(TASKS)
        answer = run_step(command, unsearched, cluster)
        assert (answer.returncode, answer.stdout) == (0, ""), answer.stderr
        assert_same_tables(unsearched, local)
        tables = pd.concat([pd.read_parquet(unsearched.store.search_results_path(t)) for t in TASKS])
        found = tables.set_index(["task_id", "configuration_id", "strategy"])["duration_s"]
        assert {key: found[key] for key in kept} == kept

    def test_a_node_killed_in_the_middle_loses_nothing(self, cluster, unsearched, local, caplog):
        doomed = cluster.nodes[1]

        def kill() -> bool:
            is_at_work = cluster.workers(doomed) != []
            if is_at_work:
                # All of it, as where a machine dies: a worker left alone would finish its task before it notices.
                for process in [cluster.raylet(doomed), *descendants(doomed)]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            return is_at_work

        with caplog.at_level(logging.WARNING, logger="metaflow_hpo"):
            search_killing(unsearched, kill)
        assert "Error; searching it again after" in caplog.text
        assert_same_tables(unsearched, local)
        wait_until(lambda: doomed.poll() is not None, "the end of the node")


def read_manifest() -> dict[str, Any]:
    with (KUBERNETES / "ray_cluster.yaml").open() as file:
        return next(part for part in yaml.safe_load_all(file) if part["kind"] == "RayJob")


def start_step(
    command: str, pipeline: Pipeline, cluster: Cluster, changes: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Run a command as a Ray job does: in a shell, with everything it needs in the environment."""
    bin_folder = cluster.folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    program = bin_folder / "metaflow-hpo"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m metaflow_hpo.cli "$@"\n')
    program.chmod(0o755)
    s = pipeline.settings
    settings = {
        "METAFLOW_HPO_DATA": str(s.data),
        "METAFLOW_HPO_EXECUTOR": "ray",
        "METAFLOW_HPO_TASKS": json.dumps(s.tasks),
        "METAFLOW_HPO_CORE_TRIALS": str(s.core_trials),
        "METAFLOW_HPO_RANDOM_TRIALS": str(s.random_trials),
        "METAFLOW_HPO_FIDELITY_EPOCHS": str(s.fidelity_epochs),
        "RAY_ADDRESS": cluster.address,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }
    environment = {**cluster.environment, **settings, **(changes or {})}
    return subprocess.Popen(
        ["/bin/sh", "-c", command],
        env=environment,
        cwd=pipeline.settings.data,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run_step(
    command: str, pipeline: Pipeline, cluster: Cluster, changes: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    process = start_step(command, pipeline, cluster, changes)
    try:
        out, err = process.communicate(timeout=800)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)
