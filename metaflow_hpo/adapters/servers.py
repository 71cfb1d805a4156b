"""Run the servers people look at: Dagster with its daemon and MLflow together, or the champion over HTTP.

Each server gets a session of its own and starts processes in it; all of them are stopped when one dies or this process
is told to stop, so that nothing is left running.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from metaflow_hpo.adapters import team
from metaflow_hpo.adapters.files import remove_leftovers
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import Settings

if TYPE_CHECKING:
    import psutil
    from sqlalchemy import URL

HOST = "127.0.0.1"
DIED = 3
"""Exit code when the first server ended by itself; one more for the second."""

_START_S = 600.0
_STOP_S = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_QUIET = {"DAGSTER_DISABLE_TELEMETRY": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass(frozen=True)
class Server:
    """One server to run.

    Attributes:
        name: What people call it.
        command: Its command line.
        port: The port on loopback that it listens on.
        health: Path that answers when it is ready.
        environment: Variables set for it.
    """

    name: str
    command: Sequence[str]
    port: int
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where people find it."""
        return f"http://{HOST}:{self.port}"


def ui_servers(pipeline: Pipeline, dagster_port: int, mlflow_port: int) -> list[Server]:
    """Return Dagster (web server and daemon) and MLflow on the data of the settings.

    Where the settings name an MLflow server, that one is used and none is started.
    """
    settings, tracking = pipeline.settings, pipeline.tracking
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    tracking.prepare()  # two servers creating the database at once would fail
    dagster = _dagster_server(settings, dagster_port, settings.dagster_home, {})
    if _is_address(tracking.tracking_uri):
        return [dagster]
    artifacts = tracking.artifact_root or (tracking.database or settings.data / "mlflow" / "mlflow.db").with_name(
        "artifacts"
    )
    return [dagster, _mlflow_server(mlflow_port, tracking.tracking_uri, artifacts.resolve().as_uri())]


def team_servers(settings: Settings, dagster_port: int, mlflow_port: int) -> list[Server]:
    """Return the same with Postgres below both, and Dagster's runs talking to the MLflow server.

    Where the settings name an MLflow server, that one is used and none is started. Artifacts lie in
    `MLFLOW_ARTIFACTS_DESTINATION` (a bucket, say), and in the data folder unless that is set.

    Raises:
        MetaflowHPOError: If `METAFLOW_HPO_POSTGRES_URL` is missing or wrong, or Postgres does not answer.
    """
    urls = {name: url.render_as_string(hide_password=False) for name, url in _prepare_team().items()}
    home = team.write_instance(settings.dagster_home)
    named = settings.tracking_uri if settings.tracking_uri and _is_address(settings.tracking_uri) else None
    mlflow = {"METAFLOW_HPO_TRACKING_URI": named or f"http://{HOST}:{mlflow_port}"}
    dagster = _dagster_server(settings, dagster_port, home, {team.DAGSTER_VARIABLE: urls["dagster"], **mlflow})
    if named is not None:
        return [dagster]
    local = (settings.data / "mlflow" / "artifacts").resolve().as_uri()
    artifacts = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION", local)
    # MLflow first: it is what the other one asks.
    return [_mlflow_server(mlflow_port, urls["mlflow"], artifacts), dagster]


def _prepare_team() -> "Mapping[str, URL]":
    urls = team.database_urls()
    team.create_databases(urls)
    return urls


def _dagster_server(settings: Settings, port: int, home: Path, environment: Mapping[str, str]) -> Server:
    command = ["-m", "metaflow_hpo.adapters.serving.dagster_ui", "--port", str(port)]
    common = {"METAFLOW_HPO_DATA": str(settings.data), "DAGSTER_HOME": str(home), team.URL_VARIABLE: "", **_QUIET}
    return Server("Dagster", [sys.executable, *command], port, "/server_info", {**common, **environment})


def _mlflow_server(port: int, database: str, artifacts: str) -> Server:
    """Return MLflow; its database stands in the environment, as everyone can read command lines."""
    command = ["-m", "metaflow_hpo.adapters.serving.mlflow_ui", "--port", str(port)]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        # Jobs are for evaluations by language models, and cost seven processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        team.URL_VARIABLE: "",
        **_QUIET,
    }
    return Server("MLflow", [sys.executable, *command], port, "/health", environment)


def _is_address(tracking_uri: str) -> bool:
    return tracking_uri.startswith(("http://", "https://"))


def model_server(pipeline: Pipeline, port: int) -> Server:
    """Return the service that answers as the champion does, whichever version that is (`adapters.serving`).

    Raises:
        NoChampionError: If no surrogate has been promoted yet.
    """
    pipeline.registry.require_champion()
    module, learner = "metaflow_hpo.adapters.serving", pipeline.settings.learner
    command = [sys.executable, "-m", module, "--port", str(port), "--learner", learner]
    return Server("champion", command, port, "/ping", {"METAFLOW_HPO_DATA": str(pipeline.settings.data), **_QUIET})


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Let one Dagster at a time work with an instance: two daemons would take every file of the inbox in twice.

    Raises:
        MetaflowHPOError: If there is one already.
    """
    from filelock import FileLock, Timeout

    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".ui.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise MetaflowHPOError(
            f"Expected no other Dagster to work with {home}; `make ui` runs there already. Use that one, stop it, or "
            "set METAFLOW_HPO_DATA and DAGSTER_HOME to folders of their own."
        ) from error
    try:
        yield
    finally:
        lock.release()


def run(servers: Sequence[Server]) -> int:
    """Start servers, wait until they answer, and stop all of them together.

    Returns:
        0 when told to stop (Ctrl-C, SIGTERM, SIGHUP), `DIED` + position when that server ended by itself.

    Raises:
        MetaflowHPOError: If a port is taken or a server does not answer in time.
    """
    _check_ports(servers)
    asked_to_stop = Event()
    # A handler that raised could strike between the start of a process and our knowing of it.
    before = {number: signal.signal(number, lambda *_: asked_to_stop.set()) for number in _SIGNALS}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for server in servers:
            environment = {**os.environ, **server.environment}
            processes.append(
                subprocess.Popen(  # noqa: S603
                    server.command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
                )
            )
        return _watch(servers, processes, asked_to_stop)
    finally:
        stop(processes)
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(servers: Sequence[Server], processes: "Sequence[subprocess.Popen[bytes]]", asked_to_stop: Event) -> int:
    waiting, deadline = list(servers), time.monotonic() + _START_S
    while not asked_to_stop.wait(0.3):
        for position, (server, process) in enumerate(zip(servers, processes, strict=True)):
            if process.poll() is not None:
                print(f"{server.name} ended with code {process.returncode}; stopping.", file=sys.stderr)
                return DIED + position
        for server in [server for server in waiting if _answers(server)]:
            print(f"{server.name}: {server.address}", flush=True)
            waiting.remove(server)
        if waiting and time.monotonic() > deadline:
            names = " and ".join(server.name for server in waiting)
            raise MetaflowHPOError(
                f"Expected an answer of {names} within {_START_S:.0f} s; found none. See its output."
            )
    return 0


def _check_ports(servers: Sequence[Server]) -> None:
    taken = {server.port: server.name for server in servers}
    if len(taken) < len(servers):
        raise MetaflowHPOError(f"Each server needs a port of its own; all are given {servers[0].port}.")
    for server in servers:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, server.port))
            except OSError as error:
                raise MetaflowHPOError(
                    f"{server.name} needs port {server.port} on {HOST}; found it taken ({error.strerror}). Stop what "
                    "listens there, or choose another: make ui DAGSTER_PORT=3001 MLFLOW_PORT=5002, "
                    "make serve SERVE_PORT=5003."
                ) from error


def _answers(server: Server) -> bool:
    connection = HTTPConnection(HOST, server.port, timeout=2)
    try:
        connection.request("GET", server.health)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def stop(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Stop processes that lead a session and everything they started: first politely, then by force."""
    import psutil

    family = _family(processes)
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    psutil.wait_procs(family, timeout=_STOP_S)
    alive = [member for member in {*family, *_family(processes)} if member.is_running()]
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=_STOP_S)
    for process in processes:
        process.wait()


def _family(processes: "Sequence[subprocess.Popen[bytes]]") -> "list[psutil.Process]":
    """Return the processes, their descendants, and orphans of their sessions: those whose parent died."""
    import psutil

    leaders = {process.pid for process in processes}
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) in leaders:
                found |= {process, *process.children(recursive=True)}
    return list(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the ports and run; 1 is an error with a remedy, otherwise as `run`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog="Try: make ui")
    parser.add_argument("--dagster-port", type=int, default=3000)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--profile", choices=("local", "team"), default="local", help="team: on Postgres")
    parser.add_argument("--serve", action="store_true", help="serve the champion instead")
    parser.add_argument("--serve-port", type=int, default=5001)
    parser.add_argument("--learner", help="whose champion is served; the setting's unless given")
    chosen = parser.parse_args(arguments)
    try:
        pipeline = Pipeline(Settings.load(**({} if chosen.learner is None else {"learner": chosen.learner})))
        remove_leftovers(pipeline.settings.data)
        if chosen.serve:
            return run([model_server(pipeline, chosen.serve_port)])
        with alone(pipeline.settings.dagster_home):
            if chosen.profile == "team":
                return run(team_servers(pipeline.settings, chosen.dagster_port, chosen.mlflow_port))
            return run(ui_servers(pipeline, chosen.dagster_port, chosen.mlflow_port))
    except MetaflowHPOError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
