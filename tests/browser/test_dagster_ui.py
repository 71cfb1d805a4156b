"""Dagster's UI as a person uses it: the catalogue first, then "Materialize all" over all partitions.

Partitions are the tasks of the catalogue, so before its first materialisation there are none to choose and the
dialogue cannot be launched.
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
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need `pip install playwright`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Chromium on the PATH"),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SMALL = {
    "METAFLOW_HPO_TASKS": '["iris", "wine", "zoo", "servo", "glass", "balance"]',
    "METAFLOW_HPO_CORE_TRIALS": "8",
    "METAFLOW_HPO_RANDOM_TRIALS": "4",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "2",
    "METAFLOW_HPO_FOLDS": "3",
    "METAFLOW_HPO_ACCELERATOR": "cpu",
    "DAGSTER_DISABLE_TELEMETRY": "true",
}
START_S, WORK_S = 120, 400
ROOT = Path(__file__).parents[2]
ASSETS = {
    "dataset_catalogue",
    "search_results",
    "meta_features",
    "meta_dataset",
    "surrogate",
    "recommendation_evaluation",
}


class Dagster:
    """A running `dagster dev`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str) -> dict:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(self.url + "/graphql", body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def is_up(self) -> bool:
        try:
            return bool(self.ask("{version}")["version"])
        except OSError:
            return False

    def runs(self) -> list[dict]:
        query = "{runsOrError{... on Runs{results{runId status assetSelection{path}}}}}"
        return self.ask(query)["runsOrError"]["results"]

    def backfills(self) -> list[str]:
        query = "{partitionBackfillsOrError{... on PartitionBackfills{results{status}}}}"
        return [found["status"] for found in self.ask(query)["partitionBackfillsOrError"]["results"]]

    def materialised(self) -> set[str]:
        query = "{assetNodes{assetKey{path} assetMaterializations(limit:1){runId}}}"
        return {n["assetKey"]["path"][0] for n in self.ask(query)["assetNodes"] if n["assetMaterializations"]}


def wait_for(what: str, is_done, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(1)


@pytest.fixture(scope="module")
def dagster(tmp_path_factory):
    home, data = tmp_path_factory.mktemp("dagster_home"), tmp_path_factory.mktemp("project") / "data"
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-m", "metaflow_hpo.definitions", "-h", "127.0.0.1"]
    environment = {**os.environ, **SMALL, "DAGSTER_HOME": str(home), "METAFLOW_HPO_DATA": str(data)}
    with (
        (home / "dagster.log").open("wb") as log,
        subprocess.Popen(
            [*command, "-p", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            made = Dagster(port)
            wait_for("dagster dev answers", made.is_up, START_S)
            yield made
        finally:
            # The whole group: `dagster dev` has a webserver, a daemon and code servers below it.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def page(dagster):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 1800, "height": 1100})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def test_the_whole_pipeline_is_materialised_from_the_asset_graph_and_shows_its_plots(dagster, page, tmp_path):
    page.goto(dagster.url + "/assets/dataset_catalogue")
    page.get_by_role("button", name="Materialize").first.click()
    wait_for("the catalogue", lambda: "dataset_catalogue" in dagster.materialised(), WORK_S)

    page.goto(dagster.url + "/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_text("6 partitions").first.wait_for()
    page.get_by_role("button", name="Launch backfill").click()
    wait_for("the backfill", lambda: bool(dagster.backfills()) and not {"REQUESTED"} & set(dagster.backfills()), WORK_S)

    assert dagster.materialised() >= ASSETS
    selections = [{asset["path"][0] for asset in run["assetSelection"]} for run in dagster.runs()]
    # One run for all partitions of both partitioned assets, not one a task.
    assert selections.count({"search_results", "meta_features"}) == 1

    page.goto(dagster.url + "/assets/recommendation_evaluation")
    page.get_by_text("plot_regret").first.wait_for()
    row = page.get_by_role("row").filter(has_text="plot_regret").last
    row.get_by_text("Show Markdown").click()
    plot = page.locator("img[alt=plot]").first
    plot.wait_for()
    assert plot.evaluate("image => image.complete && image.naturalWidth") > 100
    page.screenshot(path=tmp_path / "plot.png")
