import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from metaflow_hpo.adapters import servers
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError, NoChampionError
from metaflow_hpo.settings import Settings
from tests.live import free_ports

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]

ROOT = Path(__file__).parents[2]
HTTP_SERVER = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler)"
SERVES = f"{HTTP_SERVER}.serve_forever()"
# Starts a child that ignores what Ctrl-C sends.
STUBBORN = (
    "import subprocess, sys; c = 'import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)';"
    f"subprocess.Popen([sys.executable, '-c', c]); {SERVES}"
)
DIES = "import time; time.sleep(0.5); raise SystemExit(7)"


def make_server(name: str, code: str) -> servers.Server:
    port = free_ports(1)[0]
    return servers.Server(name, [sys.executable, "-c", code, str(port)], port, "/")


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def no_orphans() -> Iterator[None]:
    """Fail if a process that the test started, at any depth, is still there."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    marker = {"METAFLOW_HPO_TEST_SERVERS": str(os.getpid())}
    os.environ.update(marker)
    yield
    del os.environ["METAFLOW_HPO_TEST_SERVERS"]
    left = []
    for process in psutil.process_iter():
        try:
            if process.pid not in before | {os.getpid()} and marker.items() <= process.environ().items():
                left.append(process)
        except psutil.Error:  # of another user, or just gone
            continue
    assert left == []


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MetaflowHPOError, match=rf"MLflow needs port {port} .* make ui DAGSTER_PORT=3001"):
            servers.run([make_server("Dagster", DIES), servers.Server("MLflow", ["false"], port, "/")])


def test_two_servers_cannot_share_a_port() -> None:
    server = make_server("Dagster", DIES)
    with pytest.raises(MetaflowHPOError, match=f"a port of its own; all are given {server.port}"):
        servers.run([server, server])


@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("position", [0, 1])
def test_when_one_dies_the_other_is_stopped_and_the_exit_code_says_which(
    position: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [make_server("first", SERVES), make_server("second", SERVES)]
    chosen[position] = make_server("broken", DIES)
    assert servers.run(chosen) == servers.DIED + position
    assert all(is_free(server.port) for server in chosen)
    assert "broken ended with code 7" in capsys.readouterr().err


@pytest.mark.usefixtures("no_orphans")
def test_a_server_that_never_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_START_S", 0.5)
    with pytest.raises(MetaflowHPOError, match="Expected an answer of mute within 0 s; found none"):
        servers.run([make_server("mute", "import time; time.sleep(600)")])


@pytest.mark.usefixtures("no_orphans")
def test_a_child_that_ignores_ctrl_c_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_STOP_S", 1.0)
    server = make_server("stubborn", STUBBORN)
    monkeypatch.setattr(servers, "_answers", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert servers.run([server]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_mlflow_server_of_the_settings_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    pipeline = Pipeline(Settings(data=tmp_path / "data", tracking_uri="http://127.0.0.1:9"))
    monkeypatch.setattr("metaflow_hpo.adapters.tracking.Tracking.prepare", lambda _: None)
    assert [server.name for server in servers.ui_servers(pipeline, 1, 2)] == ["Dagster"]


def test_without_a_champion_there_is_nothing_to_serve(
    tmp_path: Path, mlflow_template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow").mkdir()
    shutil.copy(mlflow_template, tmp_path / "mlflow" / "mlflow.db")
    with pytest.raises(NoChampionError, match="none has been promoted"):
        servers.model_server(Pipeline(Settings(data=tmp_path)), 5001)
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path))
    assert servers.main(["--serve"]) == 1
    assert "error: Expected a champion" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.usefixtures("no_orphans")
def test_dagster_and_mlflow_start_together_and_one_ctrl_c_stops_both(tmp_path: Path, mlflow_template: Path) -> None:
    home, data, ports = tmp_path / "home", tmp_path / "data", free_ports(2)
    home.mkdir()
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    (data / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    environment = {**os.environ, "DAGSTER_HOME": str(home), "METAFLOW_HPO_DATA": str(data)}
    command = [sys.executable, "-m", "metaflow_hpo.adapters.servers"]
    command += ["--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with (tmp_path / "log").open("w+") as log:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 180
            addresses = [f"Dagster: http://127.0.0.1:{ports[0]}", f"MLflow: http://127.0.0.1:{ports[1]}"]
            while not all(address in (tmp_path / "log").read_text() for address in addresses):
                assert running.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.3)
            assert get(ports[0], "/server_info")[0] == 200
            assert get(ports[1], "/health") == (200, "OK")
            family = psutil.Process(running.pid).children(recursive=True)
            assert len(family) > 3
            sockets = [c for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
            assert {c.laddr.ip for c in sockets} == {"127.0.0.1"}
        finally:
            running.send_signal(signal.SIGINT)
            code = running.wait(timeout=240)
    assert code == 0
    assert all(is_free(port) for port in ports)
