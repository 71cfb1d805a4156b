import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import metaflow_hpo
from metaflow_hpo.adapters.registry import Registry
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.recommend.recommendation import ServedRecommender

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


def example_for(folder: Path) -> pd.DataFrame:
    return pd.DataFrame({name: [1.0] for name in ServedRecommender.load(folder).meta_feature_names})


def promote(tracking: Tracking, folder: Path, cache: Path) -> Registry:
    registry = Registry(tracking, cache)
    with tracking.parent_run("surrogate", "s", {}) as run:
        version = registry.register_surrogate(folder, run_id=run.run_id, input_example=example_for(folder))
    registry.promote(version, "the first one")
    return registry


@contextmanager
def serving(tracking: Tracking, name: str, folder: Path) -> Iterator[str]:
    """Serve the champion in a process group of its own, in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        f"models:/{name}@champion",
        "--env-manager",
        "local",
    ]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": tracking.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": os.pathsep.join([str(Path(metaflow_hpo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, folder / "serve.log")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(480):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            time.sleep(0.25)
    pytest.fail(f"The server did not start: {log.read_text()[-3000:]}")


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, body, {"Content-Type": content_type})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_served_champion_recommends_and_answers_400_to_what_it_cannot(
    tracking: Tracking, served_folder: Path, tmp_path: Path
) -> None:
    registry = promote(tracking, served_folder, tmp_path / "cache")
    row = example_for(served_folder).iloc[0].to_dict()
    first = next(iter(row))
    (tmp_path / "server").mkdir()

    def body(values: dict[str, Any], **more: Any) -> bytes:
        return json.dumps({"dataframe_records": [values], **more}).encode()

    malformed = {
        "missing column": (body({name: 1.0 for name in row if name != first}), "missing inputs"),
        "text": (body({**row, first: "abc"}), "Failed to convert column"),
        "a list": (body({**row, first: [1.0]}), "Failed to convert column"),
        "null": (body({**row, first: None}), first),
        "NaN": (body({**row, first: math.nan}), first),
        "infinite": (body({**row, first: math.inf}), first),
        "k of 0": (body(row, params={"k": 0}), "k must be a whole number from 1 to 50"),
        "k of 51": (body(row, params={"k": 51}), "k must be a whole number from 1 to 50"),
        "k null": (body(row, params={"k": None}), "k must be a whole number from 1 to 50"),
        "k text": (body(row, params={"k": "five"}), "Invalid parameters found"),
        "k of 2.5": (body(row, params={"k": 2.5}), "Invalid parameters found"),
        "params a list": (body(row, params=[5]), "must be a dictionary"),
        "no JSON": (b"hello", "valid JSON"),
        "no object": (b"[1]", "JSON dictionary"),
        "no input": (b"{}", "JSON dictionary"),
        "no task": (json.dumps({"dataframe_split": {"columns": list(row), "data": []}}).encode(), "1 to 1000 tasks"),
    }
    with serving(tracking, registry.name, tmp_path / "server") as url:
        status, answer = post(url, body(row, params={"k": 2}))
        assert status == 200, answer
        assert answer["predictions"] == [ServedRecommender.load(registry.download("champion")).recommend(row, 2)]
        assert [item["rank"] for item in answer["predictions"][0]["recommendations"]] == [1, 2]
        status, answer = post(url, json.dumps({"dataframe_records": [row, row]}).encode())
        assert status == 200
        assert [len(item["recommendations"]) for item in answer["predictions"]] == [5, 5]
        # MLflow drops what the signature does not name before the model sees it; a misspelt name is a missing column.
        assert post(url, body({**row, "unknown": 1.0}, params={"k": 2}))[0] == 200
        for name, (request, message) in malformed.items():
            status, answer = post(url, request)
            assert (name, status) == (name, 400), answer
            assert message in answer["message"], name
            assert "stack_trace" not in answer, name
    assert sorted(path.name for path in (tmp_path / "server").iterdir()) == ["serve.log"]
