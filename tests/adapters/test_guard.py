"""Who is answered by servers without passwords, and who is dropped."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from metaflow_hpo.adapters.serving import host
from metaflow_hpo.adapters.serving.guard import Guard

OWN = "127.0.0.1:3000"
JSON = {"content-type": "application/json"}


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"answered {len(await request.body())}")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("answered")
    await websocket.close()


def make_app() -> Starlette:
    every = [Route("/{path:path}", answer, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])]
    return Starlette(routes=[WebSocketRoute("/graphql", talk), *every])


def is_refused(method: str, address: str, headers: dict[str, str], allowed: tuple[str, ...] = ()) -> bool:
    path, _, query = address.partition("?")
    sent = {"host": OWN, **headers}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}
    return Guard(make_app(), allowed).find_problem(scope) is not None


ANSWERED = [
    ("GET", "/", {}),
    ("GET", "/", {"host": "localhost:3000"}),
    ("GET", "/", {"host": "LOCALHOST"}),
    ("GET", "/", {"host": "[::1]:3000"}),
    ("GET", "/", {"host": "127.0.0.1:8080"}),  # a forwarded port
    ("GET", "/", {"origin": f"http://{OWN}", "sec-fetch-site": "same-origin"}),
    ("GET", "/runs", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
    ("GET", "/", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}),
    ("POST", "/graphql", JSON),
    ("POST", "/graphql", {**JSON, "origin": f"http://{OWN}"}),
    ("POST", "/graphql", {"content-type": "application/json; charset=utf-8", "sec-fetch-site": "same-origin"}),
    ("GET", "/graphql", {"accept": "text/html"}),
    ("POST", "/invocations", {"content-type": "text/csv"}),
]
REFUSED = [
    ("GET", "/", {"host": "evil.example"}),
    ("GET", "/", {"host": "evil.example:3000"}),
    ("GET", "/", {"host": "127.0.0.1.evil.example"}),
    ("GET", "/", {"host": "127.0.0.1@evil.example"}),
    ("GET", "/", {"host": "evil.example#127.0.0.1"}),
    ("GET", "/", {"host": "127.0.0.1:3000/evil"}),
    ("GET", "/", {"host": "192.168.0.7:3000"}),
    ("GET", "/", {"host": ""}),
    ("GET", "/", {"host": "127.0.0.1:port"}),
    ("GET", "/", {"origin": "http://evil.example"}),
    ("POST", "/graphql", {**JSON, "origin": "http://evil.example"}),
    ("POST", "/graphql", {**JSON, "origin": "null"}),
    ("POST", "/graphql", {**JSON, "origin": "http://127.0.0.1:8888"}),
    ("POST", "/graphql", {**JSON, "origin": "http://localhost:3000"}),
    ("POST", "/graphql", {**JSON, "origin": "http://127.0.0.1:3000.evil.example"}),
    ("POST", "/graphql", {**JSON, "origin": "file://"}),
    ("POST", "/graphql", {**JSON, "origin": "chrome-extension://abc"}),
    ("POST", "/graphql", {**JSON, "sec-fetch-site": "same-site"}),
    ("GET", "/graphql?query=mutation%7Bx%7D", {}),
    ("GET", "/graphql?query=", {}),
    ("GET", "/graphql/?query=%7Bx%7D", {}),
    ("HEAD", "/graphql?query=%7Bx%7D", {}),
    ("GET", "/graphql?query=%7Bx%7D", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
    (
        "GET",
        "/graphql?query=mutation%7Bx%7D",
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ),
    ("POST", "/graphql?query=mutation%7Bx%7D", {"content-type": "application/x-www-form-urlencoded"}),
    ("POST", "/graphql?query=mutation%7Bx%7D", {}),
    ("POST", "/graphql", {"content-type": "text/plain"}),
    ("GET", "/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}),
    ("POST", "/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
    ("GET", "/ajax-api/2.0/mlflow/experiments/get", {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}),
    ("POST", "/invocations", {**JSON, "origin": "http://127.0.0.1:8000"}),
    ("OPTIONS", "/invocations", {"origin": "http://evil.example", "access-control-request-method": "POST"}),
]


@pytest.mark.parametrize(("method", "path", "headers"), ANSWERED)
def test_what_is_meant_for_the_server_is_answered(method: str, path: str, headers: dict[str, str]) -> None:
    assert not is_refused(method, path, headers)


@pytest.mark.parametrize(("method", "path", "headers"), REFUSED)
def test_what_comes_from_another_page_or_name_is_refused(method: str, path: str, headers: dict[str, str]) -> None:
    assert is_refused(method, path, headers)


def test_two_hosts_are_none() -> None:
    scope = {"type": "http", "path": "/", "method": "GET", "headers": [(b"host", b"127.0.0.1"), (b"host", b"evil")]}
    assert "this server is not" in str(Guard(make_app()).find_problem(scope))
    assert "without a name" in str(Guard(make_app()).find_problem({**scope, "headers": []}))


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"host": "hpo.example.org", "origin": "https://hpo.example.org"}, False),
        ({"origin": "https://HPO.example.org", "sec-fetch-site": "same-origin"}, False),
        ({"host": "hpo.example.org", "origin": "https://evil.example"}, True),
        ({"host": "other.example.org"}, True),
    ],
)
def test_a_proxy_is_let_in_by_its_name(headers: dict[str, str], refused: bool) -> None:
    assert is_refused("POST", "/graphql", {**JSON, **headers}, ("hpo.example.org",)) == refused


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(host, "HEAD_S", 1.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    server = host.make_server(make_app(), free)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield free
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_is_half_sent_is_dropped_in_time(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        connection.settimeout(60)
        assert connection.recv(100) == b""


def test_a_second_request_that_is_half_sent_is_dropped_and_whole_ones_are_not(port: int) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for _ in range(3):
            connection.request("POST", "/", body=b"x" * 10)
            assert connection.getresponse().read() == b"answered 10"
            time.sleep(0.4)
        assert connection.sock is not None
        connection.sock.sendall(b"GET / HT")
        assert connection.sock.recv(100) == b""


def test_a_body_may_take_longer_than_a_head(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
        connection.sendall(head.encode() + b"ab")
        time.sleep(1.5)
        connection.sendall(b"cd")
        assert b"answered 4" in connection.makefile("rb").read()


def test_an_answer_may_not_be_framed_and_a_refusal_says_why(port: int) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/")
        answered = connection.getresponse()
        assert (answered.status, answered.headers["x-frame-options"]) == (200, "SAMEORIGIN")
        answered.read()
        connection.request("GET", "/", headers={"Host": "evil.example"})
        refused = connection.getresponse()
        assert refused.status == 403
        assert refused.read() == b"Refused: this server is not evil.example. Set METAFLOW_HPO_ALLOWED_HOSTS.\n"


def test_a_websocket_of_another_page_is_not_opened(port: int) -> None:
    own = f"http://127.0.0.1:{port}"
    with connect(f"ws://127.0.0.1:{port}/graphql", origin=own) as websocket:
        assert websocket.recv() == "answered"
    for foreign in ("http://evil.example", "http://127.0.0.1:8000", "null"):
        with pytest.raises(InvalidStatus, match="403"), connect(f"ws://127.0.0.1:{port}/graphql", origin=foreign):
            pass
