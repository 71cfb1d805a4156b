"""The service as clients meet it: the real process on a real port, with a registry of three versions."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import metaflow_hpo
from metaflow_hpo.adapters.knowledge import open_knowledge
from metaflow_hpo.adapters.registry import Registry
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.recommender.recommender import Recommender
from tests.live import free_ports

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]

JSON = "application/json"
HUGE = 5 * 1024 * 1024


class Client:
    """A server, its registry and how to ask it."""

    def __init__(self, port: int, registry: Registry, log: Path) -> None:
        self.port, self.registry, self.log = port, registry, log

    def ask(self, method: str, path: str, body: bytes = b"", kind: str | None = JSON) -> tuple[int, dict, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, {} if kind is None else {"Content-Type": kind})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, json.loads(content) if path != "/version" else content.decode()

    def post(self, content: Any) -> tuple[int, dict, Any]:
        return self.ask("POST", "/invocations", json.dumps(content).encode())

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            return connection.makefile("rb").readline()

    def version(self) -> int:
        return int(self.ask("GET", "/health")[2]["version"])

    def wait_for_version(self, version: int, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while self.version() != version:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def example_for(folder: Path) -> pd.DataFrame:
    return pd.DataFrame({name: [1.0] for name in Recommender.load(folder).meta_feature_names})


@pytest.fixture(scope="module")
def registry(
    tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path, served: Recommender, served_folder: Path
) -> Registry:
    """Versions 1 and 2, which answer differently; the first is the champion."""
    data = tmp_path_factory.mktemp("project") / "data"
    (data / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    made = Registry(Tracking.local(data), data / "mlflow" / "downloads")
    other = tmp_path_factory.mktemp("other")
    replace(served, trust=0.0, lineage={"meta_dataset_md5": "def"}).save(other)
    for folder in (served_folder, other):
        with made.tracking.parent_run("surrogate", "s", {}) as run:
            made.register_surrogate(folder, run_id=run.run_id, input_example=example_for(folder))
    made.promote(1, "the first one")
    return made


@pytest.fixture(scope="module")
def client(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("server")
    port = free_ports(1)[0]
    environment = {
        **os.environ,
        "METAFLOW_HPO_DATA": str(registry.cache.parents[1]),
        "PYTHONPATH": os.pathsep.join([str(Path(metaflow_hpo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "metaflow_hpo.adapters.serving", "--port", str(port), "--poll-s", "0.2"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder) as process,
    ):
        try:
            made = Client(port, registry, folder / "log")
            for _ in range(2400):
                assert process.poll() is None, made.log.read_text()
                try:
                    made.ask("GET", "/ping")
                    break
                except OSError:
                    time.sleep(0.1)
            yield made
            sockets = psutil.Process(process.pid).net_connections("inet")
            assert {c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
            assert process.poll() is None, made.log.read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=240)
    assert "Traceback" not in made.log.read_text(), made.log.read_text()
    assert [path.name for path in folder.iterdir()] == ["log"]


@pytest.fixture(scope="module")
def row(meta) -> dict[str, float]:
    return dict(zip(meta.meta_feature_names, map(float, meta.meta_features[4]), strict=True))


def without_source(answer: dict[str, Any]) -> dict[str, Any]:
    lineage = {k: v for k, v in answer["lineage"].items() if k not in {"surrogate_version", "surrogate_name"}}
    return {**answer, "lineage": lineage}


def test_health_and_every_answer_name_the_served_version(client: Client, row: dict[str, float]) -> None:
    status, headers, health = client.ask("GET", "/health")
    assert (status, headers["x-model-version"]) == (200, "1")
    assert (health["status"], health["version"], health["model"]) == ("ok", 1, "metaflow_hpo_surrogate")
    assert client.ask("GET", "/ping")[0] == 200
    status, headers, _ = client.ask("GET", "/version")
    assert (status, headers["x-model-version"]) == (200, "1")
    status, headers, answer = client.post({"dataframe_records": [row]})
    assert (status, headers["x-model-version"]) == (200, "1")
    assert answer["predictions"][0]["lineage"]["surrogate_version"] == 1


def test_every_format_is_answered_as_mlflow_itself_answers_it(client: Client, row: dict[str, float]) -> None:
    from mlflow import pyfunc
    from mlflow.pyfunc.scoring_server import invocations

    model = pyfunc.load_model(client.registry.tracking.client().get_model_version(client.registry.name, "1").source)
    names, second = list(row), {name: value + 0.1 for name, value in row.items()}
    rows = [row, {**second, "unknown": 1.0}]
    table = {name: [row[name], second[name]] for name in names}
    split = {"columns": names, "data": [[r[name] for name in names] for r in rows]}
    text = ",".join(names) + "\n" + "".join(",".join(repr(r[name]) for name in names) + "\n" for r in rows)
    bodies = {
        "records": (json.dumps({"dataframe_records": rows, "params": {"k": 2}}).encode(), JSON),
        "split": (json.dumps({"dataframe_split": split}).encode(), "application/json; charset=utf-8"),
        "instances": (json.dumps({"instances": [row, second]}).encode(), JSON),
        "inputs": (json.dumps({"inputs": table}).encode(), JSON),
        "csv": (text.encode(), "text/csv"),
    }
    for name, (body, kind) in bodies.items():
        status, _, answer = client.ask("POST", "/invocations", body, kind)
        assert (name, status) == (name, 200), answer
        expected = json.loads(invocations(body, kind, model, model.metadata.get_input_schema()).response)
        assert [without_source(item) for item in answer["predictions"]] == expected["predictions"], name


def test_a_batch_gets_one_answer_a_task_in_order(client: Client, row: dict[str, float], meta) -> None:
    names = list(meta.meta_feature_names)
    data = np.tile(meta.meta_features, (20, 1)).tolist()
    status, _, answer = client.post({"dataframe_split": {"columns": names, "data": data}, "params": {"k": 1}})
    assert (status, len(answer["predictions"])) == (200, 240)
    nearest = [item["evidence"]["nearest_tasks"][0]["task_id"] for item in answer["predictions"]]
    assert nearest == list(meta.task_ids) * 20
    alone = client.post({"dataframe_records": [dict(zip(names, data[7], strict=True))], "params": {"k": 1}})[2]
    assert answer["predictions"][7] == alone["predictions"][0]


def hostile(row: dict[str, float]) -> dict[str, tuple[int, str, bytes, str | None]]:
    """Return by name: the status, a part of the message, the body and its Content-Type."""
    first = next(iter(row))

    def records(*rows: Any, **more: Any) -> bytes:
        return json.dumps({"dataframe_records": list(rows), **more}).encode()

    def split(columns: Any, data: Any) -> bytes:
        return json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()

    deep = b'{"dataframe_records": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    objects = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    valid = json.dumps({"dataframe_records": [row]}).encode()
    csv_head = ",".join(row).encode() + b"\n"
    finite, number = "must be a finite number", "k must be a whole number from 1 to 50"
    return {
        "empty": (400, "valid JSON", b"", JSON),
        "text": (400, "valid JSON", b"hello", JSON),
        "half": (400, "valid JSON", valid[:-9], JSON),
        "not UTF-8": (400, "valid JSON", b'{"dataframe_records": "\xff\xfe"}', JSON),
        "zero bytes": (400, "valid JSON", b"\x00" * 1000, JSON),
        "lone surrogate": (400, "Expected", b'{"\\ud800": 1}', JSON),
        "a list": (400, "JSON dictionary", b"[1]", JSON),
        "null": (400, "JSON dictionary", b"null", JSON),
        "nothing asked": (400, "exactly one of", b"{}", JSON),
        "two formats": (400, "exactly one of", b'{"inputs": {}, "instances": []}', JSON),
        "unknown key": (400, "also found", records(row, extra=1), JSON),
        "NaN": (400, "valid JSON", records({**row, first: float("nan")}), JSON),
        "Infinity": (400, "valid JSON", records({**row, first: float("inf")}), JSON),
        "1e999": (400, "", valid.replace(b": 1", b": 1e999", 1).replace(b"[{", b'[{"x": 1e999, ', 1), JSON),
        "null value": (400, finite, records({**row, first: None}), JSON),
        "text value": (400, finite, records({**row, first: "1.5"}), JSON),
        "true": (400, finite, records({**row, first: True}), JSON),
        "list value": (400, finite, records({**row, first: [1.0]}), JSON),
        "missing column": (400, "missing inputs", records({k: v for k, v in row.items() if k != first}), JSON),
        "no columns": (400, "missing inputs", records({}), JSON),
        "no task": (400, "1 to 1000 tasks", records(), JSON),
        "1001 tasks": (400, "1 to 1000 tasks", records(*[row] * 1001), JSON),
        "records no list": (400, "list of dictionaries", b'{"dataframe_records": {"a": 1}}', JSON),
        "records of numbers": (400, "list of dictionaries", b'{"dataframe_records": [1, 2]}', JSON),
        "a million numbers": (400, "list of dictionaries", records(*[1] * 1_000_000), JSON),
        "split no table": (400, "columns and data", b'{"dataframe_split": 3}', JSON),
        "split ragged": (400, "one for each column", split(list(row), [[1.0]]), JSON),
        "split twice": (400, "distinct", split([first, first], [[1.0, 1.0]]), JSON),
        "split no names": (400, "distinct", split([1, [2]], [[1.0, 1.0]]), JSON),
        "inputs ragged": (400, "one length", json.dumps({"inputs": {"a": [1], "b": [1, 2]}}).encode(), JSON),
        "inputs empty": (400, "one length", b'{"inputs": {}}', JSON),
        "instances of lists": (400, "list of dictionaries", b'{"instances": [[1.0]]}', JSON),
        "k of 0": (400, number, records(row, params={"k": 0}), JSON),
        "k of 51": (400, number, records(row, params={"k": 51}), JSON),
        "k beyond the pool": (400, "k must be from 1 to 24", records(row, params={"k": 25}), JSON),
        "k of 2.5": (400, number, records(row, params={"k": 2.5}), JSON),
        "k text": (400, number, records(row, params={"k": "five"}), JSON),
        "k true": (400, number, records(row, params={"k": True}), JSON),
        "k enormous": (400, number, records(row, params={"k": 10**30}), JSON),
        "params a list": (400, "must be a dictionary", records(row, params=[5]), JSON),
        "misspelt parameter": (400, "The only parameter is k", records(row, params={"K": 2}), JSON),
        "deep lists": (400, "valid JSON", deep, JSON),
        "deep objects": (400, "valid JSON", objects, JSON),
        "5 MB": (413, "at most 4194304 bytes", b" " * HUGE, JSON),
        "5 MB of digits": (413, "at most", b'{"inputs": ' + b"9" * HUGE + b"}", JSON),
        "4 MB of digits": (400, "", b'{"inputs": ' + b"9" * 4_000_000 + b"}", JSON),
        "wide": (400, "missing inputs", records({f"c{i}": 1 for i in range(200_000)}), JSON),
        "no Content-Type": (415, "Content-Type", valid, None),
        "XML": (415, "Content-Type", b"<a/>", "application/xml"),
        "latin-1": (415, "UTF-8", valid, "application/json; charset=latin-1"),
        "pickle": (415, "Content-Type", b"\x80\x04N.", "application/octet-stream"),
        "csv empty": (400, "1 to 1000 tasks", b"", "text/csv"),
        "csv text": (400, finite, csv_head + b",".join([b"abc"] * len(row)), "text/csv"),
        "csv nan": (400, finite, csv_head + b",".join([b"nan"] * len(row)), "text/csv"),
        "csv ragged": (400, "line 1 has 1", csv_head + b"1\n", "text/csv"),
        "csv open quote": (400, "Expected CSV", csv_head + b'"1', "text/csv"),
        "csv long field": (400, "Expected CSV", csv_head + b"1" * 200_000, "text/csv"),
        "csv not UTF-8": (400, "Expected CSV", b"\xff\xff", "text/csv"),
    }  # fmt: skip


def test_what_cannot_be_answered_gets_a_client_error_with_its_reason(client: Client, row: dict[str, float]) -> None:
    for name, (expected, message, body, kind) in hostile(row).items():
        status, _, answer = client.ask("POST", "/invocations", body, kind)  # within its patience
        assert (name, status) == (name, expected), answer
        assert message in answer["message"], (name, answer)
        assert len(answer["message"]) < 500, name
    for method, path, expected in (("GET", "/invocations", 405), ("PUT", "/ping", 405), ("GET", "/../etc/passwd", 404)):
        assert client.ask(method, path)[0] == expected
    assert client.post({"dataframe_records": [row]})[0] == 200


def test_extreme_numbers_are_answered_with_finite_ones(client: Client, row: dict[str, float]) -> None:
    for value in (0.0, 1e308, -1e308, 5e-324, 10**18):
        status, _, answer = client.post({"dataframe_records": [dict.fromkeys(row, value)]})
        assert status == 200, answer
        numbers = [item["performance"]["mean"] for item in answer["predictions"][0]["recommendations"]]
        assert all(isinstance(number, float) for number in numbers)


def test_numbers_that_no_table_has_are_refused_by_the_surrogate_that_ships(client: Client, registry: Registry) -> None:
    knowledge = open_knowledge()
    assert knowledge is not None
    folder = knowledge.recommender_folder("mlp")
    assert folder is not None
    with registry.tracking.parent_run("surrogate", "shipped", {}) as run:
        version = registry.register_surrogate(folder, run_id=run.run_id, input_example=example_for(folder))
    registry.promote(version, "the shipped one")
    try:
        client.wait_for_version(version)
        shipped = Recommender.load(folder)
        row = dict(zip(shipped.meta_feature_names, map(float, shipped.past.meta_features[0]), strict=True))
        for value in (1e308, -1e308):
            status, _, answer = client.post({"dataframe_records": [row, {**row, "mf_log_rows": value}]})
            assert (status, answer["message"][:25]) == (400, "Task 1: its numbers are t")
        assert client.post({"dataframe_records": [row]})[0] == 200
    finally:
        registry.promote(1, "back")
        client.wait_for_version(1)


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "evil.example:80@127.0.0.1"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
    {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_origin_or_name_gets_nothing_of_the_service(
    client: Client, row: dict[str, float], headers: dict[str, str]
) -> None:
    body = json.dumps({"dataframe_records": [row]}).encode()
    for method, path in (("GET", "/health"), ("GET", "/ping"), ("GET", "/version"), ("POST", "/invocations")):
        connection = HTTPConnection("127.0.0.1", client.port, timeout=300)
        connection.request(method, path, body if method == "POST" else None, {"Content-Type": JSON, **headers})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status in ({400, 403} if headers.get("Host") == "" else {403}), (method, path)
        assert b"version" not in content.lower()
        assert "access-control-allow-origin" not in {name.lower() for name, _ in response.getheaders()}
    assert client.post({"dataframe_records": [row]})[0] == 200


def test_broken_and_slow_connections_hold_nobody_up(client: Client, row: dict[str, float]) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    assert b" 400 " in client.raw(b"\x16\x03\x01\x02\x00" * 50 + b"\r\n\r\n")
    assert b" 400 " in client.raw(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n")
    assert b" 400 " in client.raw(head + b"Content-Length: -5\r\n\r\n")
    assert b" 413 " in client.raw(head + b"Content-Length: 99999999999999999999\r\n\r\n")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert b" 413 " in client.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5 + b"0\r\n\r\n")
    assert b" 415 " in client.raw(head + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")
    waiting = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(100)]
    for position, connection in enumerate(waiting):
        connection.sendall(head[: 20 + position] if position % 2 else head + b"Content-Length: 50\r\n\r\n{")
    assert client.post({"dataframe_records": [row]})[0] == 200
    for connection in waiting:
        connection.close()


def test_a_promotion_and_a_rollback_under_load_fail_no_request(client: Client, row: dict[str, float]) -> None:
    body, stop = json.dumps({"dataframe_records": [row]}).encode(), threading.Event()
    statuses: Counter[int] = Counter()
    versions: set[int] = set()
    mixed: list[Any] = []

    def ask_on() -> None:
        connection = HTTPConnection("127.0.0.1", client.port, timeout=300)
        while not stop.is_set():
            connection.request("POST", "/invocations", body, {"Content-Type": JSON})
            response = connection.getresponse()
            lineage = json.load(response)["predictions"][0]["lineage"]
            statuses[response.status] += 1
            seen = (int(response.headers["X-Model-Version"]), lineage["surrogate_version"], lineage["meta_dataset_md5"])
            versions.add(seen[0])
            if seen not in {(1, 1, "abc"), (2, 2, "def")}:
                mixed.append(seen)
        connection.close()

    threads = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        client.registry.promote(2, "better", by="person")
        client.wait_for_version(2)
        client.registry.promote(1, "rolled back", by="person")
        client.wait_for_version(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert versions == {1, 2}
    assert mixed == []
    assert "version 2 is served, after version 1" in client.log.read_text()


def test_a_version_that_cannot_be_served_does_not_replace_the_one_that_can(
    client: Client, row: dict[str, float], tmp_path: Path
) -> None:
    """A version whose surrogate is a pickle is neither loaded nor served; health says why."""
    registry, api = client.registry, client.registry.tracking.client()
    (tmp_path / "artifacts" / "surrogate").mkdir(parents=True)
    (tmp_path / "artifacts" / "surrogate" / "surrogate.pkl").write_bytes(b"\x80\x04N.")
    run_id = api.get_model_version(registry.name, "1").run_id
    bad = api.create_model_version(registry.name, source=tmp_path.as_uri(), run_id=run_id)
    api.set_registered_model_alias(registry.name, "champion", bad.version)
    try:
        deadline = time.monotonic() + 240
        while (health := client.ask("GET", "/health")[2])["status"] == "ok":
            assert time.monotonic() < deadline, health
            time.sleep(0.05)
        assert health["version"] == 1
        assert "surrogate.pkl" in health["problem"]
        assert client.post({"dataframe_records": [row]})[1]["x-model-version"] == "1"
    finally:
        api.set_registered_model_alias(registry.name, "champion", "1")
    client.wait_for_version(1)
