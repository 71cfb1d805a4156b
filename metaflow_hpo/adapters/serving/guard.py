"""Keeps web pages of other sites and other ports away from servers that have no passwords.

A browser lets any page send requests to this machine, and a name of somebody else's may lead to it (DNS rebinding).
What a browser sends says where it comes from; programs such as curl send none of that and are let through.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_READING = {"GET", "HEAD"}
_POLICY_VIOLATION = 1008


class Guard:
    """Answers a request only where it was meant for this server and comes from no page of another origin.

    Args:
        app: The server's application.
        allowed_hosts: Names beside those of loopback under which people reach it, through a reverse proxy.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = ()) -> None:
        self._app, self._hosts = app, LOOPBACK | {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        problem = self.find_problem(scope)
        if problem is None:
            await self._app(scope, receive, _without_frames(send))
        elif scope["type"] == "http":
            await PlainTextResponse(f"Refused: {problem}\n", status_code=403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": problem[:100]})

    def find_problem(self, scope: Scope) -> str | None:
        """Return why a request is refused; None where it is not."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or (name := _host_of(f"//{hosts[0]}")) is None or name not in self._hosts:
            return f"this server is not {', '.join(hosts) or 'without a name'}. Set METAFLOW_HPO_ALLOWED_HOSTS."
        for origin in headers.getlist("origin"):
            if not self._is_own(origin, hosts[0]):
                return f"a page of {origin} asks. Set METAFLOW_HPO_ALLOWED_HOSTS where it is a proxy of this server."
        site = headers.get("sec-fetch-site", "none")
        if site not in {"none", "same-origin"} and not _is_visit(scope, headers):
            return "a page of another origin asks."
        return _find_forgery(scope, headers)

    def _is_own(self, origin: str, host: str) -> bool:
        """Tell whether an origin is this server, as the browser sees it, or through a proxy."""
        if not origin.lower().startswith(("http://", "https://")):
            return False
        name = _host_of(origin)
        return urlsplit(origin).netloc.lower() == host.lower() or (name in self._hosts and name not in LOOPBACK)


def _host_of(address: str) -> str | None:
    """Return the name in an address; None where that is no plain name with a port."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    is_plain = "@" not in parts.netloc and not (parts.path or parts.query or parts.fragment)
    return parts.hostname if is_plain else None


def _is_visit(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Tell whether a person follows a link from another page to this server, in a window of its own."""
    is_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return scope["type"] == "http" and scope["method"] in _READING and is_page


def _find_forgery(scope: Scope, headers: Mapping[str, str]) -> str | None:
    """Return what is wrong with a GraphQL request that older browsers would send for a page of another origin."""
    if scope["type"] != "http" or not scope["path"].rstrip("/").endswith("/graphql"):
        return None
    if scope["method"] in _READING:
        asks = "query" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return "GraphQL is answered by POST." if asks else None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if kind == "application/json" else "GraphQL is expected as application/json."


def _without_frames(send: Send) -> Send:
    """Tell browsers not to show answers inside pages of others, where a click is not what it seems."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("x-frame-options", "SAMEORIGIN")
        await send(message)

    return send_on
