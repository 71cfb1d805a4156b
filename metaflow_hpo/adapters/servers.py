"""Run the servers people look at: Dagster with its daemon and MLflow together, or the champion over HTTP.

The one thing to know: each server has its own process group and starts processes of its own; all of them are stopped when
one dies or this process is told to stop, so that nothing is left running.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.settings import Settings

HOST = "127.0.0.1"
_START_S = 120.0
_STOP_S = 15.0


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
    environment: Mapping[str, str]

    @property
    def address(self) -> str:
        """Where people find it."""
        return f"http://{HOST}:{self.port}"


def ui_servers(pipeline: Pipeline, dagster_port: int, mlflow_port: int) -> list[Server]:
    """Return Dagster (web server and daemon) and MLflow on the data of the settings."""
    settings, tracking = pipeline.settings, pipeline.tracking
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    tracking.prepare()
    common = {"METAFLOW_HPO_DATA": str(settings.data), "DAGSTER_HOME": str(settings.dagster_home)}
    dagster = ["-m", "dagster", "dev", "-m", "metaflow_hpo.definitions", "-h", HOST, "-p", str(dagster_port)]
    artifacts = tracking.artifact_root or settings.data / "mlflow" / "artifacts"
    store = ["--backend-store-uri", tracking.tracking_uri, "--artifacts-destination", artifacts.resolve().as_uri()]
    mlflow = ["-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1", *store]
    return [
        Server("Dagster", [sys.executable, *dagster], dagster_port, "/server_info", common),
        Server(
            "MLflow",
            [sys.executable, *mlflow],
            mlflow_port,
            "/health",
            common | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
    ]


def model_server(pipeline: Pipeline, port: int) -> Server:
    """Return MLflow's scoring server on the champion.

    Raises:
        NoChampionError: If no surrogate has been promoted yet.
    """
    champion = pipeline.registry.require_champion()
    # The scoring server is started through the shell's PATH, which need not have this environment's programs.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    uri = f"models:/{champion.name}@champion"
    served = ["models", "serve", "-m", uri, "--env-manager", "local", "-h", HOST, "-p", str(port)]
    environment = {"PATH": path, "MLFLOW_TRACKING_URI": pipeline.tracking.tracking_uri}
    return Server("champion", [sys.executable, "-m", "mlflow", *served], port, "/ping", environment)


def run(servers: Sequence[Server]) -> int:
    """Start servers, wait until they answer, and stop all of them together.

    Returns:
        0 when told to stop (Ctrl-C, SIGTERM), 1 when a server ended by itself.

    Raises:
        MetaflowHPOError: If a port is taken.
    """
    for server in servers:
        _check_port(server)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            environment = {**os.environ, **server.environment}
            processes[server.name] = subprocess.Popen(  # noqa: S603
                server.command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
            )
        for server in servers:
            _wait_until_ready(server, processes[server.name])
            print(f"{server.name}: {server.address}", flush=True)
        return _wait_for_an_end(processes)
    except KeyboardInterrupt:
        return 0
    finally:
        stop(list(processes.values()))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _check_port(server: Server) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, server.port))
        except OSError as error:
            raise MetaflowHPOError(
                f"{server.name} needs port {server.port} on {HOST}, which is taken ({error.strerror}). "
                "Stop what listens there or choose another port: make ui DAGSTER_PORT=3001 MLFLOW_PORT=5002."
            ) from error


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise MetaflowHPOError(f"{server.name} ended with code {process.returncode} while starting; see its output.")
        with suppress(URLError, ConnectionError, TimeoutError), urlopen(server.address + server.health, timeout=2):
            return
        time.sleep(0.3)
    raise MetaflowHPOError(f"{server.name} did not answer on {server.address} within {_START_S:.0f} s; see its output.")


def _wait_for_an_end(processes: Mapping[str, "subprocess.Popen[bytes]"]) -> int:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                print(f"{name} ended with code {process.returncode}; stopping the others.", file=sys.stderr)
                return 1
        time.sleep(0.5)


def stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Stop processes and everything they started: first politely, then by force."""
    import psutil

    family: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            family += [*parent.children(recursive=True), parent]
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=_STOP_S)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=_STOP_S)


def main() -> int:
    """Parse the ports and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Try: make ui")
    parser.add_argument("--dagster-port", type=int, default=3000)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--serve", action="store_true", help="serve the champion instead")
    parser.add_argument("--serve-port", type=int, default=5001)
    chosen = parser.parse_args()
    pipeline = Pipeline(Settings())
    try:
        if chosen.serve:
            return run([model_server(pipeline, chosen.serve_port)])
        return run(ui_servers(pipeline, chosen.dagster_port, chosen.mlflow_port))
    except MetaflowHPOError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
