"""The soak: the real daemon, deliveries in bursts, and kill -9, a dead server and a full disk while it works.

    make soak                            about half an hour (SOAK_MINUTES=10 for less)
    python tests/soak/soak.py --quick    two minutes: what `make test` runs

The one thing to know: faults stop after three quarters of the time, and the program then has to finish by itself; who
looks after it is a supervisor that only starts what died again. Exit code 1 says that something did not hold. The
quick one is judged by the same verdict; it only waits less, as its sensors and its monitoring look every 5 s.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import dagster as dg  # noqa: E402
import deliveries  # noqa: E402
import disk  # noqa: E402
import verdict  # noqa: E402
import yaml  # noqa: E402
from supervisor import Killer, Supervisor  # noqa: E402

from metaflow_hpo.actions.intake import find_pending  # noqa: E402
from metaflow_hpo.adapters.pipeline import Pipeline  # noqa: E402
from metaflow_hpo.adapters.servers import ui_servers  # noqa: E402
from metaflow_hpo.orchestration.partitions import TASKS  # noqa: E402
from metaflow_hpo.settings import Settings  # noqa: E402
from tests.live import Dagster, answers, free_ports, wait_for  # noqa: E402

BUILTIN = ["iris", "wine", "zoo", "servo", "glass"]
BUDGETS = {
    "METAFLOW_HPO_TASKS": json.dumps(BUILTIN),
    "METAFLOW_HPO_CORE_TRIALS": "8",
    "METAFLOW_HPO_RANDOM_TRIALS": "4",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "2",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
    "METAFLOW_HPO_LEARN_SHIPPED": "false",  # the champions of texts and pictures would take minutes each time
}
SENSORS = ("inbox_sensor", "automation")
START_S, END_S, PATIENCE_S = 600.0, 900.0, 120.0
"""Limits of the start and of the recovery, and how long something to hit is waited for."""


@dataclass(frozen=True)
class Plan:
    """How a soak goes.

    Attributes:
        seconds: How long faults are inflicted.
        faults: (second, what) in the order of time.
        bursts: In how many bursts the files arrive.
        full_s: Seconds for which the disk stays full at least, and at most where nobody feels it.
        calm_s: Seconds of quiet before the end is believed; longer than a sensor's interval and a retry's start.
        interval_s: Seconds between two looks of the sensors and of the monitoring; None: as shipped.
        misses: Kinds of faults that may hit nothing: in a short soak the work may be over before its turn.
    """

    seconds: float
    faults: Sequence[tuple[float, str]]
    bursts: int
    full_s: tuple[float, float]
    calm_s: float
    interval_s: int | None = None
    misses: int = 0

    @classmethod
    def long(cls, minutes: float, seed: int) -> "Plan":
        """Kill each about every six minutes, at random; once the disk is full, once all die."""
        chance, times, seconds = random.Random(seed), max(1, round(minutes / 6)), 60 * minutes
        kinds = [what for what in ("daemon", "worker", "mlflow") for _ in range(times)]
        faults = [(chance.uniform(0.03, 0.75) * seconds, what) for what in kinds]
        return cls(seconds, sorted([*faults, (0.4 * seconds, "disk"), (0.6 * seconds, "all")]), 10, (45.0, 90.0), 20.0)

    @classmethod
    def quick(cls, seed: int) -> "Plan":
        """One fault of each kind, in an order that `seed` gives, while two bursts are at work."""
        chance, kinds = random.Random(seed), ["daemon", "worker", "mlflow", "disk"]
        chance.shuffle(kinds)
        faults = [(10.0 * (i + 1) + chance.uniform(0, 5), what) for i, what in enumerate(kinds)]
        return cls(45.0, faults, 2, (3.0, 30.0), 12.0, 5, 1)


class Project:
    """A project of its own on a small disk, with git, DVC, a remote, and servers under a supervisor."""

    def __init__(self, folder: Path, interval_s: int | None) -> None:
        self.folder = folder
        self.data = folder / "project" / "data"
        self.has_small_disk = disk.mount_small_disk(self.data)
        self.home = folder / "project" / "dagster_home"
        ports = free_ports(2)
        self.environment = {
            **BUDGETS,
            "METAFLOW_HPO_DATA": str(self.data),
            "DAGSTER_HOME": str(self.home),
            "METAFLOW_HPO_DVC_REMOTE": str(folder / "remote"),
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
        }
        if interval_s is not None:
            self.environment["METAFLOW_HPO_SENSOR_INTERVAL_S"] = str(interval_s)
        os.environ.update(self.environment)
        self._lay_out(interval_s)
        servers = dict(zip(("dagster", "mlflow"), ui_servers(Pipeline(Settings()), *ports), strict=True))
        # As in a team: runs reach MLflow through its server, which may be gone.
        os.environ["METAFLOW_HPO_TRACKING_URI"] = servers["mlflow"].address
        self.environment["METAFLOW_HPO_TRACKING_URI"] = servers["mlflow"].address
        self.instance = dg.DagsterInstance.get()  # its databases are made by one process, not by three at once
        self.dagster = Dagster(servers["dagster"].address)
        self.supervisor = Supervisor(servers, self.environment, folder)

    def _lay_out(self, interval_s: int | None) -> None:
        project = self.data.parent
        (self.data / "inbox").mkdir(parents=True, exist_ok=True)
        self.home.mkdir()
        (self.folder / "remote").mkdir()
        instance = yaml.safe_load((ROOT / "dagster_home" / "dagster.yaml").read_text())
        if interval_s is not None:
            instance["run_monitoring"]["poll_interval_seconds"] = interval_s
            instance["run_queue"] = {"dequeue_interval_seconds": 1}
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(instance))
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

    def learn_first(self) -> None:
        """Make a first champion by the main job, while the servers start."""
        command = [sys.executable, "-m", "metaflow_hpo.orchestration.main_job"]
        done = subprocess.run(command, cwd=self.data.parent, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the main job failed:\n{done.stderr[-4000:]}")

    def turn_on_sensors(self) -> None:
        """Turn the sensors on, as a person does in the UI, once it is there."""
        wait_for("Dagster answers", lambda: answers(f"{self.dagster.url}/server_info"), START_S)
        wait_for("the sensors are known", lambda: set(SENSORS) <= set(self.dagster.sensors()), START_S)
        self.dagster.turn_on(SENSORS)

    def close(self) -> None:
        """Stop everything and leave the disk."""
        self.supervisor.close()
        self.instance.dispose()


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def is_done(project: Project, goods: Sequence[int]) -> bool:
    """Tell whether nothing is pending or running and the champion's job has seen every good task."""
    store, unfinished = project.pipeline.store, [s for s in dg.DagsterRunStatus if not _is_final(s)]
    if find_pending(store) or project.instance.get_runs_count(dg.RunsFilter(statuses=unfinished)):
        return False
    landed = verdict.landed_tasks(project.pipeline, goods)
    searched = {task_id: own for task_id, own in landed.items() if own is not None}
    if len(landed) < len(goods) or not all(verdict.is_joined(own, task_id) for task_id, own in searched.items()):
        return False
    order = ["meta_dataset", "surrogate", "recommendation_evaluation"]
    events = [project.instance.get_latest_materialization_event(dg.AssetKey(name)) for name in order]
    times = [event.timestamp for event in events if event is not None]
    return len(times) == len(order) and times == sorted(times)


def _is_final(status: dg.DagsterRunStatus) -> bool:
    return status in {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def deliver(project: Project, goods: Sequence[int], bads: Sequence[deliveries.Bad], plan: Plan) -> None:
    """Land all files in bursts over three quarters of the time, as long as there are faults, good and bad mixed."""
    inbox, bursts = project.data / "inbox", plan.bursts
    for burst in range(bursts):
        for number in goods[burst::bursts]:
            deliveries.land(inbox, deliveries.good_name(number), deliveries.write_good(number))
        for bad in bads[burst::bursts]:
            deliveries.land(inbox, bad.name, bad.write)
        say(f"burst {burst + 1}: {len(goods[burst::bursts])} good and {len(bads[burst::bursts])} bad files")
        time.sleep(0.75 * plan.seconds / bursts)


def inflict(project: Project, plan: Plan, seed: int) -> dict[str, int]:
    """Carry the faults out, each at its second or as soon as there is something to hit; return how many did."""
    killer, began = Killer(project.supervisor, project.instance, seed), time.monotonic()
    hit = dict.fromkeys((what for _, what in plan.faults), 0)
    for second, what in plan.faults:
        time.sleep(max(0.0, began + second - time.monotonic()))
        if what in ("disk", "mlflow"):
            killer.wait_for_work(PATIENCE_S)
        if what == "disk":
            say("the disk is full")
            failed, succeeded = killer.count_failed_steps(), killer.count_succeeded_steps()
            is_full = disk.fill(project.data, plan.full_s, lambda failed=failed: killer.count_failed_steps() > failed)
            # A step fails, or is held up by a server that cannot write and tries again.
            has_failed = killer.count_failed_steps() > failed
            was_hit = is_full and (has_failed or killer.count_succeeded_steps() == succeeded)
            say("the disk is empty again" if was_hit else "the disk is empty again; nobody felt it")
        else:
            was_hit = killer.kill(what, PATIENCE_S)
            say(f"kill -9 {what}" + ("" if was_hit else ": none was there for two minutes"))
        hit[what] += was_hit
    return hit


def judge(project: Project, goods: Sequence[int], bads: Sequence[deliveries.Bad], first: int) -> list[str]:
    """Return everything that does not hold, the processes left aside."""
    pipeline = project.pipeline
    return [
        *verdict.check_names(pipeline, goods),
        *verdict.check_searches(pipeline, BUILTIN, goods),
        *verdict.check_quarantine(pipeline, bads),
        *verdict.check_tables(project.data),
        *verdict.check_champion(pipeline, first),
        *verdict.check_versions(pipeline),
        *verdict.check_runs(project.instance),
    ]


def soak(folder: Path, plan: Plan, good: int, bad: int, seed: int) -> list[str]:
    """Run the soak; return what did not hold."""
    project = Project(folder, plan.interval_s)
    if not project.has_small_disk:
        say("this system lets nobody mount a disk here: the full disk is left out")
        plan = replace(plan, faults=[fault for fault in plan.faults if fault[1] != "disk"])
    try:
        wrong, report = _soak(project, plan, good, bad, seed)
    finally:
        project.close()
    wrong += verdict.check_processes(str(folder))
    print(json.dumps({**report, "wrong": wrong}, indent=1))
    return wrong


def _soak(project: Project, plan: Plan, good: int, bad: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    say("making the first champion, undisturbed")
    project.learn_first()
    project.turn_on_sensors()
    first = project.pipeline.registry.require_champion().version
    all_bad = deliveries.bad_files(project.data / "inbox")
    bads = [all_bad[number] for number in deliveries.pick(bad, len(all_bad), seed)]
    goods = deliveries.pick(good, max(good, len(deliveries.KINDS)), seed)
    say(f"version {first} is the champion; {len(plan.faults)} faults in {plan.seconds / 60:.1f} minutes")
    sender = Thread(target=deliver, args=(project, goods, bads, plan), daemon=True)
    sender.start()
    inflicted = inflict(project, plan, seed)
    sender.join()
    say("no more faults; waiting until everything is done")
    began = time.monotonic()
    wait_for("all runs", lambda: is_done(project, goods), END_S)
    time.sleep(plan.calm_s)
    wait_for("calm", lambda: is_done(project, goods), END_S)
    say("judging")
    statuses = Counter(run.status.value for run in project.instance.get_runs())
    report = {
        "faults": inflicted,
        "failed_steps": Killer(project.supervisor, project.instance, seed).count_failed_steps(),
        "restarts": project.supervisor.restarts,
        "runs": dict(statuses),
        "recovery_s": round(time.monotonic() - began - plan.calm_s, 1),
        "partitions": len(project.instance.get_dynamic_partitions(TASKS)),
        "versions": [f"{d.version} {d.outcome}" for d in verdict.read_decisions(project.pipeline)],
    }
    missed = [f"nothing was hit by the fault {what!r}" for what, times in inflicted.items() if not times]
    return [*judge(project, goods, bads, first), *(missed if len(missed) > plan.misses else [])], report


def main() -> int:
    """Parse the command line and run; 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", "30")))
    parser.add_argument("--quick", action="store_true", help="two bursts, one fault of each kind, short intervals")
    parser.add_argument("--good", type=int, help="good files: one of each kind, or 4 in the quick one")
    parser.add_argument("--bad", type=int, help="bad files: all, or 3 in the quick one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it there, to look at")
    chosen = parser.parse_args()
    disk.enter_namespace(sys.argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    folder = (chosen.keep or Path(tempfile.mkdtemp(prefix="metaflow_hpo_soak_"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"working in {folder}")
    plan = Plan.quick(chosen.seed) if chosen.quick else Plan.long(chosen.minutes, chosen.seed)
    asked = chosen.good, chosen.bad
    wanted = (4, 3) if chosen.quick else (len(deliveries.KINDS), len(deliveries.bad_files(folder)))
    good, bad = (given or count for given, count in zip(asked, wanted, strict=True))
    try:
        wrong = soak(folder, plan, good, bad, chosen.seed)
    finally:
        if chosen.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["FAILED", *wrong]) if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
