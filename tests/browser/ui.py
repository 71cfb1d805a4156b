"""What the pictures and the browser tests share: a small project, the servers of `make ui`, and headless Chromium.

The one thing to know: nothing is staged. The tasks are real, the daemon is running, and what a page shows was computed
by this project; only the budgets are small.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BUDGETS = {
    "METAFLOW_HPO_FIDELITY_EPOCHS": "10",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
    "DAGSTER_DISABLE_TELEMETRY": "true",
}
START_S, WORK_S = 240.0, 400.0
SENSORS = ("inbox_sensor", "automation")
AUTOMATIONS = 4
"""Sensors and schedules on the page "Automation"."""


def lay_out(project: Path, tasks: Sequence[str], core_trials: int, random_trials: int) -> dict[str, str]:
    """Make a project's folders and return the environment that works in it."""
    (project / "dagster_home").mkdir(parents=True, exist_ok=True)
    (project / "data" / "inbox").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", project / "dagster_home")
    return {
        **os.environ,
        **BUDGETS,
        "METAFLOW_HPO_TASKS": json.dumps(list(tasks)),
        "METAFLOW_HPO_CORE_TRIALS": str(core_trials),
        "METAFLOW_HPO_RANDOM_TRIALS": str(random_trials),
        "DAGSTER_HOME": str(project / "dagster_home"),
        "METAFLOW_HPO_DATA": str(project / "data"),
        "PYTHONPATH": str(ROOT),
    }


def call(environment: dict[str, str], *arguments: str) -> None:
    """Run a module of this package to its end."""
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, check=True)


def wait_for(what: str, is_so: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: If it is not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(1)


class Dagster:
    """A Dagster that runs, asked through GraphQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> dict[str, Any]:
        """Return the data of the answer."""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(self.url + "/graphql", body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return dict(json.load(answer)["data"])

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, the latest first."""
        query = "{runsOrError{... on Runs{results{runId status jobName assetSelection{path}}}}}"
        return list(self.ask(query)["runsOrError"]["results"])

    def backfills(self) -> list[str]:
        """Return the statuses of all backfills."""
        query = "{partitionBackfillsOrError{... on PartitionBackfills{results{status}}}}"
        return [found["status"] for found in self.ask(query)["partitionBackfillsOrError"]["results"]]

    def sensors(self) -> dict[str, str]:
        """Return the status of each sensor by name."""
        where = '{repositoryName: "__repository__", repositoryLocationName: "metaflow_hpo.definitions"}'
        fields = "{... on Sensors{results{name sensorState{status}}}}"
        found = self.ask(f"{{sensorsOrError(repositorySelector: {where}){fields}}}")["sensorsOrError"]["results"]
        return {sensor["name"]: sensor["sensorState"]["status"] for sensor in found}

    def materialised(self) -> dict[str, str]:
        """Return the run of the latest materialisation of each asset that has one."""
        query = "{assetNodes{assetKey{path} assetMaterializations(limit:1){runId}}}"
        nodes = self.ask(query)["assetNodes"]
        found = {n["assetKey"]["path"][0]: n["assetMaterializations"] for n in nodes}
        return {name: events[0]["runId"] for name, events in found.items() if events}


@contextmanager
def make_ui(environment: dict[str, str], log: Path | None = None) -> Iterator[tuple[Dagster, str]]:
    """Run what `make ui` runs and yield Dagster and the address of MLflow."""
    ports = free_ports(2)
    servers = ["metaflow_hpo.adapters.servers", "--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with (log or Path(os.devnull)).open("wb") as output:
        command = [sys.executable, "-m", *servers]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process:
            try:
                dagster, mlflow = (f"http://127.0.0.1:{port}" for port in ports)
                for url in (f"{dagster}/server_info", f"{mlflow}/health"):
                    wait_for(f"{url} answers", lambda url=url: answers(url), START_S)
                yield Dagster(dagster), mlflow
            finally:
                process.send_signal(signal.SIGINT)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def answers(url: str) -> bool:
    """Tell whether a server answers there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except OSError:
        return False
    return True


@contextmanager
def open_page(width: int, height: int, timeout_s: float = 60) -> Iterator["Page"]:
    """Yield a page of headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(1000 * timeout_s)
        yield page
        browser.close()


def turn_sensors_on(page: "Page", dagster: Dagster) -> None:
    """Turn the sensors on as a person does: the switches of the page "Automation"."""
    page.goto(f"{dagster.url}/automation")
    # Each switch appears when the state of its sensor is known, and the next one in the row below is not the right one.
    page.wait_for_function(
        "count => document.querySelectorAll('label[class*=formatSwitch] input:enabled').length === count",
        arg=AUTOMATIONS,
    )
    for name in SENSORS:
        page.locator(
            f'xpath=((//*[text()="{name}"])[last()]/following::label[contains(@class, "formatSwitch")])[1]'
        ).click()
        wait_for(f"{name} runs", lambda name=name: dagster.sensors()[name] == "RUNNING", 30)


def land_a_file(project: Path, task_id: str) -> None:
    """Copy a table into the inbox, as someone else would."""
    from sklearn.datasets import load_wine

    arriving = project / "data" / "inbox" / f".{task_id}.part"
    load_wine(as_frame=True).frame.to_csv(arriving, index=False)
    arriving.rename(project / "data" / "inbox" / f"{task_id}.csv")


def show_plot(page: "Page", name: str) -> None:
    """Open the plot of an asset on the page of its last materialisation.

    Raises:
        ValueError: If there is no picture in it.
    """
    page.get_by_text(name).first.wait_for()
    page.get_by_role("row").filter(has_text=name).last.get_by_text("Show Markdown").click()
    plot = page.locator("img[alt=plot]").first
    plot.wait_for()
    if not plot.evaluate("image => image.complete && image.naturalWidth") > 100:
        raise ValueError(f"{name} shows no picture.")


def open_mlflow(page: "Page", url: str) -> None:
    """Open the experiments of MLflow on its side for model training, without its assistant."""
    page.goto(f"{url}/#/experiments")
    page.get_by_text("metaflow_hpo/surrogate").first.wait_for()
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    page.get_by_text("Model training").first.click()
