"""Time the service with a load generator: `hey` (Debian's package), on the surrogate that ships with the package.

The one thing to know: `closed` asks the next request when the last one is answered, so its latency is that of a
service with so many clients; `open` asks 100 a second whatever happens, ten at the same instant ten times a second.
"""

import argparse
import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.registry import Registry
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.settings import Settings


def prepare(data: Path) -> tuple[Registry, Recommender]:
    """Register the shipped surrogate twice and promote the first."""
    pipeline = Pipeline(Settings(data=data, tracking_uri=None))
    folder = None if pipeline.knowledge is None else pipeline.knowledge.recommender_folder("mlp")
    if folder is None:
        raise SystemExit("Expected the knowledge of the mlp in the package; it was built without.")
    served = Recommender.load(folder)
    example = pd.DataFrame([served.past.meta_features[0]], columns=list(served.meta_feature_names))
    for _ in range(2):
        with pipeline.tracking.parent_run("surrogate", "shipped", {}) as run:
            pipeline.registry.register_surrogate(folder, run_id=run.run_id, input_example=example)
    pipeline.registry.promote(1, "benchmark")
    return pipeline.registry, served


def write_request(path: Path, served: Recommender, tasks: int) -> Path:
    """Write a request for so many past tasks."""
    rows = served.past.meta_features[np.arange(tasks) % len(served.past.task_ids)]
    table = {"columns": list(served.meta_feature_names), "data": rows.tolist()}
    path.write_text(json.dumps({"dataframe_split": table, "params": {"k": 5}}))
    return path


def load(url: str, body: Path, *arguments: str) -> dict[str, float]:
    """Run `hey` and return requests a second, latencies in milliseconds, and how many requests failed."""
    command = ["hey", "-o", "csv", "-m", "POST", "-T", "application/json", "-D", str(body), *arguments, url]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    times = np.array([float(line["response-time"]) * 1e3 for line in lines])
    ends = [float(line["offset"]) + float(line["response-time"]) for line in lines]
    return {
        "requests": len(lines),
        "failed": sum(line["status-code"] != "200" for line in lines),
        "requests_per_s": len(lines) / max(ends) if ends else len(lines) / (time.monotonic() - began),
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": float(times.max()),
    }


def measure(url: str, folder: Path, registry: Registry, served: Recommender) -> dict[str, dict[str, float]]:
    """Return what each kind of load gave."""
    one, batch = write_request(folder / "one.json", served, 1), write_request(folder / "batch.json", served, 100)
    load(url, one, "-n", "50", "-c", "1")  # warms up
    found = {
        f"closed, {clients} clients": load(url, one, "-n", "1500", "-c", str(clients)) for clients in (1, 2, 4, 10)
    }
    found["open, 100 a second"] = load(url, one, "-z", "15s", "-c", "10", "-q", "10")
    found["batches of 100 tasks, 2 clients"] = load(url, batch, "-n", "30", "-c", "2")
    swaps = threading.Timer(3, lambda: [registry.promote(v, "benchmark") or time.sleep(4) for v in (2, 1)])
    swaps.start()
    found["promotion and rollback, 2 clients"] = load(url, one, "-z", "15s", "-c", "2")
    swaps.join()
    return found


def main() -> None:
    """Start the service, load it and print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write the numbers here, as JSON")
    chosen = parser.parse_args()
    if shutil.which("hey") is None:
        raise SystemExit("Expected the load generator `hey` on the PATH; found none. Try: apt-get install hey")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench_serve_") as temporary:
        registry, served = prepare(Path(temporary) / "data")
        environment = {**os.environ, "METAFLOW_HPO_DATA": str(Path(temporary) / "data")}
        environment.pop("METAFLOW_HPO_TRACKING_URI", None)
        command = [sys.executable, "-m", "metaflow_hpo.adapters.serving", "--port", str(port)]
        with subprocess.Popen(command, env=environment) as process:
            try:
                for _ in range(300):
                    try:
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                        break
                    except OSError:
                        time.sleep(0.2)
                load_before = os.getloadavg()[0]
                found = measure(f"http://127.0.0.1:{port}/invocations", Path(temporary), registry, served)
            finally:
                process.send_signal(signal.SIGTERM)
    print(f"processors {os.cpu_count()}, load average {load_before:.1f} before and {os.getloadavg()[0]:.1f} after")
    print(pd.DataFrame(found).T.round(1).to_string())
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
