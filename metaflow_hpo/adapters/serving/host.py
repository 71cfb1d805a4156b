"""Run an application on loopback, with a limit of time for those who do not say what they want."""

import asyncio
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from metaflow_hpo.adapters.servers import HOST
from metaflow_hpo.adapters.serving.guard import Guard

HEAD_S = 10.0
"""Seconds in which the head of a request must have arrived."""


class PatientProtocol(H11Protocol):
    """HTTP that drops a connection whose next request does not arrive as a whole in time; h11 bounds its size."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Begin to wait where this is part of a next request."""
        if self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        super().data_received(data)

    def handle_events(self) -> None:
        """Stop waiting once a request has begun to be answered."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Stop waiting, as another protocol takes over."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_S, self._drop)

    def _drop(self) -> None:
        self._waiting = None
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def make_server(app: ASGIApp, port: int, allowed_hosts: Iterable[str] = ()) -> uvicorn.Server:
    """Return a server of an application behind a `Guard`, on loopback."""
    guarded = Guard(app, allowed_hosts)
    config = uvicorn.Config(guarded, host=HOST, port=port, http=PatientProtocol, log_level="warning", access_log=False)
    return uvicorn.Server(config)
