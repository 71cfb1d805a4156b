"""Dagster's web server behind a guard, with its daemon and the code server that both ask.

`python -m metaflow_hpo.adapters.serving.dagster_ui`; people start it with `make ui`. Dagster's own command for all
three lets any web page launch and delete runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from metaflow_hpo.adapters.serving.host import make_server
from metaflow_hpo.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

MODULE = "metaflow_hpo.definitions"
_LOOK_S = 1.0
_STOP_S = 10.0


def main() -> int:
    """Serve until told to stop, or until the daemon or the code server ends: 1 then."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=3000)
    chosen = parser.parse_args()
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"  # for Dagster this is `dagster dev`
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaflow_hpo_")))
        # A socket of the file system, which no web page can reach.
        socket, workspace = folder / "code.sock", folder / "workspace.yaml"
        location = {"socket": str(socket), "location_name": MODULE}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}), encoding="utf-8")
        commands = [
            ["-m", "dagster", "code-server", "start", "-m", MODULE, "--location-name", MODULE, "-s", str(socket)],
            ["-m", "dagster._daemon", "run", "-w", str(workspace)],
        ]
        helpers = [stack.enter_context(_running([sys.executable, *command])) for command in commands]
        _wait_for(socket, helpers[0])
        server = make_server(stack.enter_context(_web_app(workspace)), chosen.port, Settings.load().allowed_hosts)
        threading.Thread(target=_stop_with, args=(server, helpers), daemon=True).start()
        server.run()
        return int(any(helper.poll() is not None for helper in helpers))


@contextmanager
def _web_app(workspace: Path) -> "Iterator[ASGIApp]":
    """Yield Dagster's application on the instance of DAGSTER_HOME."""
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=15000, pool_recycle=3600, max_overflow=20)
        target = WorkspaceFileTarget([str(workspace)])
        with WorkspaceProcessContext(instance, version=__version__, workspace_load_target=target) as context:
            yield create_app_from_workspace_process_context(context, live_data_poll_rate=2000)


@contextmanager
def _running(command: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(socket: Path, code_server: "subprocess.Popen[bytes]") -> None:
    """Wait until the code server answers, or has ended, which the web server then shows."""
    import grpc

    with grpc.insecure_channel(f"unix:{socket}") as channel:
        ready = grpc.channel_ready_future(channel)
        while code_server.poll() is None:
            with suppress(grpc.FutureTimeoutError):
                ready.result(timeout=_LOOK_S)
                return


def _stop_with(server: "uvicorn.Server", helpers: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Stop the web server when a process that it needs has ended."""
    while all(helper.poll() is None for helper in helpers):
        time.sleep(_LOOK_S)
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
