"""The HTTP side: MLflow's REST contract (`/invocations`, `/ping`, `/health`, `/version`) with limits.

The one thing to know: each task of a batch is a job of its own in a small pool, so that a request of one task does not
wait behind a batch of a thousand; what would wait too long is refused at once with status 429.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from metaflow_hpo.adapters.serving.champion import ChampionFollower, Served
from metaflow_hpo.adapters.serving.request import RefusedRequestError, read_request, read_values
from metaflow_hpo.errors import MetaflowHPOError

VERSION_HEADER = "X-Model-Version"
_PATIENCE = 8
"""A body so many times too large is cut off instead of read to its end."""

logger = logging.getLogger("metaflow_hpo")


@dataclass(frozen=True)
class RequestLimits:
    """What a client may ask of the service.

    Attributes:
        body_bytes: Size of a body; the largest batch needs 2.5 MB.
        body_s: Seconds in which it must have arrived.
        waiting_tasks: Tasks that are worked on or wait; more are refused with status 429.
        threads: Tasks worked on at once.
    """

    body_bytes: int = 4 * 1024 * 1024
    body_s: float = 10.0
    waiting_tasks: int = 2000
    threads: int = 2


class Service:
    """Answers requests with the version that is the champion when they come.

    Args:
        follower: Holds the champion.
        poll_s: Seconds between two looks at the alias.
        limits: What a client may ask.
    """

    def __init__(
        self, follower: ChampionFollower, poll_s: float = 2.0, limits: RequestLimits = RequestLimits()
    ) -> None:
        self._follower, self._poll_s, self._limits = follower, poll_s, limits
        self._pool = ThreadPoolExecutor(self._limits.threads, thread_name_prefix="recommend")
        self._waiting = 0

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/invocations", self._invoke, methods=["POST"]),
                Route("/ping", self._health, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/version", self._mlflow_version, methods=["GET"]),
            ],
            exception_handlers={RefusedRequestError: _refuse, MetaflowHPOError: _refuse, HTTPException: _refuse},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(self._follow())
        yield
        following.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            # Whatever is wrong with the registry or a new version, the old one goes on: it is told, not raised.
            (outcome,) = await asyncio.gather(asyncio.to_thread(self._follower.check), return_exceptions=True)
            if outcome is not None:
                self._follower.report(outcome)

    async def _invoke(self, request: Request) -> Response:
        served = self._follower.current
        try:
            body = await _read_body(request, self._limits)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        asked = read_request(body, request.headers.get("content-type", ""))
        recommender = served.recommender
        tasks = read_values(asked, recommender.meta_feature_names, may_lack=not recommender.settings.described)
        if self._waiting + len(tasks) > self._limits.waiting_tasks:
            raise RefusedRequestError(f"{self._waiting} tasks are waiting; ask again in some seconds.", 429)
        self._waiting += len(tasks)
        try:
            answers = await self._recommend(served, tasks, asked.k)
        finally:
            self._waiting -= len(tasks)
        return _answer({"predictions": answers}, version=served.version)

    async def _recommend(self, served: Served, tasks: Sequence[dict[str, float]], k: int) -> list[dict[str, Any]]:
        """Answer tasks in `threads` strands, each one task after the other."""
        loop = asyncio.get_running_loop()
        answers: list[dict[str, Any]] = [{} for _ in tasks]
        source = {"surrogate_version": served.version, "surrogate_name": served.name}

        async def work(first: int) -> None:
            for position in range(first, len(tasks), self._limits.threads):
                try:
                    found = await loop.run_in_executor(self._pool, served.recommender.recommend, tasks[position], k)
                except ArithmeticError as error:
                    raise RefusedRequestError(
                        f"Task {position}: its numbers are too large or too small to compute with ({error}). "
                        "Describe it with `metaflow-hpo describe`."
                    ) from error
                answers[position] = {**found, "lineage": {**source, **found["lineage"]}}

        await asyncio.gather(*(work(first) for first in range(min(self._limits.threads, len(tasks)))))
        return answers

    async def _health(self, _: Request) -> Response:
        follower, served = self._follower, self._follower.current
        content = {
            "status": "ok" if follower.problem is None else "not following the alias",
            "model": served.name,
            "version": served.version,
            "loaded_at": served.loaded_at,
            "checked_at": follower.checked_at,
            "problem": follower.problem,
            "waiting_tasks": self._waiting,
        }
        return _answer(content, version=served.version)

    async def _mlflow_version(self, _: Request) -> Response:
        from mlflow.version import VERSION

        version = {VERSION_HEADER: str(self._follower.current.version)}
        return Response(VERSION, headers=version, media_type="application/json")  # as MLflow's server does


async def _read_body(request: Request, limits: RequestLimits) -> bytes:
    """Read a body of limited size in limited time.

    Raises:
        RefusedRequestError: If it is too large (413), too slow (408) or compressed (415).
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedRequestError("Expected a body without Content-Encoding.", 415)
    too_large = RefusedRequestError(f"Expected a body of at most {limits.body_bytes} bytes; split the batch.", 413)
    # A client that still sends would see a broken connection and not the reason, so what is too large is read and
    # thrown away, up to a limit of its own.
    patience = _PATIENCE * limits.body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > patience:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > patience:
                    raise too_large
                if size <= limits.body_bytes:
                    chunks.append(chunk)
    except TimeoutError:
        raise RefusedRequestError(f"The body did not arrive within {limits.body_s:g} s.", 408) from None
    if size > limits.body_bytes:
        raise too_large
    return b"".join(chunks)


def _answer(content: Any, *, status: int = 200, version: int | None = None) -> Response:
    headers = {} if version is None else {VERSION_HEADER: str(version)}
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")


async def _refuse(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else getattr(error, "status", 400)
    code = {400: "INVALID_PARAMETER_VALUE", 404: "ENDPOINT_NOT_FOUND", 429: "REQUEST_LIMIT_EXCEEDED"}
    response = _answer({"error_code": code.get(status, "BAD_REQUEST"), "message": str(error)}, status=status)
    if status == 429:
        response.headers["Retry-After"] = "2"
    elif status in {408, 413}:
        response.headers["Connection"] = "close"  # what is left of the body is not read
    return response
