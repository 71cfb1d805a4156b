"""What the pipeline itself costs: seconds a partition beyond the work, and the UI's answers with many partitions.

    python tests/bench/bench_pipeline.py --output bench_pipeline.json

The one thing to know: the work is what a search and a description measure of themselves; all else of a run's wall time,
its start left aside, is overhead: Dagster's events and checks, MLflow's runs, the plots, the tables.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from metaflow_hpo.actions.collect import build_catalogue
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.orchestration import assets
from metaflow_hpo.orchestration.main_job import materialize
from metaflow_hpo.orchestration.partitions import TASKS, sync_partitions
from metaflow_hpo.orchestration.resources import PipelineResource
from metaflow_hpo.settings import Settings

ROOT = Path(__file__).parents[2]
SMALL = {
    "METAFLOW_HPO_TASKS": '["iris"]',
    "METAFLOW_HPO_CORE_TRIALS": "8",
    "METAFLOW_HPO_RANDOM_TRIALS": "0",
    "METAFLOW_HPO_FIDELITY_EPOCHS": "1",
}
QUERIES = {
    "graph": "{assetNodes{id assetKey{path} groupName kinds isPartitioned hasMaterializePermission}}",
    "partitions": """{assetNodeOrError(assetKey:{path:["search_results"]}){... on AssetNode{
        partitionStats{numMaterialized numPartitions numFailed} partitionKeysByDimension{name partitionKeys}}}}""",
    "health": """{assetNodeOrError(assetKey:{path:["search_results"]}){... on AssetNode{
        assetPartitionStatuses{... on DefaultPartitionStatuses{materializedPartitions failedPartitions}}}}}""",
    "events": """{assetNodeOrError(assetKey:{path:["search_results"]}){... on AssetNode{
        assetMaterializations(limit:50){partition runId timestamp
            metadataEntries{__typename label ... on MarkdownMetadataEntry{mdStr}}}}}}""",
}
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def land_tasks(inbox: Path, count: int) -> None:
    """Write small tasks that share no column."""
    inbox.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(60, 3)).round(6)
        path = inbox / f"task_{number:04d}.csv"
        pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=np.where(x[:, 0] > 0, "yes", "no")).to_csv(path, index=False)
        os.utime(path, (0, 0))


def run_all(instance: dg.DagsterInstance, partitions: list[str]) -> dict[str, float]:
    """Collect all partitions in one run, as a single-run backfill does; return seconds."""
    chosen = [assets.search_results, assets.meta_features]
    began, processor = time.monotonic(), time.process_time()
    if not materialize(chosen, instance, PipelineResource(), partitions):
        raise SystemExit("the run failed; see its log")
    wall, processor = time.monotonic() - began, time.process_time() - processor
    work, count = _measure_work(instance, len(partitions)), len(partitions)
    overhead = {"overhead_s_per_partition": (wall - work) / count, "processor_s_per_partition": processor / count}
    return {"wall_s": wall, "work_s": work, **overhead}


def _measure_work(instance: dg.DagsterInstance, count: int) -> float:
    """Return the seconds that the latest searches and descriptions of all partitions measured of themselves."""
    total = 0.0
    for name in ("search_results", "meta_features"):
        latest: dict[str, float] = {}
        for record in instance.fetch_materializations(dg.AssetKey(name), limit=4 * count).records:
            found = record.asset_materialization
            if found is not None and found.partition is not None and "seconds" in found.metadata:
                latest.setdefault(found.partition, float(str(found.metadata["seconds"].value)))
        total += sum(latest.values())
    return total


def fill_partitions(instance: dg.DagsterInstance, count: int) -> None:
    """Add partitions with the materialisation of a real one, its plot included."""
    known = set(instance.get_dynamic_partitions(TASKS))
    fresh = [f"more_{number:04d}" for number in range(count - len(known))]
    instance.add_dynamic_partitions(TASKS, fresh)
    for name in ("search_results", "meta_features"):
        records = instance.fetch_materializations(dg.AssetKey(name), limit=20).records
        found = next(
            r.asset_materialization for r in records if r.asset_materialization and r.asset_materialization.metadata
        )
        for partition in fresh:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(name, partition=partition, metadata=found.metadata)
            )


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Run Dagster's web server on the instance; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "-m", "metaflow_hpo.definitions", "-h", "127.0.0.1"]
    with (
        (home / "webserver.log").open("wb") as log,
        subprocess.Popen([*command, "-p", str(port)], cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
            while True:
                try:
                    ask(address, "{version}")
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(1)
            yield address
        finally:
            process.terminate()


def ask(address: str, query: str) -> dict[str, Any]:
    """Ask GraphQL."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        found = json.load(answer)
    if "errors" in found:
        raise SystemExit(f"GraphQL: {found['errors'][0]['message']}")
    return dict(found["data"])


def time_queries(address: str, repetitions: int = 5) -> dict[str, float]:
    """Return the median seconds of the queries that the asset's page makes."""
    result = {}
    for name, query in QUERIES.items():
        times = []
        for _ in range(repetitions):
            began = time.monotonic()
            ask(address, query)
            times.append(time.monotonic() - began)
        result[name] = statistics.median(times)
    return result


def time_pages(address: str, screenshot: Path | None) -> dict[str, float]:
    """Return seconds until a person sees the graph, and the partitions of an asset, in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    result = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(f"{address}/overview")  # the program itself is loaded once
        for name, path, text in (
            ("graph", "/asset-groups", "Materialize all"),
            ("partitions", "/assets/search_results?view=partitions", "task_0000"),
        ):
            began = time.monotonic()
            page.goto(f"{address}{path}")
            page.get_by_text(text).first.wait_for(timeout=60_000)
            result[name] = time.monotonic() - began
        if screenshot is not None:
            page.screenshot(path=screenshot)
        browser.close()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--shown", type=int, default=1_000, help="partitions for the UI")
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metaflow_hpo_bench_") as temporary:
        home = Path(temporary) / "dagster_home"
        home.mkdir()
        shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
        data = Path(temporary) / "data"
        os.environ.update({**SMALL, "METAFLOW_HPO_DATA": str(data), "DAGSTER_HOME": str(home)})
        land_tasks(data / "inbox", chosen.partitions - 1)
        pipeline = Pipeline(Settings())
        build_catalogue(pipeline)
        with dg.DagsterInstance.get() as instance:
            sync_partitions(instance, pipeline.store.task_ids())
            partitions = list(instance.get_dynamic_partitions(TASKS))
            run_all(instance, partitions[:1])  # imports, kernels and the database are paid once
            report: dict[str, Any] = {"partitions": len(partitions) - 1, "load": os.getloadavg()[0]}
            report["fresh"] = run_all(instance, partitions[1:])
            report["again"] = run_all(instance, partitions[1:])
            print(json.dumps(report, indent=1), flush=True)
            fill_partitions(instance, chosen.shown)
            with served(home) as address:
                report["shown"] = chosen.shown
                report["graphql_s"] = time_queries(address)
                if find_spec("playwright") is None:
                    print("Chromium is not timed: pip install playwright (extra `browser`).", file=sys.stderr)
                else:
                    report["chromium_s"] = time_pages(address, chosen.screenshot)
    print(json.dumps(report, indent=1))
    if chosen.output:
        chosen.output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
