"""Keeps Dagster and the MLflow server up, as systemd would, and kills what the soak wants dead."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import dagster as dg
import psutil

from metaflow_hpo.adapters.servers import Server, stop

RESTART_S = 2.0


class Supervisor:
    """Starts servers, each in a session of its own, and starts again those that died."""

    def __init__(self, servers: Mapping[str, Server], environment: Mapping[str, str], folder: Path) -> None:
        self.servers, self.environment, self.folder = dict(servers), dict(environment), folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: list[subprocess.Popen[bytes]] = []
        self.restarts = dict.fromkeys(servers, 0)
        self._stopped = Event()
        for name in servers:
            self._start(name)
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _start(self, name: str) -> None:
        server = self.servers[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                server.command,
                env={**os.environ, **server.environment, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _watch(self) -> None:
        while not self._stopped.wait(RESTART_S):
            for name, process in list(self.processes.items()):
                if process.poll() is not None:
                    self.ended.append(process)
                    self.restarts[name] += 1
                    self._start(name)

    def close(self) -> None:
        """Stop all servers and all they ever started."""
        self._stopped.set()
        self._thread.join()
        stop([*self.processes.values(), *self.ended])


class Killer:
    """Kills without warning (SIGKILL)."""

    def __init__(self, supervisor: Supervisor, instance: dg.DagsterInstance, seed: int) -> None:
        self.supervisor, self.instance, self.random = supervisor, instance, random.Random(seed)
        self.find = {"daemon": self._daemon, "worker": self._worker, "mlflow": self._mlflow, "all": self._all}

    def kill(self, what: str, patience_s: float) -> bool:
        """Kill the daemon, a worker, the MLflow server or all at once, when it is there; return whether it was."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            found = self.find[what]()
            if found and what in ("worker", "all"):
                time.sleep(self.random.uniform(0.0, 4.0))  # in the middle of its work
            running = self._running()
            hit = [process for process in found if self._shoot(process)]
            if hit and (what != "worker" or self._is_cut_short(running)):
                return True
            time.sleep(1.0)
        return False

    def wait_for_work(self, patience_s: float) -> bool:
        """Wait until a run is at work; return whether one is."""
        deadline = time.monotonic() + patience_s
        while not (at_work := bool(self._worker())) and time.monotonic() < deadline:
            time.sleep(0.5)
        return at_work

    def count_failed_steps(self) -> int:
        """Return how often a step has failed, to be tried again or not."""
        return self._count({dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_FAILURE})

    def count_succeeded_steps(self) -> int:
        """Return how many steps have succeeded."""
        return self._count({dg.DagsterEventType.STEP_SUCCESS})

    def _count(self, kinds: set[dg.DagsterEventType]) -> int:
        return sum(len(self.instance.all_logs(run.run_id, of_type=kinds)) for run in self.instance.get_runs())

    def _running(self) -> list[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))

    def _is_cut_short(self, runs: list[dg.DagsterRun]) -> bool:
        """Tell whether a run did not end well after all: a process may be killed when its work is done."""
        ended = [self.instance.get_run_by_id(run.run_id) for run in runs]
        return any(run is not None and run.status != dg.DagsterRunStatus.SUCCESS for run in ended)

    @staticmethod
    def _shoot(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            if _alive(process.pid):
                process.send_signal(signal.SIGKILL)
                return True
        return False

    def _daemon(self) -> list[psutil.Process]:
        return [p for p in self._family("dagster") if "dagster._daemon" in " ".join(_command(p))]

    def _mlflow(self) -> list[psutil.Process]:
        return self._family("mlflow")

    def _all(self) -> list[psutil.Process]:
        """Return everything while a run is at work: what is left of it after the machine was switched off."""
        return [*self._worker(), *self._family("dagster"), *self._mlflow()] if self._worker() else []

    def _family(self, name: str) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.supervisor.processes[name].pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def _worker(self) -> list[psutil.Process]:
        for run in self._running():
            for event in reversed(self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
                pid = event.get_dagster_event().engine_event_data.metadata.get("pid")
                if pid is not None and (found := _alive(int(str(pid.value)))):
                    return [found]
        return []


def _alive(pid: int) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    return None


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return list(process.cmdline())
    return []
