"""What the pictures and the browser tests share: a small project, the servers of `make ui`, and headless Chromium.

The one thing to know: nothing is staged. The tasks are real, the daemon is running, and what a page shows was computed
by this project; only the budgets are small.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.live import Dagster, answers, free_ports, wait_for

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
START_S, WORK_S = 900.0, 1800.0
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
