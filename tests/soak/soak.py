"""The soak: the real daemon, deliveries in bursts, and kill -9, a dead server and a full disk while it works.

    make soak                    about half an hour (SOAK_MINUTES=10 for less)
    python tests/soak/soak.py --minutes 2 --good 4 --bad 3

The one thing to know: faults stop after three quarters of the time, and the program then has to finish by itself; who
looks after it is a supervisor that only starts what died again. Exit code 1 says that something did not hold.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import dagster as dg  # noqa: E402
import deliveries  # noqa: E402
import disk  # noqa: E402
import verdict  # noqa: E402
from supervisor import Killer, Supervisor  # noqa: E402

from metaflow_hpo.adapters.intake import find_pending  # noqa: E402
from metaflow_hpo.adapters.pipeline import Pipeline  # noqa: E402
from metaflow_hpo.adapters.servers import HOST, ui_servers  # noqa: E402
from metaflow_hpo.orchestration.partitions import TASKS  # noqa: E402
from metaflow_hpo.settings import Settings  # noqa: E402

BUILTIN = ["iris", "wine", "zoo", "servo", "glass"]
BUDGETS = {
    "METAFLOW_HPO_TASKS": json.dumps(BUILTIN),
    "METAFLOW_HPO_CORE_TRIALS": "8",
    "METAFLOW_HPO_RANDOM_TRIALS": "4",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "2",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
}
SENSORS = ("inbox_sensor", "automation")
CALM_S, FULL_S, START_S, END_S = 20.0, 45.0, 600.0, 900.0
"""Seconds of quiet before the end is believed, of a full disk, and limits of the start and of the recovery."""


class Project:
    """A project of its own on a small disk, with git, DVC, a remote, and servers under a supervisor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "project" / "data"
        self.has_small_disk = disk.mount_small_disk(self.data)
        self.home = folder / "project" / "dagster_home"
        ports = _free_ports(2)
        self.environment = {
            **BUDGETS,
            "METAFLOW_HPO_DATA": str(self.data),
            "DAGSTER_HOME": str(self.home),
            "METAFLOW_HPO_DVC_REMOTE": str(folder / "remote"),
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
        }
        os.environ.update(self.environment)
        self._lay_out()
        servers = dict(zip(("dagster", "mlflow"), ui_servers(Pipeline(Settings()), *ports), strict=True))
        # As in a team: runs reach MLflow through its server, which may be gone.
        os.environ["METAFLOW_HPO_TRACKING_URI"] = servers["mlflow"].address
        self.environment["METAFLOW_HPO_TRACKING_URI"] = servers["mlflow"].address
        self.supervisor = Supervisor(servers, self.environment, folder)
        self.instance = dg.DagsterInstance.get()

    def _lay_out(self) -> None:
        project = self.data.parent
        (self.data / "inbox").mkdir(parents=True, exist_ok=True)
        self.home.mkdir()
        (self.folder / "remote").mkdir()
        shutil.copy(ROOT / "dagster_home" / "dagster.yaml", self.home)
        shutil.copy(ROOT / "dvc.yaml", project)
        shutil.copy(ROOT / "pyproject.toml", project)
        shutil.copytree(ROOT / "metaflow_hpo", project / "metaflow_hpo", ignore=shutil.ignore_patterns("knowledge"))
        dvc = [sys.executable, "-m", "dvc"]
        commands = [["git", "init", "-q"], [*dvc, "init", "-q"], ["git", "add", "dvc.yaml"]]
        named = ["-c", "user.name=soak", "-c", "user.email=soak@example.org"]
        for command in [*commands, ["git", *named, "commit", "-q", "-m", "Start"]]:
            subprocess.run(command, cwd=project, check=True, capture_output=True)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(Settings())

    def turn_on_sensors(self) -> None:
        """Turn the sensors on, as a person does in the UI."""
        command = [sys.executable, "-m", "dagster", "sensor", "start", "-m", "metaflow_hpo.definitions"]
        for name in SENSORS:
            subprocess.run([*command, name], check=True, capture_output=True)

    def close(self) -> None:
        """Stop everything and leave the disk."""
        self.supervisor.close()
        self.instance.dispose()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((HOST, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(what: str, is_so: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so, with patience for servers that are just being killed."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(3)


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def is_done(project: Project, tasks: Sequence[str]) -> bool:
    """Tell whether nothing is pending or running and the champion's job has seen every good task."""
    store, unfinished = project.pipeline.store, [s for s in dg.DagsterRunStatus if not _is_final(s)]
    if find_pending(store) or project.instance.get_runs_count(dg.RunsFilter(statuses=unfinished)):
        return False
    if not store.meta_dataset_path.is_file() or not set(tasks) <= set(store.read_meta_dataset()["task_id"]):
        return False
    order = ["meta_dataset", "surrogate", "recommendation_evaluation"]
    events = [project.instance.get_latest_materialization_event(dg.AssetKey(name)) for name in order]
    times = [event.timestamp for event in events if event is not None]
    return len(times) == len(order) and times == sorted(times)


def _is_final(status: dg.DagsterRunStatus) -> bool:
    return status in {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def deliver(project: Project, goods: Sequence[int], bads: Sequence[deliveries.Bad], seconds: float) -> None:
    """Land all files in five bursts over three fifths of the time, good and bad mixed."""
    inbox, bursts = project.data / "inbox", 5
    for burst in range(bursts):
        for number in goods[burst::bursts]:
            deliveries.land(inbox, f"good_{number}.csv", deliveries.write_good(number))
        for bad in bads[burst::bursts]:
            deliveries.land(inbox, bad.name, bad.write)
        say(f"burst {burst + 1}: {len(goods[burst::bursts])} good and {len(bads[burst::bursts])} bad files")
        time.sleep(0.6 * seconds / bursts)


def plan_faults(seconds: float, seed: int, *, with_disk: bool) -> list[tuple[float, str]]:
    """Return (second, what): each kill about every six minutes, at random; once the disk is full, once all die."""
    chance, times = random.Random(seed), max(1, round(seconds / 360))
    faults = [
        (chance.uniform(0.03, 0.75) * seconds, what) for what in ("daemon", "worker", "mlflow") for _ in range(times)
    ]
    faults.append((0.6 * seconds, "all"))
    return sorted([*faults, (0.4 * seconds, "disk")] if with_disk else faults)


def inflict(project: Project, faults: Sequence[tuple[float, str]], seed: int) -> dict[str, int]:
    """Carry the faults out, each at its second or as soon as there is something to kill."""
    killer, began, full = Killer(project.supervisor, project.instance, seed), time.monotonic(), 0
    for second, what in faults:
        time.sleep(max(0.0, began + second - time.monotonic()))
        if what == "disk":
            say(f"the disk is full for {FULL_S:.0f} s")
            full += disk.fill(project.data, FULL_S)
        else:
            say(f"kill -9 {what}" + ("" if killer.kill(what, 120) else ": none was there for two minutes"))
    return {**killer.killed, "disk full": full}


def judge(project: Project, goods: Sequence[str], bads: Sequence[deliveries.Bad], first: int) -> list[str]:
    """Return everything that does not hold, the processes left aside."""
    pipeline = project.pipeline
    return [
        *verdict.check_searches(pipeline, [*BUILTIN, *goods]),
        *verdict.check_quarantine(pipeline, bads),
        *verdict.check_tables(project.data),
        *verdict.check_champion(pipeline, first),
        *verdict.check_versions(pipeline),
        *verdict.check_runs(project.instance),
    ]


def soak(folder: Path, minutes: float, good: int, bad: int, seed: int) -> list[str]:
    """Run the soak; return what did not hold."""
    project = Project(folder)
    if not project.has_small_disk:
        say("this system lets nobody mount a disk here: the full disk is left out")
    try:
        wrong, report = _soak(project, minutes * 60, good, bad, seed)
    finally:
        project.close()
    wrong += verdict.check_processes(str(folder))
    print(json.dumps({**report, "wrong": wrong}, indent=1))
    return wrong


def _soak(project: Project, seconds: float, good: int, bad: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    project.turn_on_sensors()
    deliveries.land(project.data / "inbox", "first.csv", deliveries.write_good(500))
    say("waiting for the first champion, undisturbed")
    wait_for("the first champion", lambda: project.pipeline.registry.champion() is not None, START_S)
    wait_for("its run", lambda: is_done(project, BUILTIN), START_S)
    first = project.pipeline.registry.require_champion().version
    bads, goods = deliveries.bad_files(project.data / "inbox")[-bad:], range(good)
    names = [f"good_{number}" for number in goods]
    faults = plan_faults(seconds, seed, with_disk=project.has_small_disk)
    say(f"version {first} is the champion; {len(faults)} faults in {seconds / 60:.0f} minutes")
    sender = Thread(target=deliver, args=(project, goods, bads, seconds), daemon=True)
    sender.start()
    inflicted = inflict(project, faults, seed)
    sender.join()
    say("no more faults; waiting until everything is done")
    began = time.monotonic()
    wait_for("all runs", lambda: is_done(project, names), END_S)
    time.sleep(CALM_S)
    wait_for("calm", lambda: is_done(project, names), END_S)
    statuses = Counter(run.status.value for run in project.instance.get_runs())
    report = {
        "faults": inflicted,
        "restarts": project.supervisor.restarts,
        "runs": dict(statuses),
        "recovery_s": round(time.monotonic() - began - CALM_S, 1),
        "partitions": len(project.instance.get_dynamic_partitions(TASKS)),
        "versions": [f"{d.version} {d.outcome}" for d in verdict.read_decisions(project.pipeline)],
    }
    return judge(project, [*names, "first"], bads, first), report


def main() -> int:
    """Parse the command line and run; 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", "30")))
    parser.add_argument("--good", type=int, default=20)
    parser.add_argument("--bad", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it there, to look at")
    chosen = parser.parse_args()
    disk.enter_namespace(sys.argv)
    folder = (chosen.keep or Path(tempfile.mkdtemp(prefix="metaflow_hpo_soak_"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"working in {folder}")
    try:
        wrong = soak(folder, chosen.minutes, chosen.good, chosen.bad, chosen.seed)
    finally:
        if chosen.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["FAILED", *wrong]) if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
